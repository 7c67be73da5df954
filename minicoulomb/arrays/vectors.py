"""What a step does with vectors, also where a GPU captures it (graph.py): without CuPy's cuBLAS or host memory."""

from functools import cache

from minicoulomb.arrays.backend import array_module, on_gpu
from minicoulomb.arrays.cuda import ColumnSums, ElementwiseKernel

# Arrays that one CUDA kernel joins; its arguments have 4 kB.
JOINED = 32


def concatenate(arrays):
    """numpy.concatenate of arrays; on a GPU the result has the dtype of the first, and the others are vectors.

    CuPy's sends a table of the addresses of many arrays from the host, from memory that it soon uses again: a captured
    step would read that of a later call. And it takes a launch for each of few arrays.
    """
    first = arrays[0]
    if not on_gpu(first):
        return array_module(first).concatenate(arrays)
    joined, start = array_module(first).empty((sum(map(len, arrays)), *first.shape[1:]), first.dtype), 0
    flat = joined.reshape(-1)
    for begin in range(0, len(arrays), JOINED):
        parts = [array_module(first).ascontiguousarray(array) for array in arrays[begin : begin + JOINED]]
        ends, end = [], 0
        for part in parts:
            end += part.size
            ends.append(end)
        kernel = _joined(tuple(str(part.dtype) for part in parts))
        if end:
            kernel(*parts, *ends, flat[start : start + end], size=end)
        start += end
    return joined


def sum_of_squares(vector):
    """|v|^2 of a vector v (n,)."""
    if not on_gpu(vector):
        return vector @ vector
    return _SQUARES(len(vector), 1, array_module(vector).ascontiguousarray(vector))[0][0]


@cache
def _joined(dtypes) -> ElementwiseKernel:
    """The CUDA kernel that writes arrays of these dtypes one after the other."""
    names = range(len(dtypes))
    inputs = [f"raw {dtype} part{k}" for k, dtype in enumerate(dtypes)] + [f"int64 end{k}" for k in names]
    code = "".join(f"if (i < end{k}) joined[i] = part{k}[i{f' - end{k - 1}' * (k > 0)}];\nelse " for k in names)
    return ElementwiseKernel(", ".join(inputs), "raw T joined", f"{code}{{}}", "joined")


_SQUARES = ColumnSums("raw T x", ["x[at] * x[at]"], "sum_of_squares")
