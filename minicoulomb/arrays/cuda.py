"""CUDA kernels that do in one pass over memory what plain array operations do in several.

    difference = ElementwiseKernel("T x, T y", "T z", "z = x - y", "difference")
    z = difference(x, y)                       arrays broadcast as in any operation; numbers take the arrays' dtype
    difference(x, y, out)                      or into `out`, which the code may also read

One thread computes one element of the broadcast shape, or the i-th of `size` where all arrays are "raw" (indexed in
the code, x[i], flat and in C order). The code is CUDA C++; T stands for the arrays' dtype. CuPy compiles it at the
first call with arrays of a dtype (cupy.ElementwiseKernel documents the grammar of the parameters). A "number" is one of
ours: the caller gives a Python number, or a device array of one element, which the kernel reads. So a captured step
(graph.py) has the learning rate of the step that it is launched for.

Each kernel replaces plain NumPy operations on a GPU, and a test compares the two.
"""

from functools import cache
from itertools import accumulate
from math import prod

from minicoulomb.arrays.backend import array_module
from minicoulomb.errors import UserError


class ElementwiseKernel:
    """A CUDA kernel; its arguments are arrays of one GPU library, and numbers."""

    def __init__(self, inputs: str, outputs: str, operation: str, name: str, preamble: str = ""):
        self._definition = inputs, outputs, operation, name, preamble

    def __call__(self, *arguments, size: int | None = None):
        """The outputs: new arrays, or those that follow the inputs."""
        on_device = tuple(hasattr(argument, "dtype") for argument in arguments)
        kernel = _compiled(array_module(arguments[on_device.index(True)]), on_device, *self._definition)
        return kernel(*arguments) if size is None else kernel(*arguments, size=size)


@cache
def _compiled(xp, on_device, inputs, outputs, operation, name, preamble):
    """CuPy's kernel for these arguments; it reads the numbers on the device, and is passed the others."""
    parameters = inputs.split(", ")
    for place, (parameter, is_array) in enumerate(zip(parameters, on_device)):
        kind, _, declared = parameter.partition(" ")
        if kind == "number":
            parameters[place] = f"raw {declared}_" if is_array else declared
            operation = f"const {declared} = {declared.split()[1]}_[0];\n{operation}" if is_array else operation
    # The prefix, since CUDA has functions called tanh, and the like.
    return xp.ElementwiseKernel(", ".join(parameters), outputs, operation, f"minicoulomb_{name}", preamble=preamble)


def check_threads(*sizes: int) -> int:
    """Their product, the number of threads of a kernel that counts them in 32 bits; UserError where that is too few."""
    if (threads := prod(sizes)) >= 2**31:
        size = " x ".join(map(str, sizes))
        raise UserError(
            f"array of size {size}: must have less than 2^31 numbers on a GPU; use a smaller batch or image"
        )
    return threads


# Sums over the rows of a matrix. Images have a hundred thousand rows and a hundred columns: in CuPy's sum only a few
# threads would share a column. Here a kernel of ours makes at most PARTS rows of them, or more where few columns leave
# threads idle, and CuPy's sum adds these up. A thread has LANES sums, so that as many numbers are on their way at a
# time. The order depends on the sizes alone, and with such short runs the rounding error grows with their length, not
# with the number of rows.
PARTS, LANES = 2**9, 8
# Rows that a thread adds up at least, and threads.
RUN, THREADS = 16, 2**14


class ColumnSums:
    """Sums of formulas in C++ that may use their arguments, `at` (row * columns + column), `column`, `row` and `rows`.

    constants   C++ declarations of what the formulas use and is the same in all rows of a thread
    results     C++ of what a thread makes of its sums total0, total1, ..., by default these
    """

    def __init__(
        self, inputs: str, formulas: list[str], name: str, preamble: str = "", constants: str = "", results=()
    ):
        self._count = len(formulas)
        names, lanes = range(self._count), range(LANES)
        results = results or [f"total{k}" for k in names]
        code = f"""
            const ptrdiff_t column = i % columns, part = i / columns;
            {constants}
            {"".join(f"T sums{k}[{LANES}] = {{}};" for k in names)}
            for (ptrdiff_t first = part; first < rows; first += {LANES} * parts) {{
              #pragma unroll
              for (int lane = 0; lane < {LANES}; ++lane) {{
                const ptrdiff_t row = first + lane * parts, at = (row < rows ? row : part) * columns + column;
                {"".join(f"const T term{k} = {formula};" for k, formula in enumerate(formulas))}
                {"".join(f"sums{k}[lane] += row < rows ? term{k} : T(0);" for k in names)}
              }}
            }}
            {"".join(f"const T total{k} = {_tree(f'sums{k}', lanes)};" for k in names)}
            {"".join(f"sums[({k} * parts + part) * columns + column] = {result};" for k, result in enumerate(results))}
        """
        self._kernel = ElementwiseKernel(
            f"{inputs}, int64 rows, int64 columns, int64 parts", "raw T sums", code, name, preamble
        )

    def __call__(self, rows: int, columns: int, *arguments) -> list:
        """The sums, (columns,) each; arrays are contiguous."""
        return sums_of_parts(self.parts(rows, columns, *arguments))

    def parts(self, rows: int, columns: int, *arguments):
        """The threads' results, (formulas, parts, columns)."""
        like, most = arguments[0], THREADS // columns if columns > 1 else 2 * THREADS  # CuPy's sum of a vector has more
        parts = min(-(-rows // RUN), max(PARTS, most))
        sums = array_module(like).empty((self._count, parts, columns), like.dtype)
        self._kernel(*arguments, rows, columns, parts, sums, size=parts * columns)
        return sums


def sums_of_parts(parts) -> list:
    """Their sums, (columns,) for each formula."""
    return list(parts[:, 0] if parts.shape[1] == 1 else parts.sum(axis=1))


def _tree(name, lanes) -> str:
    """C++ that adds up the lanes of an array, in pairs."""
    if len(lanes) == 1:
        return f"{name}[{lanes[0]}]"
    half = len(lanes) // 2
    return f"({_tree(name, lanes[:half])} + {_tree(name, lanes[half:])})"


_PLAIN = ColumnSums("raw T x", ["x[at]"], "column_sums")


def column_sums(x):
    """sum_n x[n, c], (c,), of x (n, c) on a GPU."""
    if len(x) <= PARTS:
        return x.sum(axis=0)
    return _PLAIN(*x.shape, array_module(x).ascontiguousarray(x))[0]


# Arrays that a kernel joins: it takes 4 KB of arguments.
JOINED = 32


def concatenate(arrays):
    """numpy.concatenate on a GPU, in the first array's dtype: one kernel for JOINED arrays, with all their addresses.

    CuPy's sends a table of addresses from the host, from memory that it soon uses again: a captured step would read
    that of a later call.
    """
    xp, first = array_module(arrays[0]), arrays[0]
    joined = xp.empty((sum(map(len, arrays)), *first.shape[1:]), first.dtype)
    flat, pieces = joined.reshape(-1), [xp.ascontiguousarray(array).reshape(-1) for array in arrays]
    for start in range(0, len(pieces), JOINED):
        several = pieces[start : start + JOINED]
        *begins, size = accumulate(map(len, several))
        _joining(tuple(str(piece.dtype) for piece in several))(*several, *begins, flat[:size], size=size)
        flat = flat[size:]
    return joined


@cache
def _joining(dtypes) -> ElementwiseKernel:
    def number(low, high) -> str:
        """C++: the i-th number, which is in one of the arrays low, ..., high - 1."""
        if high - low == 1:
            return f"x{low}[i - begin{low}]" if low else "x0[i]"
        middle = (low + high) // 2
        return f"(i < begin{middle} ? {number(low, middle)} : {number(middle, high)})"

    arrays = [f"raw {dtype} x{k}" for k, dtype in enumerate(dtypes)]
    begins, code = [f"int64 begin{k}" for k in range(1, len(dtypes))], f"joined[i] = {number(0, len(dtypes))};"
    return ElementwiseKernel(", ".join(arrays + begins), "raw T joined", code, "concatenate")
