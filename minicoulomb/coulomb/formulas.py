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

Pairs are taken in tiles (kernel_tiles.py), so memory stays bounded for any number of points; on a GPU, sums over
points with few coordinates store nothing for a pair (pair_sums.py).

Source: Unterthiner et al., Coulomb GANs, ICLR 2018. Sign and factors are the paper's.
"""

import numpy as np

from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.threads import for_each
from minicoulomb.coulomb.pairs import (
    by_pairs,
    for_each_tile,
    kernel_of,
    memory_for,
    parts_of,
    plummer,
    squared_distances_of,
    tiles_of,
)
from minicoulomb.coulomb.pairs_cuda import offset_sums, pair_sums
from minicoulomb.errors import UserError


def plummer_kernel(a, b, d: float, eps: float):
    """k(a_i, b_j) = (||a_i - b_j||^2 + eps^2)^(-d/2), (n_a, n_b); with eps = 0 coincident pairs give 0."""
    a, b = _points(d, eps, a, b)
    k, kernel = array_module(a).empty((len(a), len(b)), a.dtype), kernel_of(a, b, d, eps)

    def fill(rows, columns):
        k[rows, columns] = kernel(rows, columns)

    for_each_tile(fill, a, b)
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
    if by_pairs(a):
        return _row_means(a, y, d, eps), -d * _row_mean_offsets(a, y, d + 2, eps)
    xp, squared_distances, workspace = array_module(a), squared_distances_of(a, y, eps), memory_for(a, y)
    u, du, ones = xp.zeros(len(a), a.dtype), xp.zeros(a.shape, a.dtype), xp.ones(len(y), a.dtype)

    def add(rows, columns):
        r2 = squared_distances(rows, columns)
        k = xp.add(r2, eps * eps, out=workspace.empty("k", r2.shape, like=r2))
        steep = plummer(r2, d + 2, eps)
        k *= steep
        u[rows] += k @ ones[columns]
        du[rows] += _weighted_offsets(a[rows], y[columns], y[0], steep)

    for_each_tile(add, a, y)
    u /= len(y)
    du *= -d / len(y)
    return u, du


def mean_self_kernel(y, d: float, eps: float):
    """mean_ij k(y_i, y_j), self-terms included, as an array of one number; of each pair of points k is taken once."""
    (y,) = _points(d, eps, y)
    return _own_potentials(y, array_module(y).full(len(y), 1 / len(y), y.dtype), d, eps).mean()


def _own_potentials(p, q, d, eps):
    """sum_j q_j k(p_i, p_j), (n,), of the points p where they are themselves, with charges q."""
    if by_pairs(p):
        return pair_sums(p, p, q, d, eps)
    kernel, parts = kernel_of(p, p, d, eps), parts_of(p)
    sums = array_module(p).zeros((len(parts), len(p)), p.dtype)

    def add(part):
        for rows in parts[part]:
            for columns in tiles_of(p, rows.start):
                k = kernel(rows, columns)
                sums[part, rows] += k @ q[columns]
                if columns != rows:
                    sums[part, columns] += q[rows] @ k

    for_each(add, range(len(parts)))
    return sums.sum(axis=0)


def _row_means(a, b, d, eps):
    """mean_j k(a_i, b_j), (n_a,)."""
    xp, kernel = array_module(a), kernel_of(a, b, d, eps)
    if by_pairs(a):
        return pair_sums(a, b, xp.full(len(b), 1 / len(b), b.dtype), d, eps)
    means, ones = xp.zeros(len(a), a.dtype), xp.ones(len(b), a.dtype)

    def add(rows, columns):
        means[rows] += kernel(rows, columns) @ ones[columns]

    for_each_tile(add, a, b)
    means /= len(b)
    return means


def _row_mean_offsets(a, b, d, eps):
    """mean_j (a_i - b_j) k_d(a_i, b_j), (n_a, m)."""
    xp = array_module(a)
    if by_pairs(a):
        return offset_sums(a, b, xp.full(len(b), 1 / len(b), b.dtype), d, eps)
    means, kernel = xp.zeros(a.shape, a.dtype), kernel_of(a, b, d, eps)

    def add(rows, columns):
        means[rows] += _weighted_offsets(a[rows], b[columns], b[0], kernel(rows, columns))

    for_each_tile(add, a, b)
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
