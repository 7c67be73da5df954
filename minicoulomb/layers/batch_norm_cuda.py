"""Batch normalization on a GPU, with its activation f, in as few passes over memory as the sums allow.

    mean_and_variance    in one pass over x
    inverse_std          1 / sqrt(variance + epsilon)
    normalize            y = f((x - mean) scale / std + shift)
    gradient_sums        sum dz (x - mean) / std and sum dz in one pass, dz = f' dy
    differentiate        dx = scale / std (dz - dshift / n - (x - mean) dscale / (std n))

x, y and dy are rows (n, c), everything else has the shape (c,); without activation y is not read.
batch_norm.py has the same in plain operations.
"""

from functools import lru_cache
from typing import NamedTuple

from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.cuda import ColumnSums, ElementwiseKernel, sums_of_parts
from minicoulomb.layers.activations_cuda import COLUMN, preamble


def mean_and_variance(rows):
    """Mean and variance of each column in one pass.

    A thread's squares are relative to its first row, and its mean's to the mean: a large mean cancels nowhere.
    """
    n, c = rows.shape
    parts = _SHIFTED.parts(n, c, _contiguous(rows))  # (2, parts, c)
    total, within = sums_of_parts(parts)
    (between,) = _BETWEEN(*parts.shape[1:], parts[0], total, n)
    return _MEANS(total, within, between, n)


def inverse_std(variance, epsilon):
    """1 / sqrt(variance + epsilon)."""
    return _INVERSE_STD(variance, epsilon)


def normalize(x, mean, inverse_std, scale, shift, activation):
    """f((x - mean) scale / std + shift)."""
    return _kernels(activation).normalize(_contiguous(x), mean, inverse_std, scale, shift, len(scale))


def gradient_sums(x, y, dy, mean, inverse_std, activation) -> tuple:
    """(sum dz (x - mean) / std, sum dz)."""
    return tuple(_kernels(activation).sums(*x.shape, *map(_contiguous, (x, y, dy)), mean, inverse_std))


def differentiate(x, y, dy, mean, inverse_std, scale, dscale, dshift, activation):
    """scale / std (dz - dshift / n - (x - mean) dscale / (std n))."""
    columns = mean, inverse_std, scale, dscale, dshift
    return _kernels(activation).differentiate(*map(_contiguous, (x, y, dy)), *columns, 1 / len(x), len(scale))


class _Kernels(NamedTuple):
    normalize: ElementwiseKernel
    sums: ColumnSums
    differentiate: ElementwiseKernel


@lru_cache
def _kernels(activation) -> _Kernels:
    code = preamble(activation)
    dz = "activation_gradient(y[at], dy[at])"
    return _Kernels(
        ElementwiseKernel(
            "T x, raw T mean, raw T inverse_std, raw T scale, raw T shift, uint32 columns",
            "T y",
            f"{COLUMN} y = activation((x - mean[column]) * (inverse_std[column] * scale[column]) + shift[column])",
            "batch_norm",
            code,
        ),
        ColumnSums(
            "raw T x, raw T y, raw T dy, raw T mean, raw T inverse_std",
            [f"(x[at] - mean[column]) * inverse_std[column] * {dz}", dz],
            "batch_norm_sums",
            code,
        ),
        ElementwiseKernel(
            "T x, T y, T dy, raw T mean, raw T inverse_std, raw T scale, raw T dscale, raw T dshift, T inverse_n, "
            "uint32 columns",
            "T dx",
            f"""
            {COLUMN}
            const T dz = activation_gradient(y, dy), inverse = inverse_std[column];
            const T slope = inverse * dscale[column] * inverse_n, offset = dshift[column] * inverse_n;
            dx = (dz - offset - (x - mean[column]) * slope) * (scale[column] * inverse);
            """,
            "batch_norm_input_gradient",
            code,
        ),
    )


# Of the rows of a part: their sum, and the squares of what differs from their mean.
_SHIFTED = ColumnSums(
    "raw T x",
    ["x[at] - pivot", "(x[at] - pivot) * (x[at] - pivot)"],
    "sums_and_squares",
    constants="const T pivot = x[part * columns + column], count = T((rows - 1 - part) / parts + 1);",
    results=["count * pivot + total0", "total1 - total0 * total0 / count"],
)
# Of the parts: the squares of what their means differ from the mean, for each of their rows.
_BETWEEN = ColumnSums(
    "raw T sum, raw T total, int64 n",
    ["(sum[at] - COUNT * mean) * (sum[at] - COUNT * mean) / COUNT".replace("COUNT", "T((n - 1 - row) / rows + 1)")],
    "squares_of_means",
    constants="const T mean = total[column] / T(n);",
)
_MEANS = ElementwiseKernel(
    "T total, T within, T between, int64 n",
    "T mean, T variance",
    "mean = total / T(n); variance = (within + between) / T(n);",
    "means",
)
_INVERSE_STD = ElementwiseKernel("T variance, T epsilon", "T y", "y = T(1) / sqrt(variance + epsilon)", "inverse_std")


def _contiguous(array):
    return array_module(array).ascontiguousarray(array)
