"""A data set is a source of real samples y: draw n of them at random as stored, then decode them on the device.

    stored                            decoded
    uint8 pixels in 0..255            floats in [-1, 1], y = pixel / 127.5 - 1
    floats                            the same
    text: ids (n, length)             (n, length, characters), 1 at the id of each position's character, 0 elsewhere

Points are drawn as offsets from a location, subtracted in float64: far from the origin float32 has no digits left for
their differences. The networks see offsets alone; pictures, files and axes show location + offset.

Samples are drawn independently and with replacement, so a batch depends on its random numbers alone: nothing to save
in a checkpoint, nothing to shuffle. Every `hold_out_every`-th item of a finite data set is kept out of training;
`minicoulomb evaluate` compares with these.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

from minicoulomb.arrays.backend import array_module
from minicoulomb.errors import UserError


def decode(stored, dtype, shape=None):
    """Stored samples (n, ...), uint8 or float, as floats of `dtype`; uint8 pixels are mapped to [-1, 1].

    Where `shape`, that of one sample, has a further axis, the stored numbers are ids of characters, which become
    one-hot along it. Works on NumPy and CuPy arrays, so pixels and ids are sent to a device as bytes.
    """
    if shape and stored.shape[1:] == shape[:-1]:
        return (stored[..., None] == array_module(stored).arange(shape[-1], dtype=stored.dtype)).astype(dtype)
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


def check_shape(data: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """UserError if data of one shape meet samples of another."""
    if shape != wanted:
        raise UserError(f"data {data}: has shape {shape}, the run's samples have {wanted}; use data of that shape")


class Dataset(ABC):
    """Real samples of one shape.

    name       what a run directory is called after
    shape      of one sample: (m,) for points, (height, width, channels) for images, (length, characters) for text
    scale      the typical size of a coordinate: 1 for images in [-1, 1], the standard deviation for points
    bound      every coordinate lies within [-bound, bound], except points that `remark` names
    location   what is subtracted from samples: a number for each coordinate of a file's points, else 0
    alphabet   the characters of text, from id 1; id 0 stands for all others
    remark     what the user should know about the data, if anything
    """

    name: str
    shape: tuple[int, ...]
    scale: float
    bound: float
    location: tuple[float, ...] | float = 0.0
    alphabet: str = ""
    remark: str | None = None

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int, held_out: bool = False, part: slice = slice(None)) -> np.ndarray:
        """n independent samples (n, *shape) as stored, points less the location.

        held_out   draw those that are kept out of training
        part       draw n, and read and return only these of them
        """

    def in_space(self, space: Any) -> "Dataset":
        """The same samples less the location of a run's SampleSpace; UserError if the run has another shape."""
        check_shape(self.name, self.shape, space.shape)
        moved = copy(self)
        moved.location = space.location
        return moved

    def holding_out(self, every: int) -> "Dataset":
        """The same samples with every `every`-th kept out of training; an endless data set needs no such part."""
        return self


class ArrayDataset(Dataset):
    """The rows of one array (n_total, *shape), in memory or memory-mapped; uint8 pixels or floats.

    labels   optional integer class of each row, (n_total,)
    check    called as check(rows, their indices) whenever rows are read; by default they are not checked
    """

    check: Callable[[np.ndarray, Any], None] | None = None

    def __init__(self, name, array, *, scale=1.0, bound=1.0, location=0.0, labels=None, hold_out_every=10):
        if len(array) < 2:
            raise UserError(f"{name}: too few samples ({len(array)}): training needs at least 2; add data")
        self.name, self.array, self.labels = name, array, labels
        self.shape = tuple(array.shape[1:])
        self.scale, self.bound, self.location = float(scale), float(bound), location
        self.hold_out_every = self._spared(hold_out_every)

    def _spared(self, every):
        """`every`, or 0 for a tiny set, used whole: a held-out part of one or two images would measure nothing."""
        return every if every and len(self.array) >= 2 * every else 0

    @property
    def n_held_out(self) -> int:
        return len(self.array) // self.hold_out_every if self.hold_out_every else 0

    @property
    def n_train(self) -> int:
        return len(self.array) - self.n_held_out

    def holding_out(self, every):
        other = copy(self)
        other.hold_out_every = self._spared(every)
        return other

    def rows(self, index=slice(None)) -> np.ndarray:
        """The rows with these indices, by default all, as stored; points less the location in float64."""
        stored = self.array[index]
        if self.check:
            self.check(stored, np.arange(len(self.array)) if isinstance(index, slice) else index)
        return np.subtract(stored, self.location, dtype=np.float64) if self.location else stored

    def train_index(self, j):
        """Row of the j-th training sample: with k = hold_out_every, rows k-1, 2k-1, ... are left out."""
        return j + j // (self.hold_out_every - 1) if self.hold_out_every else j

    def held_out_index(self, j):
        """Row of the j-th held-out sample."""
        return (j + 1) * self.hold_out_every - 1

    def draw(self, rng, n, held_out=False, part=slice(None)):
        if held_out and not self.n_held_out:
            raise UserError(f"{self.name}: no held-out samples; use more data or a smaller --hold-out-every")
        j = rng.integers(0, self.n_held_out if held_out else self.n_train, n)[part]
        return self.rows(self.held_out_index(j) if held_out else self.train_index(j))

    def train_blocks(self, size):
        """All training samples in order, `size` at a time, as stored."""
        for start in range(0, self.n_train, size):
            yield self.rows(self.train_index(np.arange(start, min(start + size, self.n_train))))
