"""Sums over the rows of a matrix on a GPU, of what a formula makes of its numbers.

    squares = ColumnSums("raw T x, raw T mean", ["(x[at] - mean[column]) * (x[at] - mean[column])"], "squares")
    (sums,) = squares(rows, columns, x, mean)              x (rows, columns), mean (columns,) -> (columns,)

Images have a hundred thousand rows and a hundred columns: CuPy's own sum would give each column to a few threads. Here
RUN rows are one thread's, so that the numbers are read once and by all threads; then RUN such sums are, and so on. The
order of the sum depends on the sizes alone, and with so short runs rounding grows with their length, not with the rows.
"""

from minicoulomb.backend import array_module
from minicoulomb.fused import Fused

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
        self._first = Fused(f"{inputs}, int64 rows, int32 columns, int32 parts", "raw T sums", code, name, preamble)

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
# Of each of several arrays (rows, columns), one behind the other.
_OF_SUMS = Fused(
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
