"""What a step does with vectors, also where a GPU captures it (graph.py): without CuPy's cuBLAS or host memory."""

from minicoulomb.arrays import cuda
from minicoulomb.arrays.backend import array_module, on_gpu
from minicoulomb.arrays.cuda import ColumnSums


def concatenate(arrays):
    """numpy.concatenate; on a GPU the result has the dtype of the first array."""
    return cuda.concatenate(arrays) if on_gpu(arrays[0]) else array_module(arrays[0]).concatenate(arrays)


def sum_of_squares(vector):
    """|v|^2 of a vector v (n,)."""
    if not on_gpu(vector):
        return vector @ vector
    return _SQUARES(len(vector), 1, array_module(vector).ascontiguousarray(vector))[0][0]


_SQUARES = ColumnSums("raw T x", ["x[at] * x[at]"], "sum_of_squares")
