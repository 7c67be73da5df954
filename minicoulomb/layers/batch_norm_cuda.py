"""Batch normalization on a GPU, with its activation f, in as few passes over memory as the sums allow.

    mean_and_variance    two passes over x
    normalize            y = f((x - mean) factor + shift)
    gradient_sums        sum dz (x - mean) and sum dz in one pass, dz = f' dy
    differentiate        dx = ((x - mean) slope + dz - offset) factor

x, y and dy are rows (n, c), everything else has the shape (c,); without activation y is not read.
batch_norm.py has the same in plain operations.
"""

from functools import lru_cache
from typing import NamedTuple

from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.cuda import ColumnSums, ElementwiseKernel, column_sums
from minicoulomb.layers.activations_cuda import preamble


def mean_and_variance(rows):
    """Mean and variance of each column, in two passes to avoid cancellation when the mean is large."""
    rows = _contiguous(rows)
    mean = column_sums(rows) / len(rows)
    return mean, _SQUARES(*rows.shape, rows, mean)[0] / len(rows)


def normalize(x, mean, factor, shift, activation):
    """f((x - mean) factor + shift)."""
    return _kernels(activation).normalize(_contiguous(x), mean, factor, shift, len(factor))


def gradient_sums(x, y, dy, mean, activation) -> list:
    """[sum dz (x - mean), sum dz]."""
    return _kernels(activation).sums(*x.shape, *map(_contiguous, (x, y, dy)), mean)


def differentiate(x, y, dy, mean, slope, offset, factor, activation):
    """((x - mean) slope + dz - offset) factor."""
    arrays = map(_contiguous, (x, y, dy))
    return _kernels(activation).differentiate(*arrays, mean, slope, offset, factor, len(factor))


class _Kernels(NamedTuple):
    normalize: ElementwiseKernel
    sums: ColumnSums
    differentiate: ElementwiseKernel


@lru_cache
def _kernels(activation) -> _Kernels:
    code = preamble(activation)
    # A division of 64-bit numbers takes longer than memory.
    column = "const int column = i < 4294967296 ? unsigned(i) % columns : i % columns;"
    dz = "activation_gradient(y[at], dy[at])"
    return _Kernels(
        ElementwiseKernel(
            "T x, raw T mean, raw T factor, raw T shift, uint32 columns",
            "T y",
            f"{column} y = activation((x - mean[column]) * factor[column] + shift[column])",
            "batch_norm",
            code,
        ),
        ColumnSums(
            "raw T x, raw T y, raw T dy, raw T mean",
            [f"(x[at] - mean[column]) * {dz}", dz],
            "batch_norm_sums",
            code,
        ),
        ElementwiseKernel(
            "T x, T y, T dy, raw T mean, raw T slope, raw T offset, raw T factor, uint32 columns",
            "T dx",
            f"""
            {column}
            const T centred = x - mean[column], dz = activation_gradient(y, dy);
            dx = (centred * slope[column] + dz - offset[column]) * factor[column];
            """,
            "batch_norm_input_gradient",
            code,
        ),
    )


_SQUARES = ColumnSums("raw T x, raw T mean", ["(x[at] - mean[column]) * (x[at] - mean[column])"], "squares")


def _contiguous(array):
    return array_module(array).ascontiguousarray(array)
