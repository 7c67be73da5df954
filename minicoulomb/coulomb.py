"""The Plummer kernel, and the potential, field and energy of real charges y and generated charges x.

    k(a, b) = (||a - b||^2 + eps^2)^(-d/2)                                        (n_a, n_b)
    Phi(a)  = 1/n_y sum_j k(a, y_j) - 1/n_x sum_i k(a, x_i)                       (n_a,)
    E(a)    = grad_a Phi(a)                                                       (n_a, m)
            = -d ( 1/n_y sum_j (a - y_j) k_{d+2}(a, y_j) - 1/n_x sum_i (a - x_i) k_{d+2}(a, x_i) )
    F       = 1/2 mean_j Phi(y_j) - 1/2 mean_i Phi(x_i)     >= 0                  a number; 2 F is the squared MMD

Both charges make the same: with u_y(a) = mean_j k(a, y_j) is Phi = u_y - u_x and E = grad u_y - grad u_x. Where both
are wanted, `mean_kernel` gives u and grad u in one pass over the pairs.

Real samples attract: Phi is high where real charge outweighs generated charge, and a generated sample moves
along +E. Every array (n, ...) is flattened to n points of dimension m; d > 0 is any real number, eps >= 0.
With eps = 0 coincident pairs are left out of every sum, a point's own self-term among them.

The official code writes the exponent as -(dimension - 2)/2, so its `dimension` is d + 2 (its default 3 is
d = 1 here), and its potential has the opposite sign.

Squared distances are taken in tiles of pairs, so memory stays bounded for any number of points. They come
from differences where points have few coordinates or eps = 0, and else from one matrix product,
|a|^2 + |b|^2 - 2 a.b, always in float64: in float32 that cancellation makes k wrong by 80% at m = 12288,
eps = 0.1 and nearly coincident points, and collapsed generators produce just such points. On a GPU, sums over points
with few coordinates store nothing for a pair (pair_sums.py).

Source: Unterthiner et al., Coulomb GANs, ICLR 2018. Sign and factors are the paper's.
"""

from collections.abc import Callable

import numpy as np

from minicoulomb.backend import array_module, on_gpu
from minicoulomb.errors import UserError
from minicoulomb.fused import Fused
from minicoulomb.pair_sums import offset_sums, pair_sums
from minicoulomb.threads import for_each
from minicoulomb.workspace import NoWorkspace, Workspace

# Points on a side of a tile: 1 MB for each float32 array of pairs, which stays in the processor's cache, and work
# enough that threads rarely wait for the interpreter. A GPU fills its cores with 16 MB.
TILE, GPU_TILE = 2**9, 2**11
# Shares of the tiles that threads take, each with sums of its own; on a GPU there is one.
PARTS = 16
# Up to this many coordinates, differences cost less than a float64 matrix product.
FEW_COORDINATES = 4
# Coordinates that are in float64 at a time.
COORDINATES = 2**12


def plummer_kernel(a, b, d: float, eps: float):
    """k(a_i, b_j) = (||a_i - b_j||^2 + eps^2)^(-d/2), (n_a, n_b); with eps = 0 coincident pairs give 0."""
    a, b = _points(d, eps, a, b)
    k, kernel = array_module(a).empty((len(a), len(b)), a.dtype), _kernel(a, b, d, eps)

    def fill(rows, columns):
        k[rows, columns] = kernel(rows, columns)

    _for_each_tile(fill, a, b)
    return k


def potential(a, y, x, d: float, eps: float):
    """Phi(a_i) = mean_j k(a_i, y_j) - mean_j k(a_i, x_j), (n_a,), of real charges y and generated charges x."""
    a, y, x = _points(d, eps, a, y, x)
    return _row_means(a, y, d, eps) - _row_means(a, x, d, eps)


def potentials(x, y, d: float, eps: float):
    """(Phi(x_i), Phi(y_j)), shapes (n_x,) and (n_y,): Algorithm 1's minibatch potential.

    Both are one sum over all n_x + n_y points p_j with charges q_j = -1/n_x or 1/n_y, and each k is used twice:
    Phi(p_i) = sum_j q_j k(p_i, p_j),  k(p_i, p_j) = k(p_j, p_i).
    The self-terms k(x_i, x_i) = eps^-d are kept, as in the official code.
    """
    x, y = _points(d, eps, x, y)
    xp, n_x, n_y = array_module(x), len(x), len(y)
    q = xp.concatenate((xp.full(n_x, -1 / n_x, x.dtype), xp.full(n_y, 1 / n_y, x.dtype)))
    phi = _own_potentials(xp.concatenate((x, y)), q, d, eps)
    return phi[:n_x], phi[n_x:]


def field(a, y, x, d: float, eps: float):
    """E(a_i) = grad Phi(a_i), the force on a generated sample at a_i, (n_a, m).

    = -d ( mean_j (a - y_j) k_{d+2}(a, y_j) - mean_j (a - x_j) k_{d+2}(a, x_j) )
    """
    a, y, x = _points(d, eps, a, y, x)
    return -d * (_row_mean_offsets(a, y, d + 2, eps) - _row_mean_offsets(a, x, d + 2, eps))


def energy(x, y, d: float, eps: float) -> float:
    """F = 1/2 mean Phi(y) - 1/2 mean Phi(x) >= 0, zero only where the samples agree; half the squared MMD."""
    phi_x, phi_y = potentials(x, y, d, eps)
    return float(phi_y.mean() - phi_x.mean()) / 2


def mean_kernel(a, y, d: float, eps: float):
    """(u, du) of the charge of y alone: u(a_i) = mean_j k(a_i, y_j), (n_a,), and du = grad u, (n_a, m).

    Phi = u_y - u_x and E = du_y - du_x. One pass over the pairs gives both, from k = (r^2 + eps^2) k_{d+2}.
    """
    a, y = _points(d, eps, a, y)
    if _by_pairs(a):
        return _row_means(a, y, d, eps), -d * _row_mean_offsets(a, y, d + 2, eps)
    xp, squared_distances, workspace = array_module(a), _squared_distances(a, y, eps), _work(a, y)
    u, du, ones = xp.zeros(len(a), a.dtype), xp.zeros(a.shape, a.dtype), xp.ones(len(y), a.dtype)

    def add(rows, columns):
        r2 = squared_distances(rows, columns)
        k = xp.add(r2, eps * eps, out=workspace.empty("k", r2.shape, like=r2))
        steep = _plummer(r2, d + 2, eps)
        k *= steep
        u[rows] += k @ ones[columns]
        du[rows] += _weighted_offsets(a[rows], y[columns], y[0], steep)

    _for_each_tile(add, a, y)
    u /= len(y)
    du *= -d / len(y)
    return u, du


def mean_self_kernel(y, d: float, eps: float):
    """mean_ij k(y_i, y_j), self-terms included, as an array of one number; of each pair of points k is taken once."""
    (y,) = _points(d, eps, y)
    return _own_potentials(y, array_module(y).full(len(y), 1 / len(y), y.dtype), d, eps).mean()


def _own_potentials(p, q, d, eps):
    """sum_j q_j k(p_i, p_j), (n,), of the points p where they are themselves, with charges q."""
    if _by_pairs(p):
        return pair_sums(p, p, q, d, eps)
    kernel, parts = _kernel(p, p, d, eps), _parts(p)
    sums = array_module(p).zeros((len(parts), len(p)), p.dtype)

    def add(part):
        for rows in parts[part]:
            for columns in _tiles(p, rows.start):
                k = kernel(rows, columns)
                sums[part, rows] += k @ q[columns]
                if columns != rows:
                    sums[part, columns] += q[rows] @ k

    for_each(add, range(len(parts)))
    return sums.sum(axis=0)


def _row_means(a, b, d, eps):
    """mean_j k(a_i, b_j), (n_a,)."""
    xp, kernel = array_module(a), _kernel(a, b, d, eps)
    if _by_pairs(a):
        return pair_sums(a, b, xp.full(len(b), 1 / len(b), b.dtype), d, eps)
    means, ones = xp.zeros(len(a), a.dtype), xp.ones(len(b), a.dtype)

    def add(rows, columns):
        means[rows] += kernel(rows, columns) @ ones[columns]

    _for_each_tile(add, a, b)
    means /= len(b)
    return means


def _row_mean_offsets(a, b, d, eps):
    """mean_j (a_i - b_j) k_d(a_i, b_j), (n_a, m)."""
    xp = array_module(a)
    if _by_pairs(a):
        return offset_sums(a, b, xp.full(len(b), 1 / len(b), b.dtype), d, eps)
    means, kernel = xp.zeros(a.shape, a.dtype), _kernel(a, b, d, eps)

    def add(rows, columns):
        means[rows] += _weighted_offsets(a[rows], b[columns], b[0], kernel(rows, columns))

    _for_each_tile(add, a, b)
    means /= len(b)
    return means


def _weighted_offsets(a, b, origin, k):
    """sum_j (a_i - b_j) k_ij, (n_a, m), as a_i sum_j k_ij - (k b)_i.

    That cancels where points nearly coincide, so it is taken in float64, about one of them.
    """
    xp = array_module(a)
    k = k.astype(np.float64, copy=False)
    from_a, from_b = (xp.subtract(points, origin, dtype=np.float64) for points in (a, b))
    return from_a * k.sum(axis=1)[:, None] - k @ from_b


def _kernel(a, b, d, eps) -> Callable:
    """The function (rows, columns) -> k(a_i, b_j) of one tile."""
    squared_distances = _squared_distances(a, b, eps)
    return lambda rows, columns: _plummer(squared_distances(rows, columns), d, eps)


def _plummer(r2, d, eps):
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


_PLUMMER = Fused(
    "T r2, T eps2, T exponent",
    "T k",
    """
    const T s = r2 + eps2;
    k = s == 0 ? T(0) : pow(s, exponent);
    """,
    "plummer_kernel",
)


def _by_pairs(points) -> bool:
    return on_gpu(points) and points.shape[1] <= FEW_COORDINATES


def _squared_distances(a, b, eps) -> Callable:
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
    xp, m, workspace = array_module(a), a.shape[1], _work(a, b)
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


def _for_each_tile(function, a, b) -> None:
    """Call function(rows, columns) for every tile of pairs (a_i, b_j); two threads never meet in the same rows."""

    def strips(part):
        for rows in part:
            for columns in _tiles(b):
                function(rows, columns)

    for_each(strips, _parts(a))


def _parts(points) -> list[list[slice]]:
    """The tiles of points, dealt out to parts of about the same size."""
    tiles = _tiles(points)
    parts = min(PARTS, len(tiles)) if array_module(points) is np else 1
    return [tiles[part::parts] for part in range(parts)]


def _work(a, b):
    """Memory for tiles of pairs; a single one takes its own, which costs less than looking it up."""
    return NoWorkspace if len(_tiles(a)) == len(_tiles(b)) == 1 else Workspace()


def _tiles(points, start: int = 0) -> list[slice]:
    side = TILE if array_module(points) is np else GPU_TILE
    return [slice(first, first + side) for first in range(start, len(points), side)]


def _points(d, eps, *arrays):
    """The arrays as (n, m) of one float dtype; UserError unless d > 0, eps >= 0 and all have the same m."""
    if not d > 0:
        raise UserError(f"d = {d}: the kernel's exponent is -d/2 with d > 0; use --d 1 for images, 2 for the plane")
    if not eps >= 0:
        raise UserError(f"eps = {eps}: the kernel's width must be >= 0")
    dtype = np.result_type(*(array.dtype for array in arrays))
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    flat = []
    for array in arrays:
        if array.size == 0:
            raise UserError(f"array of shape {array.shape}: no points; pass at least one")
        flat.append(array.reshape(len(array), -1).astype(dtype, copy=False))
    sizes = {array.shape[1] for array in flat}
    if len(sizes) > 1:
        raise UserError(f"points of dimensions {sorted(sizes)}: all must live in the same space")
    return flat
