"""Functions of large arrays, computed block by block on several threads, so that a block stays in the cache.

    map_blocks(f, x, y)                  f(x, y), an array
    for_each_block(f, x, y)              f(x, y), which writes into its arguments
    sum_blocks(f, x, y)                  f(x, y), where f itself is a sum over its rows
    map_rows(f, x, y, columns=(m,))      f(x, y, m) of rows x, y (n, c) and numbers m (c,), one for each column
    column_sums(f, x, y, columns=(m,))   the sums over the rows of each array that f(x, y, m) returns

Blocks are parts of axis 0. They depend on sizes alone, so the results do not depend on the number of threads. A GPU
has its own threads and takes large blocks.

The last two place rows side by side, (n, c) -> (n / k, k c), and repeat m as often: NumPy takes up to twice as long
where arrays of different shapes meet in rows of less than 8192 numbers.
"""

from collections.abc import Callable
from math import prod
from typing import Any

from minicoulomb.arrays.backend import array_module, on_gpu
from minicoulomb.arrays.threads import for_each

# Numbers in a block: 1 MB in float32. Several passes over it stay in the cache, and each takes long enough that
# threads rarely wait for the interpreter. On a GPU 1 GB.
BLOCK, GPU_BLOCK = 2**18, 2**28
# Numbers in a row that NumPy broadcasts at full speed: the size of its buffers.
ROW = 2**13


def blocks(n: int, numbers: int, like, limit: int | None = None) -> list[slice]:
    """Slices that cover range(n), of about `limit` numbers each where an item has `numbers`.

    The limit is BLOCK by default, and GPU_BLOCK on a GPU.
    """
    limit = GPU_BLOCK if on_gpu(like) else BLOCK if limit is None else limit
    length = max(1, limit // max(1, numbers))
    return [slice(start, min(n, start + length)) for start in range(0, n, length)]


def for_each_block(function: Callable, *arrays, limit: int | None = None) -> None:
    """Call function(*arrays) on each block of about `limit` numbers of the last array; it writes into its arguments."""
    last = arrays[-1]
    parts = blocks(len(last), last.size // max(1, len(last)), last, limit)
    for_each(lambda part: function(*(array[part] for array in arrays)), parts)


def map_blocks(function: Callable, *arrays, shape=None, numbers: int | None = None, limit: int | None = None):
    """function(*arrays), (n, *shape) for arrays of n items; by default shaped as the last array.

    An item counts as `numbers` numbers, by default those of the result.
    """
    last = arrays[-1]
    if shape is None and getattr(last, "size", 0) <= BLOCK:  # the function refuses what is no array
        return function(*arrays)
    shape = last.shape[1:] if shape is None else shape
    parts = blocks(len(last), prod(shape) if numbers is None else numbers, last, limit)
    if len(parts) == 1:
        return array_module(last).ascontiguousarray(function(*arrays))
    result = array_module(last).empty((len(last), *shape), last.dtype)

    def write(part):
        result[part] = function(*(array[part] for array in arrays))

    for_each(write, parts)
    return result


def sum_blocks(function: Callable, *arrays, numbers: int, limit: int | None = None, most: int | None = None):
    """The sum over all blocks of function(*blocks), in at most `most` partial sums."""
    parts = blocks(len(arrays[0]), numbers, arrays[0], limit)
    sums: list[Any] = [None] * min(len(parts), most or len(parts))

    def add(k):
        for block in parts[k :: len(sums)]:
            term = function(*(array[block] for array in arrays))
            sums[k] = term if sums[k] is None else sums[k] + term

    for_each(add, range(len(sums)))
    return sum(sums[1:], sums[0])


def map_rows(function: Callable, *rows, columns, apart: bool = False):
    """function(*rows, *columns), (n, c), of rows (n, c) and columns (c,); `apart` if it mixes the numbers of a row."""
    wide, columns = _side_by_side(rows, columns, apart)
    return map_blocks(lambda *block: function(*block, *columns), *wide).reshape(rows[-1].shape)


def column_sums(function: Callable, *rows, columns=(), apart: bool = False):
    """sum_n a[n, c] for each array a (n, c) in the tuple function(*rows, *columns): (arrays, c)."""
    xp, (_, c) = array_module(rows[-1]), rows[-1].shape
    rows, columns = _side_by_side(rows, columns, apart)

    def sums(*block):
        ones = xp.ones(len(block[-1]), block[-1].dtype)  # a product with it is BLAS's, faster than a sum along axis 0
        return xp.stack([ones @ array for array in function(*block, *columns)])

    # OpenBLAS takes half as long for the product from 2^19 numbers on.
    total = sum_blocks(sums, *rows, numbers=rows[-1].shape[1], limit=2 * BLOCK)  # (arrays, k c)
    return total.reshape(len(total), -1, c).sum(axis=1)


def _side_by_side(rows, columns, apart):
    """Rows (n / k, k c) and columns (k c,), for the least power of two k that divides n and gives ROW numbers a row."""
    (n, c), k = rows[-1].shape, 1
    while n % (2 * k) == 0 and 0 < k * c < ROW and not apart:
        k *= 2
    if k == 1:
        return rows, columns
    return [array.reshape(-1, k * c) for array in rows], [array_module(array).tile(array, k) for array in columns]
