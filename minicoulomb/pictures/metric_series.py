"""metrics.jsonl -> series: steps (n,) and values (n,) of each metric.

thinned        at most DRAWN points, with the minimum and the maximum of each stretch
running_mean   m_i = mean of v_j over |j - i| <= n / 40, cut off at both ends of the series
"""

import json
import os
from array import array
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicoulomb.errors import UserError, explained
from minicoulomb.untrusted import opened

# A line of training's has about 300 bytes, and 20 names.
LONGEST_LINE, MOST_NAMES = 2**16, 1000
# Ten million lines, which take minutes.
LARGEST_FILE = 2**32
# Larger numbers have no room on an axis.
LARGEST = 1e300
# Points of a line; more are invisible.
DRAWN = 1000
# The window of the running mean is this fraction of a series, which needs at least twice as many values.
STRETCHES = 20


class Series(NamedTuple):
    """The finite values (n,) of one metric and their steps (n,), in ascending order."""

    steps: np.ndarray
    values: np.ndarray


def read_metrics(run: Path) -> dict[str, Series]:
    """The series of the run directory `run` by name; empty before the first logged step.

    Torn lines, of a run that is being written or was killed, are left out, as are lines of other programs and values
    that are no finite numbers. Of several lines of a step the last one counts. Memory: 16 bytes a value. Raises
    UserError if `run` is not a run directory.
    """
    series = defaultdict(lambda: (array("d"), array("d")))
    with (
        explained(f"{run}: has no readable metrics.jsonl", "use a run directory like runs/00000-grid"),
        opened(run / "metrics.jsonl") as file,
    ):
        if (size := os.fstat(file.fileno()).st_size) > LARGEST_FILE:
            raise UserError(f"{run}: its metrics.jsonl has {size:,} bytes: at most {LARGEST_FILE:,}; log fewer steps")
        while line := file.readline(LONGEST_LINE):
            entry = _entry(line)
            for name, value in entry.items():
                if name != "step" and _is_number(value) and (name in series or len(series) < MOST_NAMES):
                    series[name][0].append(entry["step"])
                    series[name][1].append(value)
    return {name: _in_order(*map(np.frombuffer, columns)) for name, columns in series.items()}


def _entry(line):
    """One line as a dict with a step; an empty dict if it is torn or another program's."""
    try:
        entry = json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) and _is_number(entry.get("step")) and entry["step"] >= 0 else {}


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _in_order(steps, values):
    """The series in ascending order, with the last value of each step."""
    if (np.diff(steps) > 0).all():
        return Series(steps, values)
    order = np.argsort(steps, kind="stable")
    rows = order[np.append(np.diff(steps[order]) > 0, True)]
    return Series(steps[rows], values[rows])


def thinned(series: Series, most: int = DRAWN) -> Series:
    """At most `most` of the points: the minimum and the maximum of each stretch, which keeps every outlier."""
    n = len(series.steps)
    if n <= most:
        return series
    edges = np.linspace(0, n, most // 2, dtype=int)
    kept = {0, n - 1}
    for start, stop in pairwise(edges.tolist()):
        part = series.values[start:stop]
        kept |= {start + int(part.argmin()), start + int(part.argmax())}
    rows = sorted(kept)
    return Series(series.steps[rows], series.values[rows])


def running_mean(series: Series) -> Series | None:
    """The mean of the values around each point; None if the series is too short."""
    n = len(series.steps)
    if n < 2 * STRETCHES:
        return None
    reach, index = n // STRETCHES // 2, np.arange(n)
    start, stop = np.maximum(index - reach, 0), np.minimum(index + reach + 1, n)
    sums = np.concatenate([[0.0], series.values.cumsum()])
    return Series(series.steps, (sums[stop] - sums[start]) / (stop - start))
