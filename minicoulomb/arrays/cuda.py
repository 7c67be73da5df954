"""CUDA kernels that do in one pass over memory what plain array operations do in several.

    difference = ElementwiseKernel("T x, T y", "T z", "z = x - y", "difference")
    z = difference(x, y)                       arrays broadcast as in any operation; numbers take the arrays' dtype
    difference(x, y, out)                      or into `out`, which the code may also read

One thread computes one element of the broadcast shape, or the i-th of `size` where all arrays are "raw" (indexed in
the code, x[i], flat and in C order). The code is CUDA C++; T stands for the arrays' dtype. CuPy compiles it at the
first call with arrays of a dtype (cupy.ElementwiseKernel documents the grammar of the parameters).

Each kernel replaces plain NumPy operations on a GPU, and a test compares the two.
"""

from functools import cache
from math import prod

from minicoulomb.arrays.backend import array_module
from minicoulomb.errors import UserError


class ElementwiseKernel:
    """A CUDA kernel; its arguments are arrays of one GPU library, and numbers."""

    def __init__(self, inputs: str, outputs: str, operation: str, name: str, preamble: str = ""):
        self._definition = inputs, outputs, operation, name, preamble

    def __call__(self, *arguments, size: int | None = None):
        """The outputs: new arrays, or those that follow the inputs."""
        like = next(argument for argument in arguments if hasattr(argument, "dtype"))
        kernel = _compiled(array_module(like), *self._definition)
        return kernel(*arguments) if size is None else kernel(*arguments, size=size)


@cache
def _compiled(xp, inputs, outputs, operation, name, preamble):
    # The prefix, since CUDA has functions called tanh, and the like.
    return xp.ElementwiseKernel(inputs, outputs, operation, f"minicoulomb_{name}", preamble=preamble)


def check_threads(*sizes: int) -> int:
    """Their product, the number of threads of a kernel that counts them in 32 bits; UserError where that is too few."""
    if (threads := prod(sizes)) >= 2**31:
        size = " x ".join(map(str, sizes))
        raise UserError(
            f"array of size {size}: must have less than 2^31 numbers on a GPU; use a smaller batch or image"
        )
    return threads


# Sums over the rows of a matrix. Images have a hundred thousand rows and a hundred columns: in CuPy's sum only a few
# threads would share a column. Here each thread adds up RUN rows, so that all threads read, and each number is read
# once; then RUN of these sums, and so on. The order depends on the sizes alone, and with such short runs the rounding
# error grows with their length, not with the number of rows.
RUN = 64


class ColumnSums:
    """Sums of formulas in C++ that may use their arguments, `at` (row * columns + column) and `column`."""

    def __init__(self, inputs: str, formulas: list[str], name: str, preamble: str = ""):
        self._count = len(formulas)
        names = range(self._count)
        code = (
            _THREAD
            + "".join(f"T sum{k} = 0;\n" for k in names)
            + "for (ptrdiff_t row = part; row < rows; row += parts) {\n"
            + "  const ptrdiff_t at = row * columns + column;\n"
            + "".join(f"  sum{k} += {formula};\n" for k, formula in enumerate(formulas))
            + "}\n"
            + "".join(f"sums[({k} * ptrdiff_t(parts) + part) * columns + column] = sum{k};\n" for k in names)
        )
        self._first = ElementwiseKernel(
            f"{inputs}, int64 rows, int32 columns, int32 parts", "raw T sums", code, name, preamble
        )

    def __call__(self, rows: int, columns: int, *arguments) -> list:
        """The sums, (columns,) each; arrays are contiguous."""
        like = arguments[0]
        empty = lambda parts: array_module(like).empty((self._count, parts, columns), like.dtype)
        parts = -(-rows // RUN)
        sums = empty(parts)
        self._first(*arguments, rows, columns, parts, sums, size=parts * columns)
        while parts > 1:
            rows, parts, terms = parts, -(-parts // RUN), sums
            sums = empty(parts)
            _OF_SUMS(terms, rows, columns, parts, sums, size=sums.size)
        return [total[0] for total in sums]


_THREAD = """
    const int column = i % columns;
    const ptrdiff_t part = i / columns;
"""
# Sums over the rows of several arrays (rows, columns), one after the other in memory.
_OF_SUMS = ElementwiseKernel(
    "raw T terms, int32 rows, int32 columns, int32 parts",
    "raw T sums",
    """
    const int column = i % columns;
    const int part = i / columns % parts;
    const ptrdiff_t array = i / columns / parts;
    T sum = 0;
    for (int row = part; row < rows; row += parts) sum += terms[(array * rows + row) * columns + column];
    sums[i] = sum;
    """,
    "sums_of_sums",
)


_PLAIN = ColumnSums("raw T x", ["x[at]"], "column_sums")


def column_sums(x):
    """sum_n x[n, c], (c,), of x (n, c) on a GPU."""
    return _PLAIN(*x.shape, array_module(x).ascontiguousarray(x))[0]
