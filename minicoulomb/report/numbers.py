"""The meaning of the metrics of `minicoulomb evaluate`, for readers who do not know them."""

from minicoulomb.evaluation.ngrams import LONGEST
from minicoulomb.report.facts import Facts

MEANINGS = {
    "modes": ("modes covered", "modes with at least one good sample"),
    "modes20": ("modes well covered", "modes with at least a fifth of their share of good samples"),
    "high_quality": ("high quality", "samples within three standard deviations of a mode; 98.9% for real samples"),
    "spread": ("spread", "median distance to the nearest mode, in its standard deviations; 1.18 for real samples"),
    "reverse_kl": ("unevenness, reverse KL", "KL(generated || real) of the modes' shares; 0: equal shares"),
    "forward_kl": ("unevenness, forward KL", "KL(real || generated) of the modes' shares; 0: equal shares"),
    "mmd2": ("squared MMD", "distance to real samples outside the training set; lower is better"),
    "mmd2_floor": ("its floor", "the same for as many real samples, on average"),
    "nearest_ratio": (
        "nearest neighbours",
        "distance to the training data over that of held-out real ones; copies have 0",
    ),
    "frechet": ("Fréchet distance", "between the pixels of samples and data, by mean and covariance; lower is better"),
    "d_correlation": ("correlation of D", "with the potential of many samples, at generated points"),
    "d_correlation_limit": ("its limit", "the correlation of a perfect D; the rest of the potential is chance"),
    "d_r2": (
        "R² of D",
        "at generated points, at most the square of the limit; a constant error, which moves no sample, lowers it",
    ),
    **{
        name: meaning
        for n in range(1, LONGEST + 1)
        for name, meaning in (
            (f"js{n}", (f"divergence of {n}-grams", "of generated lines and those of the text, from 0 to 1")),
            (f"js{n}_floor", ("its floor", "the same for as many lines of the text that training has not seen")),
            (f"js{n}_independent", ("without order", "the same for independent characters as frequent as the text's")),
        )
    },
    "classes": ("classes covered", "classes with at least 2% of the samples"),
    "entropy": ("entropy of the classes", "evenness of their shares, in nats; at most 2.303 for ten classes"),
    "fid": ("FID", "the last one of training, by Inception's features; lower is better"),
    "batch_mmd2": ("squared MMD", "of the last logged mini-batch; lower is better, and 0 is out of reach"),
}


def numbers(facts: Facts) -> list[tuple[str, str, str]]:
    """(value, name, meaning) of all metrics, or without any of the last squared MMD of training; and the last FID."""
    found = {name: value for name, value in facts.metrics.items() if name in MEANINGS}
    if not found and "mmd2" in facts.series:
        found["batch_mmd2"] = float(facts.series["mmd2"].values[-1])
    if "fid" in facts.series:
        found["fid"] = float(facts.series["fid"].values[-1])
    return [(_shown(name, value, facts.parts), *MEANINGS[name]) for name, value in found.items()]


def _shown(name, value, parts):
    if name in ("modes", "modes20", "classes") and parts:
        return f"{value} of {parts}"
    if name == "high_quality":
        return f"{100 * value:.1f}%"
    if isinstance(value, float):
        return f"{value:.2f}" if value >= 1 else f"{value:.3g}"
    return str(value)
