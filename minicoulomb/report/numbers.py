"""What the metrics of `minicoulomb evaluate` mean, for somebody who sees them for the first time."""

from typing import NamedTuple

from minicoulomb.report.facts import Facts


class Number(NamedTuple):
    """One metric: its value as text, what it is, and how to read it."""

    value: str
    name: str
    meaning: str


MEANINGS = {
    "modes": ("modes covered", "with at least one good sample"),
    "modes20": ("modes well covered", "with at least a fifth of their share of good samples"),
    "high_quality": ("high quality", "samples within three standard deviations of a mode; of real ones 98.9%"),
    "spread": ("spread", "median distance to the nearest mode, in its standard deviations; of real samples 1.18"),
    "reverse_kl": ("unevenness, reverse KL", "KL(generated || real) of the modes' shares; 0 is even"),
    "forward_kl": ("unevenness, forward KL", "KL(real || generated) of the modes' shares; 0 is even"),
    "mmd2": ("squared MMD", "distance to real samples kept out of training; must be small"),
    "mmd2_floor": ("its floor", "the same for as many real samples: less is chance"),
    "nearest_ratio": (
        "nearest neighbours",
        "distance to the training data over that of fresh real ones; copies have 0",
    ),
    "frechet": ("Fréchet distance", "of the pixels' means and covariances to those of the data; must be small"),
    "classes": ("classes covered", "with at least 2% of the samples"),
    "entropy": ("entropy of the classes", "evenness of their shares, in nats; 2.303 is even for ten"),
    "fid": ("FID", "the last one of training, by Inception's features; must be small"),
    "batch_mmd2": ("squared MMD", "of the last mini-batch that was logged; must be small, and cannot be 0"),
}


def numbers(facts: Facts) -> list[Number]:
    """All that was measured, or where that is nothing the last squared MMD of training; and the last FID."""
    found = {name: value for name, value in facts.metrics.items() if name in MEANINGS}
    if not found and "mmd2" in facts.series:
        found["batch_mmd2"] = float(facts.series["mmd2"].values[-1])
    if "fid" in facts.series:
        found["fid"] = float(facts.series["fid"].values[-1])
    return [Number(_shown(name, value, facts.modes), *MEANINGS[name]) for name, value in found.items()]


def _shown(name, value, modes):
    if name in ("modes", "modes20") and modes:
        return f"{value} of {modes}"
    if name == "high_quality":
        return f"{100 * value:.1f}%"
    if isinstance(value, float):
        return f"{value:.2f}" if value >= 1 else f"{value:.3g}"
    return str(value)
