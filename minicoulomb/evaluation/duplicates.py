"""The birthday test: how many different samples a generator makes (Arora and Zhang, 2017; the paper's section 3.1).

Let q be the probability that two samples are near-duplicates: nearer to each other than t. With n (n - 1) / 2 pairs,

    P(a batch of n has near-duplicates) = 1 - exp(-q n (n - 1) / 2),      a half at n = 1.18 q^(-1/2)

A generator of N equally likely samples has q = 1 / N. So 1 / q is the size of the support, in samples that differ by
more than t. q is estimated from all pairs within batches,

    q = k / pairs,      k the number of near-duplicates

The interval of 95% takes k for a Poisson number, whose mean then lies, by Wilson and Hilferty, between

    k (1 - 1 / (9 k) - z / (3 k^(1/2)))^3   and   k' (1 - 1 / (9 k') + z / (3 k'^(1/2)))^3,      k' = k + 1, z = 1.96

Where few samples make up most of the near-duplicates, k scatters more from batch to batch than a Poisson number does:
there f = variance / mean > 1, k / f takes the place of k, and both ends are multiplied by f.

**The real data define a near-duplicate**: t is the QUANTILE of the distances between held-out samples and their
nearest of T training samples, without exact copies. So a real sample has a near-duplicate among T others with the
probability QUANTILE, and 1 / q of real samples is at most about T / QUANTILE, less where near-duplicates lie in crowds.
It is measured in the same way, to compare with. Distances are Euclidean, of pixels: a face that moves by a few pixels
is another one, and two blurred ones are near. The number says how many samples this measure tells apart, not how many a
person would, and it depends on T. Larger ones than those of real samples are no merit: noise has no near-duplicates.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from math import exp, inf, log, prod, sqrt
from typing import Any, NamedTuple

import numpy as np

from minicoulomb.arrays.rng import rng_for
from minicoulomb.data.dataset import ArrayDataset, Dataset, decode
from minicoulomb.errors import UserError
from minicoulomb.evaluation.metrics import flattened, nearest_neighbours

# The paper's batch, and 10 of them; fewer of samples with more than 2**16 numbers, so that a batch takes 512 MB.
LARGEST, BATCHES, NUMBERS = 1024, 10, 2**26
# A near-duplicate is as near as this share of held-out samples are to their nearest training sample.
QUANTILE = 0.05
# Where training had all data, every EVERY-th sample counts as held out.
EVERY = 10
# Held-out samples that are looked at, numbers of the training samples, and points of a mixture in their place.
HELD_OUT, SEARCHED, DRAWN = 1000, 2**27, 10_000
# Training samples compared at a time, and the smallest batch of the table as a power of two.
BLOCK, SMALLEST, FLOATS = 1024, 4, np.dtype(np.float64)
# Closest pairs that are kept, and z.
PAIRS, NORMAL = 8, 1.96


class Birthday(NamedTuple):
    """What batches of samples have in common.

    shares    {n: share of batches of n with near-duplicates}
    counts    near-duplicates in each batch
    pairs     pairs within all batches
    closest   (distance, sample, sample) of the closest pairs, the closest first
    """

    shares: dict[int, float]
    counts: list[int]
    pairs: int
    closest: list[tuple[float, np.ndarray, np.ndarray]]


def batch_size(shape: tuple[int, ...]) -> int:
    """Samples in a batch: 1,024, or as many of `shape` as fit, a multiple of the 64 that are drawn at a time."""
    return max(64, min(LARGEST, NUMBERS // prod(shape) // 64 * 64))


def near(dataset: Dataset, seed: int = 0) -> tuple[float, int, int]:
    """The distance of near-duplicates, and the numbers of held-out and training samples that it comes from.

    UserError for lines of text, too few samples, or where all are copies.
    """
    if dataset.alphabet:
        raise UserError(f"{dataset.name}: holds lines of text: the birthday test takes points or images; drop --metric")
    if isinstance(dataset, ArrayDataset):
        if not dataset.n_held_out:
            few = f"{dataset.name}: {len(dataset.array)} samples do not say what a near-duplicate is"
            raise UserError(f"{few}: at least {2 * EVERY} do; use more data")
        held_out = dataset.rows(dataset.held_out_index(_spread(dataset.n_held_out, HELD_OUT)))
        index = dataset.train_index(_spread(dataset.n_train, max(1, SEARCHED // prod(dataset.shape))))
        blocks: Iterable = (dataset.rows(index[i : i + BLOCK]) for i in range(0, len(index), BLOCK))
    else:
        held_out, drawn = (dataset.draw(rng_for(seed, "evaluate", k), n) for k, n in ((3, HELD_OUT), (4, DRAWN)))
        index, blocks = drawn, [drawn]
    nearest = np.full(len(held_out), inf)
    for block in blocks:
        np.minimum(nearest, nearest_neighbours(decode(held_out, FLOATS), decode(block, FLOATS))[1], out=nearest)
    apart = nearest[nearest > 0]
    if not len(apart):
        raise UserError(f"{dataset.name}: all held-out samples are copies of others; use data without copies")
    return float(np.quantile(apart, QUANTILE)), len(held_out), len(index)


def real_batches(dataset: Dataset, n: int, size: int, seed: int = 0) -> Iterator[np.ndarray]:
    """n real samples in batches of `size`, none of them twice; fewer where training has fewer."""
    if isinstance(dataset, ArrayDataset):
        order = rng_for(seed, "evaluate", 5).permutation(dataset.n_train)[:n]
        for start in range(0, len(order), size):
            yield decode(dataset.rows(dataset.train_index(order[start : start + size])), FLOATS)
    else:
        for batch in range(-(-n // size)):
            yield dataset.draw(rng_for(seed, "evaluate", 6 + batch), min(size, n - batch * size))


def batches(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Blocks of 64 samples as batches of `size`."""
    blocks = iter(blocks)
    while some := list(islice(blocks, size // 64)):
        yield np.concatenate(some)


def birthday(batches: Iterable[np.ndarray], distance: float) -> Birthday:
    """Near-duplicates in batches of samples (n, ...); one batch is in memory at a time."""
    hits: dict[int, list[bool]] = {}
    counts, pairs, closest = [], 0, []
    for x in batches:
        n, flat = len(x), flattened(x)
        flat -= flat.mean(axis=0)
        squares = np.einsum("ij,ij->i", flat, flat)
        apart = squares[:, None] + squares - 2 * flat @ flat.T  # |x_i - x_j|^2, (n, n)
        first, second = np.triu_indices(n, 1)
        of_pairs = apart[first, second]
        is_near = of_pairs <= distance**2
        counts.append(int(is_near.sum()))
        pairs += len(of_pairs)
        for size in (2**k for k in range(SMALLEST, n.bit_length())):  # up to n
            where = first[is_near] // size
            found = np.unique(where[where == second[is_near] // size])
            hits.setdefault(size, []).extend(np.isin(np.arange(n // size), found).tolist())
        rows = np.stack([first, second], axis=1)[np.argsort(of_pairs, kind="stable")[:PAIRS]]
        closest += [(float(np.linalg.norm(flat[i] - flat[j])), x[i], x[j]) for i, j in rows]
        closest = sorted(closest, key=lambda pair: pair[0])[:PAIRS]
    return Birthday({n: float(np.mean(found)) for n, found in sorted(hits.items())}, counts, pairs, closest)


def support(found: Birthday) -> tuple[float, float, float]:
    """1 / q, and the ends of its interval; infinity where there are no near-duplicates."""
    k, mean = sum(found.counts), np.mean(found.counts)
    spread = max(1.0, float(np.var(found.counts, ddof=1) / mean)) if k and len(found.counts) > 1 else 1.0
    bound = lambda n, z: spread * n * max(0.0, 1 - 1 / (9 * n) + z / (3 * sqrt(n))) ** 3
    fewest, most = bound(k / spread, -NORMAL) if k else 0.0, bound(k / spread + 1, NORMAL)
    estimate, low, high = (found.pairs / number if number else inf for number in (k, most, fewest))
    return estimate, max(1.0, low), high


def duplicates(x: Iterable[np.ndarray], dataset: Dataset, n: int, seed: int = 0) -> tuple[dict[str, Any], Birthday]:
    """Metrics of n samples, an iterator over blocks of 64, and what they are of.

    None stands for infinity: without near-duplicates the support is larger than `support_low`.
    """
    if isinstance(dataset, ArrayDataset) and not dataset.n_held_out:
        dataset = dataset.holding_out(EVERY)
    size, (distance, held_out, training) = batch_size(dataset.shape), near(dataset, seed)
    found = birthday(batches(x, size), distance)
    real = birthday(real_batches(dataset, n, size, seed), distance)
    metrics: dict[str, Any] = {
        "samples": n,
        "held_out_samples": held_out,
        "training_samples": training,
        "near_distance": distance,
        "closest_distance": found.closest[0][0],
        "pairs": found.pairs,
        "near_duplicates": sum(found.counts),
        **{f"share_{n}": share for n, share in found.shares.items()},
    }
    for name, birthdays in (("support", found), ("real_support", real)):
        values = zip((name, f"{name}_low", f"{name}_high"), support(birthdays), strict=True)
        metrics |= {key: value if value < inf else None for key, value in values}
    return metrics, found


def in_words(metrics: dict[str, Any], size: int) -> str:
    """A sentence on the metrics, for batches of `size`."""
    both = f"Different samples: {_number_of(metrics, 'support')}; real ones, by the same measure: "
    both += f"{_number_of(metrics, 'real_support')}."
    if not metrics["near_duplicates"]:
        return f"{both} No two samples are near-duplicates."
    share = 1 - exp(-size * (size - 1) / 2 / metrics["support"])
    half = 0.5 + sqrt(0.25 + 2 * log(2) * metrics["support"])
    return (
        f"{both} A batch of {size:,} samples has near-duplicates with a probability of {share:.2f}, one of "
        f"{half:,.0f} with .5."
    )


def _number_of(metrics, name):
    """A support in words: "about 750,000 (600,000 to 1,100,000)"."""
    estimate, low, high = (
        f"{float(f'{metrics[key]:.2g}'):,.0f}" if metrics[key] else "any number"
        for key in (name, f"{name}_low", f"{name}_high")
    )
    return f"about {estimate} ({low} to {high})" if metrics[name] else f"at least {low}"


def _spread(n, most):
    """At most `most` indices below n, evenly spread: data in a folder for each class are in the order of these."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(int)
