"""Sums over pairs of points on the host, a tile of pairs at a time, on several threads, in bounded memory.

    kernel(a, b, d, eps)              k(a_i, b_j)                                   (n_a, n_b)
    kernel_sums(a, p, q, d, eps)      sum_j q_j k(a_i, p_j)                         (n_a,)
    offset_sums(a, p, q, d, eps)      sum_j q_j (a_i - p_j) k(a_i, p_j)             (n_a, m)
    both_sums(a, p, q, d, eps)        kernel_sums with d, offset_sums with d + 2, from k_{d+2} = k / (r^2 + eps^2)

with k(a, b) = (r^2 + eps^2)^(-d/2), r = ||a - b||. Points are (n, m), charges q (n_p,); `rows` is a slice of the a_i,
`columns` one of the p_j. Where p is a, each pair is evaluated once and counts twice: k(a, b) = k(b, a).

Squared distances come from differences where points have few coordinates or eps = 0, and else from one matrix product,
|a|^2 + |b|^2 - 2 a.b, in float64: in float32 that cancellation makes k wrong by 80% at m = 12288, eps = 0.1 and nearly
coincident points, and collapsed generators produce just such points. On the host, images in float32 have it in float32,
but for the pairs which that leaves with fewer than five digits (float32_distances.py).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod

import numpy as np

from minicoulomb.arrays.backend import on_gpu
from minicoulomb.arrays.threads import for_each, go_on
from minicoulomb.arrays.workspace import NoWorkspace, Workspace
from minicoulomb.coulomb import float32_distances, pairs_cuda
from minicoulomb.coulomb.arguments import is_singular

# Numbers in the differences of all pairs, up to which the plain formulas of formulas.py are as fast.
FEW = 2**12
# Points on a side of a tile: 1 MB for each float32 array of pairs, which stays in the processor's cache, and work
# enough that threads rarely wait for the interpreter.
TILE = 2**9
# Parts of the tiles, each with separate sums, so that threads never share one.
PARTS = 16
# Up to this many coordinates, differences cost less than a float64 matrix product.
FEW_COORDINATES = 4
# Coordinates that are in float64 at a time.
COORDINATES = 2**12


# In a step that several processes share, the function (p, q) -> the charges of all processes.
_charges_of_all: Callable | None = None


@contextmanager
def with_charges_of(function: Callable) -> Iterator[None]:
    """A context in which kernel_sums and offset_sums run over the charges of all processes, not over q at p alone.

    function   (p (n_p, m), q (n_p,)) -> the same of all processes, one after the other
    """
    global _charges_of_all
    _charges_of_all = function
    try:
        yield
    finally:
        _charges_of_all = None


def are_many(a, p) -> bool:
    """Whether the sums belong here: many pairs, which the plain formulas would store, or charges of other processes."""
    return on_gpu(a) or a.size * len(p) > FEW or _charges_of_all is not None


def kernel(a, b, d, eps):
    """k(a_i, b_j), (n_a, n_b)."""
    if on_gpu(a):
        return pairs_cuda.kernel(a, b, d, eps)
    k, powers = np.empty((len(a), len(b)), a.dtype), _powers_of(a, b, d, eps)

    def fill(_, rows, columns):
        k[rows, columns] = next(powers(rows, columns))

    _for_each_tile(fill, a, b)
    return k


def kernel_sums(a, p, q, d, eps):
    """sum_j q_j k(a_i, p_j), (n_a,)."""
    if _charges_of_all:
        p, q = _charges_of_all(p, q)
    if on_gpu(a):
        return pairs_cuda.kernel_sums(a, p, q, d, eps)
    return _sums(a, p, q, d, eps, _charges)[0]


def offset_sums(a, p, q, d, eps):
    """sum_j q_j (a_i - p_j) k(a_i, p_j), (n_a, m)."""
    if _charges_of_all:
        p, q = _charges_of_all(p, q)
    if on_gpu(a):
        return pairs_cuda.offset_sums(a, p, q, d, eps)
    return _sums(a, p, q, d, eps, _offsets)[0]


def both_sums(a, p, q, d, eps):
    """(kernel_sums with d, offset_sums with d + 2) in one pass over the pairs."""
    if on_gpu(a):
        return kernel_sums(a, p, q, d, eps), offset_sums(a, p, q, d + 2, eps)
    return _sums(a, p, q, d, eps, _charges, _offsets)


def _sums(a, p, q, d, eps, *terms):
    """The sums over all tiles of term(a_i, p_j, q_j, k_ij), for the n-th of the terms with k_{d+2n}."""
    powers = _powers_of(a, p, d, eps, len(terms))
    if _are_one_tile(a, p):
        k = powers(slice(None), slice(None))
        return [term(a, p, q, next(k)).astype(a.dtype, copy=False) for term in terms]
    shapes = [a.shape if term is _offsets else a.shape[:1] for term in terms]
    symmetric = p is a and prod(shapes[-1]) <= FEW_COORDINATES * len(a)  # else the parts' sums would fill the memory
    parts = len(_parts_of(a)) if symmetric else 1
    totals = [np.zeros((parts, *shape), a.dtype) for shape in shapes]

    def add(part, rows, columns):
        for total, term, k in zip(totals, terms, powers(rows, columns), strict=True):
            total[part, rows] += term(a[rows], p[columns], q[columns], k)
            if symmetric and columns != rows:
                total[part, columns] += term(p[columns], a[rows], q[rows], k.T)

    _for_each_tile(add, a, p, symmetric)
    return [total.sum(axis=0) for total in totals]


def _charges(a, p, q, k):
    """sum_j q_j k_ij, (n_a,), of one tile."""
    return k @ q


def _offsets(a, p, q, k):
    """sum_j q_j (a_i - p_j) k_ij, (n_a, m), of one tile, as a_i sum_j q_j k_ij - sum_j q_j p_j k_ij.

    That cancels where points nearly coincide, so it is computed in float64, relative to p_0.
    """
    k = k.astype(np.float64, copy=False)
    from_a, from_p = (np.subtract(points, p[0], dtype=np.float64) for points in (a, p))
    return from_a * (k @ q)[:, None] - k @ (q[:, None] * from_p)


def _powers_of(a, b, d, eps, count=1) -> Callable[[slice, slice], Iterator]:
    """The function (rows, columns) -> k_d, k_{d+2}, ... of one tile, `count` in all, each in the memory of the last."""
    squared_distances, workspace = _squared_distances_of(a, b, eps), NoWorkspace if _are_one_tile(a, b) else Workspace()

    def powers(rows, columns):
        s = squared_distances(rows, columns)
        if is_singular(eps):
            s[s == 0] = np.inf  # the kernel of coincident points is left out
        else:
            s += eps * eps
        k = _power(s, d, s if count == 1 else workspace.empty("k", s.shape, like=s))
        yield k
        for _ in range(1, count):
            k /= s
            yield k

    return powers


def _power(s, d, out):
    """s^(-d/2); on the host by roots and products, where d allows."""
    if d not in (1, 2, 3, 4):
        return np.power(s, -d / 2, out=out)
    if d == 1:
        s = np.sqrt(s, out=out)
    elif d > 2:
        s = np.multiply(s, np.sqrt(s) if d == 3 else s, out=out)
    return np.divide(1, s, out=out)


def _squared_distances_of(a, b, eps) -> Callable:
    """The function (rows, columns) -> ||a_i - b_j||^2 of one tile, which its thread may overwrite."""
    if a.shape[1] <= FEW_COORDINATES:
        return _by_few_differences_of(a, b)

    def tile(rows, columns):
        tile_a = a[rows]
        tile_b = tile_a if b is a and columns == rows else b[columns]
        if float32_distances.applies(a, eps):
            return float32_distances.squared_distances(tile_a, tile_b, eps, in_float64=_by_products)
        return _by_differences(tile_a, tile_b) if is_singular(eps) else _by_products(tile_a, tile_b)

    return tile


def _by_few_differences_of(a, b) -> Callable:
    """The same for few coordinates, from differences a_i - b_j, (m, rows, columns), in the thread's memory.

    These are matrix products [a_i, 1] . [1, -b_j], one for each coordinate: rounded once, just as a - b is, and faster
    than NumPy's broadcasting.
    """
    m, workspace = a.shape[1], NoWorkspace if _are_one_tile(a, b) else Workspace()
    left, right = np.ones((m, len(a), 2), a.dtype), np.ones((m, 2, len(b)), a.dtype)
    left[:, :, 0] = a.T
    np.negative(b.T, out=right[:, 1])

    def tile(rows, columns):
        factors = left[:, rows], right[:, :, columns]
        shape = m, factors[0].shape[1], factors[1].shape[2]
        squares = np.matmul(*factors, out=workspace.empty("differences", shape, like=a))
        squares *= squares
        for square in squares[1:]:
            squares[0] += square
        return squares[0]

    return tile


def _by_products(a, b):
    """||a_i - b_j||^2 = |a_i|^2 + |b_j|^2 - 2 a_i . b_j in float64, relative to a_0 so that less cancels."""
    m = a.shape[1]
    r2 = np.zeros((len(a), len(b)))
    for start in range(0, m, COORDINATES):
        part = slice(start, start + COORDINATES)
        a64 = np.subtract(a[:, part], a[0, part], dtype=np.float64)
        b64 = a64 if b is a else np.subtract(b[:, part], a[0, part], dtype=np.float64)  # a a^T costs half of a b^T
        r2 += np.einsum("ij,ij->i", a64, a64)[:, None]
        r2 += np.einsum("ij,ij->i", b64, b64)
        products = a64 @ b64.T
        products *= 2
        r2 -= products
    return np.maximum(r2, 0, out=np.empty(r2.shape, a.dtype))


def _by_differences(a, b):
    """||a_i - b_j||^2 without cancellation: where eps = 0, k is singular at coincident points and amplifies errors."""
    r2 = np.empty((len(a), len(b)), a.dtype)
    for i, point in enumerate(a):
        offsets = point - b
        r2[i] = np.einsum("ij,ij->i", offsets, offsets)
    return r2


def _for_each_tile(function, a, p, symmetric=False) -> None:
    """Call function(part, rows, columns) for every tile of pairs (a_i, p_j); two threads never share a part's rows.

    With `symmetric`, p is a: only tiles on and right of the diagonal are visited. Otherwise part is 0.
    """
    parts = _parts_of(a)

    def strips(number):
        for rows in parts[number]:
            for columns in _tiles_of(p, rows.start if symmetric else 0):
                go_on()
                function(number if symmetric else 0, rows, columns)

    for_each(strips, range(len(parts)))


def _parts_of(points) -> list[list[slice]]:
    """The tiles of points, dealt out to parts of about the same size."""
    tiles = _tiles_of(points)
    parts = min(PARTS, len(tiles))
    return [tiles[part::parts] for part in range(parts)]


def _tiles_of(points, start: int = 0) -> list[slice]:
    """The rows of points from `start` on, a tile's side at a time."""
    return [slice(first, first + TILE) for first in range(start, len(points), TILE)]


def _are_one_tile(a, b) -> bool:
    """Whether a single tile has all pairs; then a workspace's look-ups cost more than new memory."""
    return max(len(a), len(b)) <= TILE
