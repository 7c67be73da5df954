"""The panels of a page of curves: which metrics are drawn together, and how."""

from typing import NamedTuple

from minicoulomb.pictures.metric_series import Series


class Panel(NamedTuple):
    """One set of axes.

    title   the quantity and its desired direction
    unit    of the vertical axis
    names   the legend's entry for each metric of metrics.jsonl; empty if the panel has a single metric
    log     logarithmic vertical axis
    noisy   thin line with a running mean above it
    """

    title: str
    unit: str
    names: dict[str, str]
    log: bool = False
    noisy: bool = False


PANELS = (
    Panel(
        "Distance to the data: must fall to the floor",
        "squared MMD",
        {"sample_mmd2": "of fresh samples", "mmd2_floor": "of real samples: the floor"},
        log=True,
    ),
    Panel(
        "Divergence of 4-grams: must fall to the floor",
        "Jensen-Shannon divergence",
        {"js4": "of generated lines", "js4_floor": "of real lines: the floor"},
    ),
    Panel(
        "D follows: must reach the limit",
        "correlation",
        {"d_correlation": "of D and the potential", "d_correlation_limit": "of a perfect D: the limit"},
    ),
    Panel("MMD of a mini-batch: noisy, eps changes", "squared MMD", {"mmd2": ""}, log=True, noisy=True),
    Panel("R² of D on a mini-batch: noisy", "R²", {"r2": ""}, noisy=True),
    Panel("Loss of D", "L_D", {"loss_d": ""}, log=True, noisy=True),
    Panel("Loss of G", "L_G", {"loss_g": ""}, noisy=True),
    Panel(
        "Modes covered: must reach all",
        "modes",
        {"modes": "with a good sample", "modes20": "with a fifth of their share"},
    ),
    Panel("High quality: must rise", "share of samples", {"high_quality": ""}),
    Panel("Unevenness: must fall", "KL divergence, nats", {"reverse_kl": ""}, log=True),
    Panel("Classes covered: must reach all", "classes", {"classes": ""}),
    Panel("Evenness: must rise", "entropy, nats", {"entropy": ""}),
    Panel("FID: must fall", "FID", {"fid": ""}),
    Panel("Width of the kernel", "eps, in units of the data", {"eps": ""}),
    Panel("Learning rates", "learning rate", {"lr_g": "of G", "lr_d": "of D"}, log=True),
    Panel("Speed", "samples per second", {"samples_per_second": ""}, noisy=True),
)


def present(panels: tuple[Panel, ...], runs: dict[str, dict[str, Series]]) -> list[Panel]:
    """The panels with data in at least one run."""
    return [panel for panel in panels if any(name in series for series in runs.values() for name in panel.names)]
