"""A data set is a source of real samples y: draw n of them at random as stored, then decode them on the device.

    stored: uint8 pixels in 0..255, or floats       decoded: floats, pixels in [-1, 1] by y = pixel / 127.5 - 1

Samples are drawn independently and with replacement, so a batch depends on its random numbers alone: nothing to save
in a checkpoint, nothing to shuffle. Every `hold_out_every`-th item of a finite data set is kept out of training;
`minicoulomb evaluate` compares with these.
"""

from abc import ABC, abstractmethod

import numpy as np

from minicoulomb.errors import UserError


def decode(stored, dtype):
    """Stored samples (n, ...), uint8 or float, as floats of `dtype`; uint8 pixels are mapped to [-1, 1].

    Works on NumPy and CuPy arrays, so pixels are sent to a device as bytes.
    """
    if stored.dtype == np.uint8:
        pixels = stored.astype(dtype)
        pixels /= 127.5
        pixels -= 1
        return pixels
    return stored.astype(dtype, copy=False)


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Floats as uint8, round(127.5 (x + 1)), clipped outside [-1, 1] (a scaled tanh can leave it); uint8 unchanged."""
    if images.dtype == np.uint8:
        return images
    return np.rint(np.clip(127.5 * (images + 1), 0, 255)).astype(np.uint8)


class Dataset(ABC):
    """Real samples of one shape.

    name    what a run directory is called after
    shape   of one sample: (m,) for points, (height, width, channels) for images
    scale   the typical size of a coordinate: 1 for images in [-1, 1], the standard deviation for points
    bound   every coordinate lies within [-bound, bound]
    """

    name: str
    shape: tuple[int, ...]
    scale: float
    bound: float

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int, held_out: bool = False) -> np.ndarray:
        """n independent samples (n, *shape) as stored; from the part kept out of training if `held_out`."""

    def holding_out(self, every: int) -> "Dataset":
        """The same samples with every `every`-th kept out of training; an endless data set needs no such part."""
        return self


class ArrayDataset(Dataset):
    """The rows of one array (n_total, *shape), in memory or memory-mapped; uint8 pixels or floats.

    labels   optional integer class of each row, (n_total,)
    """

    def __init__(self, name, array, *, scale=1.0, bound=1.0, labels=None, hold_out_every=10):
        if len(array) < 2:
            raise UserError(f"{name}: too few samples ({len(array)}): training needs at least 2; add data")
        self.name, self.array, self.labels = name, array, labels
        self.shape = tuple(array.shape[1:])
        self.scale, self.bound = float(scale), float(bound)
        # A tiny set is used whole for training: a held-out part of one or two images would measure nothing.
        self.hold_out_every = hold_out_every if hold_out_every and len(array) >= 2 * hold_out_every else 0

    @property
    def n_held_out(self) -> int:
        return len(self.array) // self.hold_out_every if self.hold_out_every else 0

    @property
    def n_train(self) -> int:
        return len(self.array) - self.n_held_out

    def holding_out(self, every):
        return ArrayDataset(
            self.name, self.array, scale=self.scale, bound=self.bound, labels=self.labels, hold_out_every=every
        )

    def train_index(self, j):
        """Row of the j-th training sample: with k = hold_out_every, rows k-1, 2k-1, ... are left out."""
        return j + j // (self.hold_out_every - 1) if self.hold_out_every else j

    def held_out_index(self, j):
        """Row of the j-th held-out sample."""
        return (j + 1) * self.hold_out_every - 1

    def draw(self, rng, n, held_out=False):
        if held_out and not self.n_held_out:
            raise UserError(f"{self.name}: no held-out samples; use more data or a smaller --hold-out-every")
        j = rng.integers(0, self.n_held_out if held_out else self.n_train, n)
        return self.array[self.held_out_index(j) if held_out else self.train_index(j)]

    def train_blocks(self, size):
        """All training samples in order, `size` at a time, as stored."""
        for start in range(0, self.n_train, size):
            yield self.array[self.train_index(np.arange(start, min(start + size, self.n_train)))]
