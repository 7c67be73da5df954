"""What the metrics of a run mean and what to do next: a sentence on its samples, of text one more, and one on D.

The numbers that decide stand in this file alone; docs/metrics.md shows them.
"""

from math import inf, log
from typing import Any, NamedTuple

from minicoulomb.config import Config


class Finding(NamedTuple):
    """What is wrong with samples whose metric is below `low` or above `high`, and what helps, most promising first."""

    metric: str
    low: float
    high: float
    words: str
    remedies: tuple[str, ...]


OFF = ("more --steps", "a larger --g-width", "a smaller {eps}")
EVEN = ("a larger --batch-size", "a larger {eps}")
COPIES = ("more data", "more --steps", "a smaller --g-width")
FULL = ("a larger --lr-decay-d", "a --field-share of 0.2", "more --steps")
# Real points have a high_quality of 0.99 and a spread of 1.18; `missing` and `uneven` are those of modes or classes.
FINDINGS = (
    Finding("missing", 0, 0, "{} {parts} are empty or nearly so", EVEN[::-1]),
    Finding("high_quality", 0.9, inf, "{:.0%} of them lie on the modes, real points 99%", OFF),
    Finding("spread", 0, 1.35, "they lie wide of the modes' centres, spread {:.2f}, real points 1.18", OFF),
    Finding("spread", 0.95, inf, "they are narrower than the modes, spread {:.2f}, real points 1.18", FULL),
    Finding("nearest_ratio", 0, 1.35, "they are {:.2f} times as far from the data as new real ones", OFF),
    Finding("nearest_ratio", 0.5, inf, "they crowd at training samples, {:.2f} times as far as new real ones", COPIES),
    Finding("uneven", 0, 0.03, "they fill the {parts} unevenly", EVEN),
)
# mmd2 in units of its floor, at most: draws of real samples scatter by a quarter about 1.
AT_FLOOR, CLOSE = 1.5, 3.0
# The limit of D's correlation below which the potential is mostly chance, and the shares of it of a D that follows.
CHANCE, FOLLOWS, PARTLY = 0.6, 0.85, 0.5
# The longest n-grams of which a few hundred lines say much.
NGRAM = 4
# Fewer samples for each mode or class say nothing about these.
LEAST = 20


def verdict(metrics: dict[str, Any], parts: int | None, config: Config) -> list[str]:
    """At most three sentences on metrics of `evaluate.measure`; the data have so many `parts`, modes or classes."""
    found, n = dict(metrics), metrics["samples"]
    kind, covered = ("classes", "classes") if "entropy" in metrics else ("modes", "modes20")
    if parts and n >= LEAST * parts:
        uneven = log(parts) - metrics["entropy"] if kind == "classes" else metrics["reverse_kl"]
        chance = (parts - 1) / (2 * n)  # its mean for real samples
        found |= {"missing": parts - metrics[covered], "uneven": uneven - chance}
    wrong = [f for f in FINDINGS if f.metric in found and not f.low <= found[f.metric] <= f.high]
    said = ", and ".join(f.words.format(found[f.metric], parts=kind) for f in wrong[:2])
    remedies = wrong[0].remedies if wrong else ()
    if "mmd2" in metrics and metrics["mmd2_floor"]:  # unless training has all data, or all are alike
        floors = metrics["mmd2"] / metrics["mmd2_floor"]
        begin, real = f"mmd2 is {floors:.1f} times its floor: the samples are ", metrics["reference_samples"]
        if floors <= AT_FLOOR:
            said = f"{begin}as close to {real:,} new real ones as others are{', but ' * bool(said)}{said}"
        else:
            where, link = ("near", ", but ") if floors <= CLOSE else ("far from", ": ")
            said = f"{begin}{where} the data{link * bool(said)}{said}"
            remedies = remedies or OFF
    elif said:
        said = f"Without a floor of mmd2: {said}"
    return [*([said + _next(remedies, config)] if said else []), *_of_text(metrics), *_of_d(metrics, config)]


def _next(remedies, config):
    """The end of a sentence, with the remedies that the objective has settings for and that are left to try."""
    algorithm, absent = config.algorithm, []
    if algorithm.objective != "coulomb":
        absent = ["-share", "-decay-d"] + ["{eps}"] * (algorithm.objective == "gan")
    absent += ["-share"] * (algorithm.field_share > 0)
    absent += ["-decay-d"] * ((algorithm.lr_decay_d or algorithm.lr_decay) >= 1)
    left = [remedy for remedy in remedies if not any(word in remedy for word in absent)]
    eps = "--eps-end" if algorithm.eps_end else "--eps"
    return f"; next: {', '.join(left).format(eps=eps)}." if left else "."


def _of_text(metrics):
    """How far n-grams are from the text's: between those of real lines, and of characters without order."""
    n = max((n for n in range(2, NGRAM + 1) if f"js{n}" in metrics), default=0)
    if not n:
        return []
    found, floor, chance = (metrics.get(f"js{n}{kind}") for kind in ("", "_floor", "_independent"))
    real = "" if floor is None else f"{metrics['floor_lines']:,} new real lines have {floor:.2f}, "
    levels = f"{real}lines of independent characters {chance:.2f}"
    if found >= chance:
        return [f"The lines have no order of characters: their {n}-grams diverge by {found:.2f}, {levels}."]
    return [f"The {n}-grams of the lines diverge from the text's by {found:.2f}: {levels}."]


def _of_d(metrics, config):
    if "d_correlation" not in metrics:
        return []
    found, limit = metrics["d_correlation"], metrics["d_correlation_limit"]
    numbers = f"its correlation with the potential is {found:.2f}, at most {limit:.2f}"
    if found == 0:
        return ["D is constant at the samples, so G learns nothing from it; next: a smaller --lr-d."]
    if limit < CHANCE:
        return [f"The potential is mostly chance, so little can be said about D: {numbers}."]
    if found >= FOLLOWS * limit:
        return [f"D follows the potential: {numbers}."]
    does = "follows the potential in part" if found >= PARTLY * limit else "does not follow the potential"
    return [f"D {does}: {numbers}{_next(['a larger --lr-decay-d', 'more --d-steps'], config)}"]
