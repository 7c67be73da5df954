"""What is drawn together, and how to read it."""

from typing import NamedTuple

from minicoulomb.pictures.metric_series import Series


class Panel(NamedTuple):
    """What is drawn together.

    title   what it is and where it should go, for somebody who sees it for the first time
    unit    of the vertical axis
    names   metrics by their name in metrics.jsonl, and what the legend calls them where there are several
    note    a sentence more, for a caption
    """

    title: str
    unit: str
    names: dict[str, str]
    note: str
    log: bool = False
    noisy: bool = False


PANELS = (
    Panel(
        "Squared MMD: must fall",
        "squared MMD",
        {"mmd2": ""},
        "The distance of generated and real samples, twice the energy of the field. It is 0 only where both agree; a "
        "mini-batch never gets quite there, and where the kernel's width shrinks it sees more of the difference.",
        log=True,
        noisy=True,
    ),
    Panel(
        "Loss of D",
        "L_D",
        {"loss_d": ""},
        "Of a Coulomb GAN the squared error of the discriminator, which learns the potential. It must fall, for what "
        "is to be learned shrinks.",
        log=True,
        noisy=True,
    ),
    Panel(
        "Loss of G",
        "L_G",
        {"loss_g": ""},
        "Of a Coulomb GAN minus half the potential of the generated samples, as the discriminator sees it. It comes to "
        "rest when the forces vanish.",
        noisy=True,
    ),
    Panel(
        "What D knows of the potential",
        "R²",
        {"r2": ""},
        "1: all of it. Towards the end the potential of a mini-batch is chance alone, which nobody can know, and "
        "R² goes to 0.",
        noisy=True,
    ),
    Panel(
        "Modes covered: must reach all",
        "modes",
        {"modes": "with a good sample", "modes20": "with a fifth of their share"},
        "Modes of the data within three standard deviations of which samples lie.",
    ),
    Panel(
        "High quality: must rise",
        "share of samples",
        {"high_quality": ""},
        "The share of samples that lie within three standard deviations of a mode; of real ones 0.989.",
    ),
    Panel(
        "Unevenness: must fall",
        "KL divergence, nats",
        {"reverse_kl": ""},
        "Of the modes' shares of samples against even ones. Chance alone gives 0.001 to 0.005.",
        log=True,
    ),
    Panel(
        "Classes covered: must reach all",
        "classes",
        {"classes": ""},
        "Classes that at least 2% of the samples belong to, by the label of the nearest real one.",
    ),
    Panel(
        "Evenness: must rise",
        "entropy, nats",
        {"entropy": ""},
        "Of the classes' shares of samples; at most the logarithm of their number.",
    ),
    Panel("FID: must fall", "FID", {"fid": ""}, "The Fréchet distance of Inception's features from the real ones'."),
    Panel(
        "Width of the kernel",
        "eps, in units of the data",
        {"eps": ""},
        "The distance within which the field is smooth. It may shrink, as the settings say.",
    ),
    Panel(
        "Learning rates",
        "learning rate",
        {"lr_g": "of G", "lr_d": "of D"},
        "Adam's, as the settings say.",
        log=True,
    ),
    Panel(
        "Speed",
        "samples per second",
        {"samples_per_second": ""},
        "Generated samples that training took per second, pictures and checkpoints left out.",
        noisy=True,
    ),
)


def present(panels: tuple[Panel, ...], runs: dict[str, dict[str, Series]]) -> list[Panel]:
    """The panels of which at least one run has something."""
    return [panel for panel in panels if any(name in series for series in runs.values() for name in panel.names)]
