"""FID and KID: samples of a run, or a data set, by Inception's features against a reference.

    FID    the squared Frechet distance of the Gaussians with the features' means and covariances
    KID    the squared MMD of the features under the kernel (x.y / 2048 + 1)^3, unbiased: mean over 100 subsets of 1000

Both use images as the PNG files of `minicoulomb sample` hold them: rounded to uint8, grey repeated to three channels.

Source: Heusel et al., NIPS 2017; Binkowski et al., ICLR 2018.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from minicoulomb.arrays import limits
from minicoulomb.arrays.rng import rng_for
from minicoulomb.config import Config
from minicoulomb.data.dataset import ArrayDataset, Dataset, to_pixels
from minicoulomb.data.sources import Found, find
from minicoulomb.errors import UserError
from minicoulomb.evaluation.metrics import frechet_distance_of, kernel_distance
from minicoulomb.fid.architecture import FEATURES
from minicoulomb.fid.network import Inception
from minicoulomb.fid.statistics import Statistics, is_statistics, read_statistics, summarize
from minicoulomb.fid.weights import GET, load_weights
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.sampling import Progress, sample_blocks

METRICS = ("fid", "kid")
# The number of samples in nearly all published figures.
SAMPLES = 50_000
# The largest number of features kept for KID (400 MB), whose subsets are drawn from them.
KEPT = 50_000
# Images of a data set read at a time.
BLOCK = 64
# Floating-point operations of Inception for an image.
OPERATIONS = 11 * 10**9


class _Stopped(Exception):
    """A signal asks the run to end."""


def compare(
    checkpoint: Checkpoint,
    n: int,
    seed: int,
    network: Inception,
    reference: Statistics,
    metrics: tuple[str, ...] = ("fid",),
    progress: Progress = None,
    stop: object = False,
) -> dict[str, float] | None:
    """The metrics of the samples 0 .. n - 1 of a run; None if `stop` becomes true meanwhile."""

    def pixels() -> Iterator[np.ndarray]:
        for block in sample_blocks(checkpoint.G, checkpoint.state, n, seed, checkpoint.config.run.batch_statistics):
            if stop:
                raise _Stopped
            yield to_pixels(block)

    try:
        found = summarize(pixels(), n, network, KEPT if "kid" in metrics else 0, progress)
    except _Stopped:
        return None
    result = {}
    if "fid" in metrics:
        result["fid"] = frechet_distance_of(found.mu, found.sigma, reference.mu, reference.sigma)
    if "kid" in metrics:
        rng = rng_for(0, "evaluate", 2)
        result["kid"], result["kid_std"] = kernel_distance(found.features, reference.features, rng)
    return result


def open_network(weights: str | None, xp=np) -> Inception:
    """Inception with the weights of a file, as arrays of `xp`."""
    if weights is None:
        raise UserError(f"inception: FID and KID need its weights; add --inception FILE ({GET})")
    return Inception(load_weights(Path(weights)), xp)


def open_reference(
    reference: str | Dataset,
    config: Config,
    network: Inception,
    metrics: tuple[str, ...],
    open_data: Callable[[Config, Found], Dataset],
    progress: Progress = None,
) -> Statistics:
    """The statistics of a reference: a file of statistics, a data set, or any path that `--data` accepts.

    `open_data` opens what lies at such a path; images are decoded with the run's size and crop.
    """
    if isinstance(reference, str) and is_statistics(Path(reference)):
        if "kid" in metrics:
            raise UserError(f"reference {reference}: must be images, because KID needs features; or use --metric fid")
        return read_statistics(Path(reference))
    if isinstance(reference, str):
        found, config = find(reference), config.replace(data=reference)
        if found.kind != "images":  # an array has its own size
            config = config.replace(size=None, crop=None, pad=False, channels=None)
        reference = open_data(config, found)
    return dataset_statistics(reference, network, KEPT if "kid" in metrics else 0, progress)


def dataset_statistics(dataset: Dataset, network: Inception, keep: int = 0, progress: Progress = None) -> Statistics:
    """The statistics of all images of a data set, with those held out; UserError if it holds points."""
    check_images(dataset.shape)
    assert isinstance(dataset, ArrayDataset)
    n = len(dataset.array)
    blocks = (to_pixels(dataset.rows(np.arange(start, min(start + BLOCK, n)))) for start in range(0, n, BLOCK))
    return summarize(blocks, n, network, keep, progress)


def check_images(shape: tuple[int, ...]) -> None:
    """UserError unless samples of `shape` are images."""
    if len(shape) != 3:
        raise UserError(f"samples of shape {shape}: FID and KID need images (h, w, c); use evaluate without --metric")


def parse_metrics(text: str) -> tuple[str, ...]:
    """The names in "fid,kid"; UserError for another name."""
    metrics = tuple(name.strip() for name in text.split(","))
    if not metrics or not set(metrics) <= set(METRICS):
        names = f"{' or '.join(METRICS)}, both with a comma, or duplicates alone"
        raise UserError(f"metric {text!r}: must be {names}; use --metric fid,kid")
    return metrics


def check_time(n: int, option: str, xp) -> None:
    """UserError if Inception takes longer than anybody waits for the features of n images."""
    limits.check_time(f"FID of {n:,} samples", n * OPERATIONS, f"use a smaller {option}", xp)


def too_few(n: int, option: str | None = None) -> str | None:
    """A warning if n images give a covariance without full rank."""
    if n > FEATURES:
        return None
    remedy = f"use {option} {SAMPLES}" if option else "use more images"
    rank = f"the covariance of {FEATURES} features has full rank from {FEATURES + 1} on"
    return f"warning: {n} images: {rank}; FID is biased upwards: compare at equal n, or {remedy}"
