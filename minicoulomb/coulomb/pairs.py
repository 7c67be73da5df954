"""The Plummer kernel of many pairs of points, a tile of pairs at a time, so that memory stays bounded.

    kernel_of(a, b, d, eps)(rows, columns) = (||a_i - b_j||^2 + eps^2)^(-d/2)        for i in rows, j in columns

Squared distances come from differences where points have few coordinates or eps = 0, and else from one matrix product,
|a|^2 + |b|^2 - 2 a.b, always in float64: in float32 that cancellation makes k wrong by 80% at m = 12288, eps = 0.1 and
nearly coincident points, and collapsed generators produce just such points. Points are (n, m), slices are of rows.
"""

from collections.abc import Callable

import numpy as np

from minicoulomb.arrays.backend import array_module, on_gpu
from minicoulomb.arrays.cuda import ElementwiseKernel
from minicoulomb.arrays.threads import for_each
from minicoulomb.arrays.workspace import NoWorkspace, Workspace

# Points on a side of a tile: 1 MB for each float32 array of pairs, which stays in the processor's cache, and work
# enough that threads rarely wait for the interpreter. A GPU fills its cores with 16 MB.
TILE, GPU_TILE = 2**9, 2**11
# Shares of the tiles that threads take, each with sums of its own; on a GPU there is one.
PARTS = 16
# Up to this many coordinates, differences cost less than a float64 matrix product.
FEW_COORDINATES = 4
# Coordinates that are in float64 at a time.
COORDINATES = 2**12


def kernel_of(a, b, d, eps) -> Callable:
    """The function (rows, columns) -> k(a_i, b_j) of one tile."""
    squared_distances = squared_distances_of(a, b, eps)
    return lambda rows, columns: plummer(squared_distances(rows, columns), d, eps)


def plummer(r2, d, eps):
    """(r^2 + eps^2)^(-d/2), overwriting r2; 0 where both are 0. Roots and products, where d allows, for `power`."""
    xp, s = array_module(r2), r2
    if on_gpu(s):
        return _PLUMMER(s, eps * eps, -d / 2, s)
    if eps == 0:
        s[s == 0] = np.inf
    else:
        s += eps * eps
    if d == 1:
        xp.sqrt(s, out=s)
    elif d == 3:
        s *= xp.sqrt(s)
    elif d == 4:
        s *= s
    if d in (1, 2, 3, 4):
        xp.divide(1, s, out=s)
    else:
        xp.power(s, -d / 2, out=s)
    return s


_PLUMMER = ElementwiseKernel(
    "T r2, T eps2, T exponent",
    "T k",
    """
    const T s = r2 + eps2;
    k = s == 0 ? T(0) : pow(s, exponent);
    """,
    "plummer_kernel",
)


def squared_distances_of(a, b, eps) -> Callable:
    """The function (rows, columns) -> ||a_i - b_j||^2 of one tile, a thread's to write in until its next."""
    if a.shape[1] <= FEW_COORDINATES:
        differences = _differences(a, b)
        return lambda rows, columns: _sum_of_squares(differences(rows, columns))

    def tile(rows, columns):
        some_a = a[rows]
        some_b = some_a if b is a and columns == rows else b[columns]
        return _by_differences(some_a, some_b) if eps == 0 else _by_products(some_a, some_b)

    return tile


def _differences(a, b) -> Callable:
    """The function (rows, columns) -> a_i - b_j of one tile, (m, rows, columns), in memory of the thread's last.

    As matrix products [a_i, 1] . [1, -b_j], one for each coordinate: rounded once, just as a - b is, and faster
    than NumPy's broadcasting.
    """
    xp, m, workspace = array_module(a), a.shape[1], memory_for(a, b)
    left, right = xp.ones((m, len(a), 2), a.dtype), xp.ones((m, 2, len(b)), a.dtype)
    left[:, :, 0] = a.T
    xp.negative(b.T, out=right[:, 1])

    def tile(rows, columns):
        factors = left[:, rows], right[:, :, columns]
        shape = m, factors[0].shape[1], factors[1].shape[2]
        return xp.matmul(*factors, out=workspace.empty("offsets", shape, like=a))

    return tile


def _sum_of_squares(offsets):
    """Over the first axis, overwriting them."""
    offsets *= offsets
    total = offsets[0]
    for square in offsets[1:]:
        total += square
    return total


def _by_products(a, b):
    """||a_i - b_j||^2 = |a_i|^2 + |b_j|^2 - 2 a_i . b_j in float64, about one of the points so that less cancels."""
    xp, m = array_module(a), a.shape[1]
    r2 = xp.zeros((len(a), len(b)))
    for start in range(0, m, COORDINATES):
        some = slice(start, start + COORDINATES)
        a64 = xp.subtract(a[:, some], a[0, some], dtype=np.float64)
        b64 = a64 if b is a else xp.subtract(b[:, some], a[0, some], dtype=np.float64)  # a a^T costs half of a b^T
        r2 += xp.einsum("ij,ij->i", a64, a64)[:, None]
        r2 += xp.einsum("ij,ij->i", b64, b64)
        products = a64 @ b64.T
        products *= 2
        r2 -= products
    return xp.maximum(r2, 0, out=r2).astype(a.dtype, copy=False)


def _by_differences(a, b):
    """Without cancellation: where eps = 0, k is singular at coincident points and nothing softens an error."""
    xp = array_module(a)
    r2 = xp.empty((len(a), len(b)), a.dtype)
    for i, point in enumerate(a):
        offsets = point - b
        r2[i] = xp.einsum("ij,ij->i", offsets, offsets)
    return r2


def by_pairs(points) -> bool:
    """Whether sums over pairs are pair_sums.py's: points with few coordinates, on a GPU."""
    return on_gpu(points) and points.shape[1] <= FEW_COORDINATES


def for_each_tile(function, a, b) -> None:
    """Call function(rows, columns) for every tile of pairs (a_i, b_j); two threads never meet in the same rows."""

    def strips(part):
        for rows in part:
            for columns in tiles_of(b):
                function(rows, columns)

    for_each(strips, parts_of(a))


def parts_of(points) -> list[list[slice]]:
    """The tiles of points, dealt out to parts of about the same size."""
    tiles = tiles_of(points)
    parts = min(PARTS, len(tiles)) if array_module(points) is np else 1
    return [tiles[part::parts] for part in range(parts)]


def tiles_of(points, start: int = 0) -> list[slice]:
    """The rows of points from `start` on, a tile's side at a time."""
    side = TILE if array_module(points) is np else GPU_TILE
    return [slice(first, first + side) for first in range(start, len(points), side)]


def memory_for(a, b):
    """Memory for tiles of pairs; a single one takes its own, which costs less than looking it up."""
    return NoWorkspace if len(tiles_of(a)) == len(tiles_of(b)) == 1 else Workspace()
