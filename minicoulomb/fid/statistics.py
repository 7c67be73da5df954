"""Mean and covariance of features (n, m), for any number of images in bounded memory, and the file that keeps them.

    mu = 1/n sum_i f_i        sigma = 1/(n - 1) sum_i (f_i - mu) (f_i - mu)^T

both float64, summed about the first rows' mean to avoid cancellation. A file is an .npz with `mu` (m,) and `sigma`
(m, m), as pytorch-fid writes and reads it; one written here holds `n` as well.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicoulomb.arrays.sharing import each
from minicoulomb.errors import UserError, explained
from minicoulomb.fid.architecture import FEATURES
from minicoulomb.fid.network import Inception
from minicoulomb.files import atomic_write
from minicoulomb.untrusted import array_in, opened, opened_zip

# Rows added to the sums at a time: each sum passes over the whole covariance, so the rows must be many.
ROWS = 1024


class Statistics(NamedTuple):
    """mu (m,) and sigma (m, m) of n images (None: the file does not say), and the features (k, m) that were kept."""

    n: int | None
    mu: np.ndarray
    sigma: np.ndarray
    features: np.ndarray | None = None


class Moments:
    """Mean and covariance of features that are added in blocks."""

    def __init__(self):
        self.n, self._waiting, self._centre = 0, [], None

    def add(self, features: np.ndarray) -> None:
        """Add the features (k, m) of further images."""
        self._waiting.append(features)
        self.n += len(features)
        if sum(map(len, self._waiting)) >= ROWS:
            self._sum()

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """(mu, sigma); UserError for fewer than two images, which have no covariance."""
        if self.n < 2:
            raise UserError(f"{self.n} images: a covariance needs at least 2; use more")
        self._sum()
        mean = self._sums / self.n
        sigma = (self._products - self.n * np.outer(mean, mean)) / (self.n - 1)
        return self._centre + mean, sigma

    def _sum(self):
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting).astype(np.float64)
        self._waiting = []
        if self._centre is None:
            self._centre, m = rows.mean(axis=0), rows.shape[1]
            self._sums, self._products = np.zeros(m), np.zeros((m, m))
        rows -= self._centre
        self._sums += rows.sum(axis=0)
        self._products += rows.T @ rows


def summarize(
    blocks: Iterable[np.ndarray],
    n: int,
    network: Inception,
    keep: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Statistics:
    """The statistics of the features of n images in blocks of pixels (k, h, w, c), uint8.

    `keep` is the number of images, evenly spread, whose features are kept. Calls progress(done, n) after each batch.
    """
    moments, done, keep, kept, filled = Moments(), 0, min(keep, n), None, 0
    batches = (block[i : i + network.batch] for block in blocks for i in range(0, len(block), network.batch))
    for features in each(network.features, batches):
        moments.add(features)
        # Image i is kept if it is the first with its value of i keep // n, so n images have `keep` of them.
        i = np.arange(done, done + len(features))
        chosen = features[i * keep // n != (i - 1) * keep // n]
        if kept is None:
            kept = np.empty((keep, features.shape[1]), features.dtype)
        kept[filled : filled + len(chosen)] = chosen
        filled, done = filled + len(chosen), done + len(features)
        if progress:
            progress(done, n)
    return Statistics(moments.n, *moments.result(), kept if keep else None)


def is_statistics(path: Path) -> bool:
    """Whether the file is an .npz with mu and sigma."""
    with suppress(Exception), opened(path) as file, opened_zip(file) as archive:  # damaged ones raise anything
        return {"mu.npy", "sigma.npy"} <= set(archive.namelist())
    return False


def read_statistics(path: Path) -> Statistics:
    """The statistics in a file that this project or pytorch-fid has written; UserError for another."""
    remedy = "write it with minicoulomb stats, or with pytorch-fid --save-stats and its default --dims"
    shapes = {"mu": (FEATURES,), "sigma": (FEATURES, FEATURES), "n": ()}

    def check(name, shape, dtype):
        if shape != shapes[name] or dtype.kind not in "fiu":
            rule = f"must hold finite floats {shapes[name]} of Inception's {FEATURES} features"
            raise UserError(f"{path}: {name} is {dtype} {shape}: {rule}; {remedy}")

    with (
        explained(f"{path}: holds no whole mu and sigma", remedy, Exception),  # damaged archives raise nearly anything
        opened(path) as file,
        opened_zip(file) as archive,
    ):
        mu, sigma = (array_in(archive, name, check).astype(np.float64) for name in ("mu", "sigma"))
        n = int(array_in(archive, "n", check)) if "n.npy" in archive.namelist() else None
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise UserError(f"{path}: mu and sigma must hold finite floats; {remedy}")
    return Statistics(n, mu, sigma)


def write_statistics(path: Path, statistics: Statistics) -> None:
    """Write mu, sigma and n, whole or not at all."""
    with atomic_write(path) as file:
        np.savez(file, mu=statistics.mu, sigma=statistics.sigma, n=np.array(statistics.n))
