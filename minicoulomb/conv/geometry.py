"""Sizes, strides and paddings of a convolution, and what is wrong with those that do not fit."""

import numpy as np

from minicoulomb.arrays.backend import floats
from minicoulomb.errors import UserError

PerAxis = int | tuple[int, ...]
Padding = int | tuple[int | tuple[int, int], ...]


def transposed_size(size, kernel_size, stride, padding) -> tuple[int, ...]:
    """Size of a transposed convolution's output: s (u - 1) + k - before - after along each axis."""
    return tuple(s * (u - 1) + k - sum(p) for u, k, s, p in zip(size, kernel_size, stride, padding, strict=True))


def normalize_geometry(dimensions: int, stride, padding):
    """`stride` as one int and `padding` as (before, after) for each of the axes."""
    stride = per_axis(stride, dimensions, "stride")
    ends = padding if hasattr(padding, "__len__") else (padding,) * dimensions
    pairs = tuple(tuple(p) if hasattr(p, "__len__") else (p, p) for p in ends)
    fits = len(pairs) == dimensions and all(len(p) == 2 for p in pairs)
    if not fits or not all(isinstance(end, int | np.integer) and end >= 0 for p in pairs for end in p):
        raise UserError(f"padding {padding}: must be an int >= 0, or an int or (before, after) per axis ({dimensions})")
    return stride, pairs


def per_axis(value, dimensions: int, name: str) -> tuple[int, ...]:
    """`value`, an int or one per axis, as one for each of the axes."""
    values = tuple(value) if hasattr(value, "__len__") else (value,) * dimensions
    if len(values) != dimensions or not all(isinstance(number, int | np.integer) and number >= 1 for number in values):
        raise UserError(f"{name} {value}: must be an int >= 1, or one per axis ({dimensions})")
    return values


def geometry_of(x, w, stride, padding):
    """normalize_geometry for images or sequences x, and w, a kernel or dy; UserError if they are neither."""
    floats(x, w)
    if x.ndim not in (3, 4):
        raise UserError(f"array of shape {x.shape}: convolution takes arrays (n, l, c) or (n, h, w, c)")
    if w.ndim != x.ndim:
        raise UserError(f"array of shape {w.shape}: those of shape {x.shape} take one of {x.ndim} axes")
    if x.size == 0:
        raise UserError(f"array of shape {x.shape}: the batch is empty; pass at least one sample with a channel")
    return normalize_geometry(x.ndim - 2, stride, padding)


def check_fit(size, kernel_size, padding) -> None:
    """UserError unless the kernel fits into the padded input."""
    for h, k, p in zip(size, kernel_size, padding, strict=True):
        if h < 1 or not 1 <= k <= h + sum(p):
            raise UserError(f"kernel of size {k}: must be from 1 to the padded input's {h} + {sum(p)}; pad more")
