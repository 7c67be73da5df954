"""The metrics of `minicoulomb evaluate`, which compare samples with the data.

Mixtures         modes, modes20, high_quality, spread, reverse_kl, forward_kl (metrics.py), mmd2 and its floor
Finite sets      mmd2 and its floor, the nearest-neighbour ratio, for small images the Frechet distance of the
                 pixels, and with labels the classes and their entropy
Text             mmd2 and its floor, the divergences of n-grams (ngrams.py)

mmd2 (coulomb.mmd2) compares n samples with m real ones that are new to training. It is above 0 even where both come
from one distribution, because a sample has no distance from itself. Its mean over all draws of n and m real samples is
the floor, in closed form

    floor = (1/n + 1/m) (eps^-d - E k(y, y')),      y, y' two different real samples

so that no draw is a lucky one. Both are in the units of training's mmd2, with the eps of the last step. The
nearest-neighbour ratio is the median distance from a sample to the nearest training sample, over the same median for
held-out real samples: about 1 for fresh samples, towards 0 for copies.

`measure` adds how well D follows the potential (field_values.py).
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from minicoulomb.arrays.rng import rng_for
from minicoulomb.config import Config
from minicoulomb.coulomb import mean_self_kernel, mmd2
from minicoulomb.data.dataset import ArrayDataset, Dataset, check_shape, decode
from minicoulomb.data.mixtures import Mixture
from minicoulomb.data.text import TextDataset
from minicoulomb.errors import UserError
from minicoulomb.evaluation import field_values, metrics
from minicoulomb.evaluation.ngrams import ngram_metrics
from minicoulomb.gan import potential_unit
from minicoulomb.training.checkpoint import Checkpoint

# Number of samples by default.
EVALUATED, EVALUATED_LINES = 2500, 640
# Numbers in all samples at the end of training, and in the training samples then searched for nearest neighbours: both
# take seconds.
NUMBERS, SEARCHED = EVALUATED * 512, 2**27
# Real samples among which E k(y, y') is estimated, within 1%.
PAIRED = 1000
# A covariance matrix of more pixels needs more samples than anybody draws.
FRECHET_DIMENSIONS = 512
# Training samples compared at a time.
BLOCK = 1024
# Numbers in the training samples compared at a time by nearest_training: 32 MB in float64.
NEIGHBOUR_NUMBERS = 2**22


def measured(shape: tuple[int, ...]) -> int:
    """How many samples of a shape are measured within seconds: 2,500 of up to 512 numbers, at least a picture's 64."""
    return max(64, min(EVALUATED, NUMBERS // prod(shape)))


def measure(
    checkpoint: Checkpoint,
    dataset: Dataset,
    x: np.ndarray,
    seed: int = 0,
    search: bool = False,
    d: dict | None = None,
    progress: Callable | None = None,
) -> dict[str, Any]:
    """Metrics of a checkpoint by name: of its samples x (n, *shape), and of its D.

    search     for nearest neighbours, or n-grams, even where it takes longer than seconds
    d          what `fit` gave, if it is known
    progress   of the search for n-grams
    """
    short = isinstance(dataset, ArrayDataset) and dataset.n_train * prod(dataset.shape) <= SEARCHED
    found = evaluate(x, dataset, checkpoint.config, search or short, progress)
    return found | (fit(checkpoint, dataset, min(len(x), measured(x.shape[1:])), seed) if d is None else d)


def fit(checkpoint: Checkpoint, dataset: Dataset, n: int, seed: int) -> dict[str, float]:
    """How well D follows the potential of n generated and n real charges; empty where D regresses nothing."""
    if not field_values.regresses(checkpoint):
        return {}
    return field_values.follows(field_values.charges(checkpoint, dataset, n, seed), checkpoint)


def evaluate(
    x: np.ndarray, dataset: Dataset, config: Config, search: bool = True, progress: Callable | None = None
) -> dict[str, Any]:
    """Metrics of samples x (n, *shape) by name; the configured seed chooses the real samples to compare with.

    search     for the nearest neighbours, among all training samples, or n-grams in all training lines
    progress   is called with (done, total) lines
    """
    check_shape(dataset.name, dataset.shape, x.shape[1:])
    if isinstance(dataset, TextDataset):
        found = ngram_metrics(x, dataset, config.run.seed, search, progress)
        return {"samples": len(x), **distance(x[: measured(x.shape[1:])], dataset, config), **found}
    if isinstance(dataset, Mixture):
        return {"samples": len(x), **mode_metrics(x, dataset), **distance(x, dataset, config)}
    assert isinstance(dataset, ArrayDataset)
    result: dict[str, Any] = {"samples": len(x), **distance(x, dataset, config)}
    if dataset.n_held_out and search and (ratio := nearest_ratio(x, dataset)) is not None:
        result["nearest_ratio"] = ratio
    if np.prod(dataset.shape) <= FRECHET_DIMENSIONS:
        result["frechet"] = metrics.frechet_distance(x, decode(np.asarray(dataset.rows()), np.dtype(np.float64)))
    return result | mode_metrics(x, dataset)


def mode_metrics(x: np.ndarray, dataset: Dataset) -> dict[str, float]:
    """Coverage of a mixture's modes, or of labelled data's classes, by samples x (n, *shape), as in metrics.py.

    Empty for other data. It takes milliseconds, so training can log it.
    """
    if isinstance(dataset, Mixture):
        return metrics.mixture_metrics(x, dataset.modes, dataset.sigma)
    if isinstance(dataset, ArrayDataset) and dataset.labels is not None:
        return metrics.class_metrics(x, decode(dataset.rows(), np.dtype(np.float64)), dataset.labels)
    return {}


def parts_of(dataset: Dataset) -> int | None:
    """The number of the data's modes or classes; None for data without."""
    if isinstance(dataset, Mixture):
        return len(dataset.modes)
    labels = getattr(dataset, "labels", None)
    return None if labels is None else int(labels.max()) + 1


def distance(x: np.ndarray, dataset: Dataset, config: Config) -> dict[str, float]:
    """Squared MMD of samples x (n, *shape) and real ones that are new to training, and its floor.

    Empty where training has all real samples. 2,500 points take a twentieth of a second, so training can log it.
    """
    d, eps = config.algorithm.d, config.algorithm.eps_end or config.algorithm.eps
    n, paired = len(x), min(PAIRED, measured(dataset.shape))
    rng = [rng_for(config.run.seed, "evaluate", number) for number in (0, 1)]
    if isinstance(dataset, ArrayDataset):
        if not dataset.n_held_out:
            return {}
        n = min(n, dataset.n_train)
        reference = dataset.rows(dataset.held_out_index(np.arange(min(n, dataset.n_held_out))))
        rows = rng[1].choice(dataset.n_train, min(dataset.n_train, paired), replace=False)
        real = dataset.rows(dataset.train_index(rows))
    else:
        reference, real = dataset.draw(rng[0], n), dataset.draw(rng[1], paired)
    reference, real = (decode(stored, np.dtype(np.float64), dataset.shape) for stored in (reference, real))
    others = (len(real) * float(mean_self_kernel(real, d, eps)) - eps**-d) / (len(real) - 1)
    unit = potential_unit(config.algorithm, eps)
    return {
        "reference_samples": len(reference),
        "mmd2": unit * mmd2(x[:n], reference, d, eps),
        "mmd2_floor": unit * (1 / n + 1 / len(reference)) * (eps**-d - others),
    }


def nearest_ratio(x: np.ndarray, dataset: ArrayDataset) -> float | None:
    """median_i min_t |x_i - t| / median_h min_t |h - t| over training samples t and held-out samples h.

    Held-out samples that training has, too, do not count; None if training has all.
    """
    held_out = decode(dataset.rows(dataset.held_out_index(np.arange(min(len(x), dataset.n_held_out)))), x.dtype)
    nearest = [np.full(len(points), np.inf) for points in (x, held_out)]
    for block in dataset.train_blocks(BLOCK):
        for points, best in zip((x, held_out), nearest, strict=True):
            np.minimum(best, metrics.nearest_neighbours(points, decode(block, x.dtype))[1], out=best)
    return metrics.distance_ratio(*nearest)


def nearest_training(x: np.ndarray, dataset: ArrayDataset, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k training samples nearest to each of the samples x (n, *shape), nearest first, and their distances.

    Images (n, k, *shape) as stored, and Euclidean distances (n, k) of coordinates, pixels in [-1, 1]. One block of data
    is in memory at a time. Raises UserError where x has another shape, or the data have fewer than k samples.
    """
    check_shape(dataset.name, dataset.shape, x.shape[1:])
    if k > dataset.n_train:
        raise UserError(f"neighbours {k}: {dataset.name} has {dataset.n_train} training samples; use at most as many")
    blocks = dataset.train_blocks(max(1, NEIGHBOUR_NUMBERS // x[0].size))
    index = metrics.k_nearest(x, (decode(block, np.dtype(np.float64)) for block in blocks), k)
    images = dataset.rows(dataset.train_index(index))  # (n, k, *shape)
    offsets = (x[:, None] - decode(images, np.dtype(np.float64))).reshape(*index.shape, -1)
    return images, np.sqrt((offsets * offsets).sum(axis=-1))
