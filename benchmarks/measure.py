"""Times of two functions, measured in turns: ours, theirs, ours, theirs, ...

    ratio = median over the repeats of  ours_i / theirs_i

A disturbance of the machine then slows both members of a pair, and cancels in their ratio. A sample repeats its
function for at least SAMPLE seconds, from an idle device to an idle device. The first calls warm up; they count as a
pair if both last SLOW seconds or more. After BUDGET seconds, FEWEST repeats are enough.
"""

import time
from collections.abc import Callable
from math import ceil
from statistics import median
from typing import NamedTuple

from minicoulomb.errors import UserError

SAMPLE = 0.05
REST = 0.3
SLOW = 1.0
BUDGET = 120.0
FEWEST = 3
# Calls of each side on a GPU before its first sample: the first compiles CUDA kernels and lets cuDNN try its
# algorithms; after the second, the memory pools are filled.
WARM_UP = 3


class Skipped(UserError):
    """A case that this machine cannot show; the reason."""


class Contest(NamedTuple):
    """The same piece of work by this package and by PyTorch, with a note on the times.

    limit   the least seconds of the device for this work, with the reason, or None if it is unknown
    """

    ours: Callable[[], object]
    theirs: Callable[[], object]
    note: str = ""
    limit: tuple[float, str] | None = None


class Times(NamedTuple):
    """Medians of seconds per call, the median of the pairwise ratios, and the number of pairs."""

    ours: float
    theirs: float
    ratio: float
    repeats: int


def measure(
    contest: Contest,
    repeats: int,
    synchronize: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
    rest: float = 0.0,
    warm_up: int = 0,
) -> Times:
    """Time both sides, in turns, `repeats` times, or at least FEWEST times once BUDGET seconds have passed.

    synchronize   waits until the device is idle
    rest          seconds before each sample
    warm_up       calls of each side before the first sample
    """
    began = clock()

    def sample(side, calls):
        time.sleep(rest)
        return _seconds(contest[side], calls, synchronize, clock)

    for _ in range(warm_up):
        contest.ours()
        contest.theirs()
    first = sample(0, 1), sample(1, 1)
    pairs = [first] if min(first) >= SLOW else []
    calls = [_enough_calls(lambda n, side=side: sample(side, n), first[side]) for side in (0, 1)]
    while len(pairs) < repeats and (len(pairs) < FEWEST or clock() - began < BUDGET):
        pairs.append((sample(0, calls[0]), sample(1, calls[1])))
    return Times(*map(median, zip(*pairs, strict=True)), median(a / b for a, b in pairs), len(pairs))


def quick_time(
    function: Callable[[], object],
    synchronize: Callable[[], None],
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds per call, the shortest of FEWEST samples after a warm-up: enough to choose between two ways."""
    for _ in range(WARM_UP):
        function()
    sample = lambda calls: _seconds(function, calls, synchronize, clock)
    calls = _enough_calls(sample, sample(1))
    return min(sample(calls) for _ in range(FEWEST))


def _enough_calls(sample, seconds):
    """How many calls last SAMPLE seconds, by the `seconds` of one call."""
    calls = 1
    while calls * seconds < SAMPLE:
        calls = min(10 * calls, ceil(1.2 * SAMPLE / seconds))
        seconds = sample(calls)
    return calls


def _seconds(function, calls, synchronize, clock):
    """Seconds per call."""
    synchronize()
    began = clock()
    for _ in range(calls):
        function()
    synchronize()
    return (clock() - began) / calls
