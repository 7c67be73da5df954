"""The normalized Jensen-Shannon divergence of n-grams of characters, n = 1 to 6.

    JSD = (KL(p || m) + KL(q || m)) / 2 / ln 2,      m = (p + q) / 2,      from 0 to 1 (disjoint)

p is the distribution of all n-grams inside the reference lines, padding included, q that of the samples' lines. An
n-gram that q does not have adds p ln 2 to KL(p || m), so only those of q are counted among the reference, and the
divergence is exact in the memory of a block of lines, however many there are. n-grams are numbered step by step: the
number of an n-gram is the place of

    (number of its first n - 1 characters) * (number of characters) + (id of its last one)

in the sorted table of those that q has. So six ids of 16 bits need no integer of more than 64.

The divergence is biased: a few real lines are apart from many. So the floor is that of as many real lines that are new
to training, and `independent` that of lines of independent characters with the frequencies of the reference.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minicoulomb.arrays.rng import rng_for
from minicoulomb.data.text import TextDataset

LONGEST = 6
# Lines of the reference in memory at a time, and in training at most.
BLOCK, SHORT = 2**14, 2**17


def ngram_metrics(
    x: np.ndarray, dataset: TextDataset, seed: int, search: bool = True, progress: Callable | None = None
) -> dict[str, Any]:
    """js1 to js6 of lines x (n, length, characters) against the training lines, each with its floor.

    Fewer for shorter lines, and no floor where no lines are held out; where less than n are, the floor is that of
    `floor_lines`, and too high. Without `search`, the reference is a part of the training lines that takes seconds.
    """
    lines = x.argmax(axis=-1)
    n, held_out, rng = len(lines), dataset.n_held_out, rng_for(seed, "evaluate", 2)
    among = dataset.rows(dataset.train_index(rng.integers(0, dataset.n_train, n)))
    sets = {"": lines, "_independent": rng.permuted(among.ravel()).reshape(among.shape)}
    if held_out:
        chosen = np.sort(rng.choice(held_out, min(n, held_out), replace=False))
        sets["_floor"] = dataset.rows(dataset.held_out_index(chosen))
    found = divergences(list(sets.values()), _reference(dataset, search, progress), dataset.shape[1])
    rows = dict(zip(sets, found.tolist(), strict=True))
    named = {f"js{n}{kind}": rows[kind][n - 1] for n in range(1, found.shape[1] + 1) for kind in sorted(rows)}
    return {"floor_lines": len(sets["_floor"]), **named} if held_out else named


def divergences(sets: list[np.ndarray], reference: Iterable[np.ndarray], characters: int) -> np.ndarray:
    """The JSD of each set's n-grams and the reference's, (sets, n): ids of lines (lines, length), in blocks."""
    longest = min(LONGEST, sets[0].shape[1])
    tables, q = _tables(sets, longest, characters)
    counts: list[Any] = [np.zeros(len(table), np.int64) for table in tables]
    total = 0
    for block in reference:
        total += len(block)
        numbers: Any = np.zeros((len(block), block.shape[1] + 1), np.int64)
        for n, table in enumerate(tables):
            numbers = _numbers(numbers, block[:, n:], table, characters)
            counts[n] += np.bincount(numbers[numbers >= 0], minlength=len(table))
    positions = np.maximum(1, sets[0].shape[1] - np.arange(longest))
    return np.array(
        [[_jsd(p / (total * k), of_set) for p, of_set, k in zip(counts, of_sets, positions)] for of_sets in q]
    )


def _tables(sets, longest, characters):
    """(sorted keys of the sets' n-grams, for each n; for each set, and each n, the share of each of them)."""
    lines = np.concatenate(sets).astype(np.int64)
    owner = np.repeat(np.arange(len(sets)), [len(each) for each in sets])
    tables, shares = [], [[] for _ in sets]
    numbers = np.zeros((len(lines), lines.shape[1] + 1), np.int64)
    for n in range(longest):
        keys = numbers[:, :-1] * characters + lines[:, n:]
        table, inverse = np.unique(keys, return_inverse=True)
        numbers = inverse.reshape(keys.shape)
        tables.append(table)
        for number, share in enumerate(shares):
            of_set = np.bincount(numbers[owner == number].ravel(), minlength=len(table))
            share.append(of_set / of_set.sum())
    return tables, shares


def _numbers(numbers, last, table, characters):
    """The number of each n-gram of a block, (lines, positions): of its first characters, and the last one. -1: none."""
    numbers, result = numbers[:, :-1], np.full(last.shape, -1)
    known = np.flatnonzero(numbers.ravel() >= 0)
    keys = numbers.ravel()[known] * characters + last.ravel()[known]
    places = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    result.ravel()[known] = np.where(table[places] == keys, places, -1)
    return result


def _jsd(p, q):
    """The divergence for the shares p and q of q's n-grams; p has 1 - sum p elsewhere."""
    both = [(share[share > 0], (2 * share / (p + q + (share == 0)))[share > 0]) for share in (p, q)]
    divergence = sum(float((share * np.log2(ratio)).sum()) for share, ratio in both) + 1 - float(p.sum())
    return min(1.0, max(0.0, divergence / 2))  # rounding


def _reference(dataset, search, progress):
    """The training lines in blocks: all, or evenly spaced ones."""
    n, step = dataset.n_train, 1 if search else -(-dataset.n_train // SHORT)
    for start in range(0, n, BLOCK * step):
        yield dataset.rows(dataset.train_index(np.arange(start, min(start + BLOCK * step, n), step)))
        if progress:
            progress(min(start + BLOCK * step, n), n)
