"""The paper's schedule (section 3.1): at a plateau of the FID divide the learning rates by 10, at the next one stop.

    lowest <- value    where value < (1 - MARGIN) lowest
    a plateau          `patience` values in a row that do not lower it
    share              SHARE^plateaus, of both learning rates

Values are the FIDs of a run or, without any, the squared MMDs of its pictures' samples to real ones that are new to
training. Each line of metrics.jsonl whose value counts has `plateaus`, their number so far. From these lines alone a
resumed run knows what the schedule knew.
"""

from collections.abc import Iterable
from math import inf
from typing import Any

from minicoulomb.config import Config
from minicoulomb.data.dataset import ArrayDataset, Dataset
from minicoulomb.errors import UserError

# What a plateau leaves of the learning rates, and the number of plateaus at which a run ends.
SHARE, LAST = 0.1, 2
# A value that is lower by less than this share of the lowest one does not count as lower.
MARGIN = 0.01


class Plateau:
    """The schedule of one run, after the entries of its metrics.jsonl; without a patience nothing counts."""

    def __init__(self, config: Config, entries: Iterable[dict[str, Any]] = ()):
        self.patience, by_fid = config.algorithm.plateau, config.run.fid_every > 0
        self.metric, self._name = ("fid", "FID") if by_fid else ("sample_mmd2", "mmd2")
        self.every = config.run.fid_every or config.run.sample_every
        self.plateaus, self._lowest, self._since, self._step = 0, inf, 0, 0
        for entry in entries if self.patience else ():
            if type(number := entry.get("plateaus")) is int:
                self.count(entry["step"], entry)
                self.plateaus = min(max(0, number), LAST)

    @property
    def share(self) -> float:
        """What is left of the learning rates."""
        return SHARE**self.plateaus

    @property
    def ended(self) -> bool:
        """Whether the run is at its end."""
        return self.plateaus >= LAST

    def lacks(self, step: int) -> bool:
        """Whether the value of this step should have counted, and did not."""
        return bool(self.patience and step and self.every and step % self.every == 0 and step > self._step)

    def count(self, step: int, metrics: dict[str, Any]) -> dict[str, int]:
        """Count the value of a step, if its metrics have one, and return what to log of it."""
        if not self.patience or self.metric not in metrics:
            return {}
        value, self._step, self._since = metrics[self.metric], step, self._since + 1
        if isinstance(value, float) and value < (1 - MARGIN) * self._lowest:
            self._lowest, self._since = value, 0
        if self._since >= self.patience:
            self.plateaus, self._since = self.plateaus + 1, 0
        return {"plateaus": self.plateaus}

    def in_words(self) -> str:
        """A sentence on the plateau that was just reached."""
        then = "the run ends" if self.ended else "the learning rates fall to a tenth"
        fell = f"the {self._name} did not fall below {self._lowest:.4g}"
        return f"plateau {self.plateaus} at step {self._step}: {fell} in {self.patience} measurements, and {then}"


def check_watched(config: Config, dataset: Dataset) -> None:
    """UserError if a run with a patience has nothing to measure: no FIDs, no pictures or no samples new to training."""
    new = not isinstance(dataset, ArrayDataset) or dataset.n_held_out
    if config.algorithm.plateau and not (config.run.fid_every or (config.run.sample_every and new)):
        remedy = "add --fid-every, or use more data and a --sample-every and --hold-out-every above 0"
        raise UserError(f"plateau {config.algorithm.plateau}: has nothing to measure; {remedy}")
