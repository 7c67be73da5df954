"""The metrics of `minicoulomb evaluate`, which compare samples with the data.

Mixtures         modes, modes20, high_quality, spread, reverse_kl, forward_kl (metrics.py), mmd2 and its floor
Finite sets      mmd2 and its floor, the nearest-neighbour ratio, for small images the Frechet distance of the
                 pixels, and with labels the classes and their entropy

mmd2 (coulomb.mmd2) compares samples with real ones kept out of training; its floor compares as many real training
samples with the same ones. Both are in the units of training's mmd2. The nearest-neighbour ratio is the median
distance from a sample to the nearest training sample, over the same median for held-out real samples: about 1 for
fresh samples, towards 0 for copies.
"""

from typing import Any

import numpy as np

from minicoulomb.arrays.rng import rng_for
from minicoulomb.config import Config
from minicoulomb.coulomb import mmd2
from minicoulomb.data.dataset import ArrayDataset, Dataset, check_shape, decode
from minicoulomb.data.mixtures import Mixture
from minicoulomb.errors import UserError
from minicoulomb.evaluation import metrics
from minicoulomb.gan import potential_unit

# Number of samples by default.
EVALUATED = 2500
# Samples of at most so many numbers are evaluated within seconds.
SMALL = 512
# A covariance matrix of more pixels needs more samples than anybody draws.
FRECHET_DIMENSIONS = 512
# Training samples compared at a time.
BLOCK = 1024
# Numbers in the training samples compared at a time by nearest_training: 32 MB in float64.
NEIGHBOUR_NUMBERS = 2**22


def evaluate(x: np.ndarray, dataset: Dataset, config: Config) -> dict[str, Any]:
    """Metrics of samples x (n, *shape) by name; the configured seed chooses the real samples to compare with."""
    check_shape(dataset.name, dataset.shape, x.shape[1:])
    if isinstance(dataset, Mixture):
        return {"samples": len(x), **mode_metrics(x, dataset), **_mmd2(x, dataset, config)}
    assert isinstance(dataset, ArrayDataset)
    result: dict[str, Any] = {"samples": len(x)}
    if dataset.n_held_out:
        result |= _mmd2(x, dataset, config)
        if (ratio := nearest_ratio(x, dataset)) is not None:
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


def has_modes(dataset: Dataset) -> bool:
    """Whether the data have modes or classes."""
    return not isinstance(dataset, ArrayDataset) or dataset.labels is not None


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


def _mmd2(x, dataset, config):
    """Squared MMD of samples and fresh or held-out real ones, and of equally many other real ones and the same."""
    eps = config.algorithm.eps_end or config.algorithm.eps
    n = len(x)
    if isinstance(dataset, ArrayDataset):
        n = min(n, dataset.n_train)
        reference = dataset.rows(dataset.held_out_index(np.arange(min(n, dataset.n_held_out))))
        rows = rng_for(config.run.seed, "evaluate", 1).choice(dataset.n_train, n, replace=False)
        real = dataset.rows(dataset.train_index(rows))
    else:
        reference = dataset.draw(rng_for(config.run.seed, "evaluate", 0), n)
        real = dataset.draw(rng_for(config.run.seed, "evaluate", 1), n)
    reference, real = (decode(stored, np.dtype(np.float64)) for stored in (reference, real))
    unit = potential_unit(config.algorithm, eps)
    return {
        "mmd2": unit * mmd2(x[:n], reference, config.algorithm.d, eps),
        "mmd2_floor": unit * mmd2(real, reference, config.algorithm.d, eps),
    }
