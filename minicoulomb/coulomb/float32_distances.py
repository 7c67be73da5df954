"""Squared distances of images in float32 on the host, in the time of a float32 product.

    ||a_i - b_j||^2 = |a_i - c|^2 + |b_j - c|^2 - 2 (a_i - c) . (b_j - c)        for any point c

cancels where points are near each other and far from c. Here c is the mean of a block of points, sums over K = CHUNK
coordinates are in float32, and their sums in float64. With u = 2^-24, the unit roundoff of float32,

    |error| <= (K + 2) u (|a_i - c| + |b_j - c|)^2

Pairs that this leaves with a relative error above ERROR in ||a_i - b_j||^2 + eps^2 come from differences; where these
are many, as of a collapsed generator, all come from a product in float64. ERROR is the worst case: rounding, which goes
to either side, leaves a hundredth of it, and k five digits.
"""

from itertools import product

import numpy as np

from minicoulomb.arrays.threads import for_each, watching

# Coordinates from which this is faster than a float64 product.
MANY_COORDINATES = 2**9
# Coordinates that one product sums, and points on a side of a block.
CHUNK, BLOCK = 2**8, 2**7
# The relative error, and the share of near pairs from which a float64 product is faster.
ERROR, SHARE = 2e-4, 1 / 16
# Coordinates that are copied at a time.
COORDINATES = 2**12


def applies(points, eps) -> bool:
    """Whether these points are images in float32 on the host; with eps = 0, k is singular and amplifies errors."""
    host = isinstance(points, np.ndarray) and points.dtype == np.float32
    return host and points.shape[1] >= MANY_COORDINATES and eps > 0


def squared_distances(a, b, eps, in_float64):
    """||a_i - b_j||^2, (n_a, n_b), in blocks on several threads; in_float64(a, b) is the same by a float64 product.

    A sixteenth of the points, with a quarter of their coordinates and thus about half their distances, tells beforehand
    whether enough pairs are far enough.
    """
    few = a[::16, ::4]
    _, is_near = _by_product(few, few if b is a else b[::16, ::4], eps / 2)
    if is_near.mean() >= SHARE:
        return in_float64(a, b)
    r2 = np.empty((len(a), len(b)), a.dtype)

    def fill(block):
        rows, columns = block
        block_a = a[rows]
        r2[rows, columns] = _of_block(block_a, block_a if b is a and columns == rows else b[columns], eps, in_float64)
        if b is a:
            r2[columns, rows] = r2[rows, columns].T

    starts = product(range(0, len(a), BLOCK), range(0, len(b), BLOCK))
    sides = [(slice(i, i + BLOCK), slice(j, j + BLOCK)) for i, j in starts if b is not a or j >= i]
    with watching(None):  # progress is in tiles, of which these are blocks
        for_each(fill, sides)
    return r2


def _of_block(a, b, eps, in_float64):
    """The same of one block."""
    r2, is_near = _by_product(a, b, eps)
    if is_near.mean() >= SHARE:
        return in_float64(a, b)
    for i in np.flatnonzero(is_near.any(axis=1)):
        j = np.flatnonzero(is_near[i])
        r2[i, j] = sum(_squares(_in_chunks(b[j, part], a[i, part])) for part in _pieces(a.shape[1]))
    return r2


def _by_product(a, b, eps):
    """(||a_i - b_j||^2 from a float32 product, whether its error may be above ERROR), (n_a, n_b) each."""
    centre, r2, is_same = a.mean(axis=0), np.zeros((len(a), len(b))), b is a
    squares_a, squares_b = np.zeros((len(a), 1)), np.zeros(len(b))
    for part in _pieces(a.shape[1]):
        chunks_a = _in_chunks(a[:, part], centre[part])
        chunks_b = chunks_a if is_same else _in_chunks(b[:, part], centre[part])
        r2 -= 2 * (chunks_a.swapaxes(0, 1) @ chunks_b.transpose(1, 2, 0)).sum(axis=0, dtype=np.float64)
        squares_a[:, 0] += _squares(chunks_a)
        squares_b += _squares(chunks_b)
    r2 += squares_a + squares_b
    bound = (CHUNK + 2) * np.finfo(np.float32).eps / 2 * (np.sqrt(squares_a) + np.sqrt(squares_b)) ** 2
    is_near = ~(bound <= ERROR * (r2 + eps * eps))  # true of what is not a number
    if is_same:
        np.fill_diagonal(r2, 0 * squares_a)
        np.fill_diagonal(is_near, False)
    return np.maximum(r2, 0), is_near


def _squares(chunks):
    """The sum of the squares of each point, (n,), in float32 over a chunk."""
    return np.vecdot(chunks, chunks).sum(axis=1, dtype=np.float64)


def _in_chunks(points, centre):
    """points - centre, (n, chunks, CHUNK), with zeros after the last coordinate."""
    n, m = points.shape
    chunks = np.empty((n, -(-m // CHUNK) * CHUNK), points.dtype)
    np.subtract(points, centre, out=chunks[:, :m])
    chunks[:, m:] = 0
    return chunks.reshape(n, -1, CHUNK)


def _pieces(m) -> list[slice]:
    """Slices of at most COORDINATES that cover m of them."""
    return [slice(start, start + COORDINATES) for start in range(0, m, COORDINATES)]
