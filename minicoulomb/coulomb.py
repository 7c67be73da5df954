"""The Plummer kernel, and the potential, field and energy of real charges y and generated charges x.

    k(a, b) = (||a - b||^2 + eps^2)^(-d/2)                                        (n_a, n_b)
    Phi(a)  = 1/n_y sum_j k(a, y_j) - 1/n_x sum_i k(a, x_i)                       (n_a,)
    E(a)    = grad_a Phi(a)                                                       (n_a, m)
            = -d ( 1/n_y sum_j (a - y_j) k_{d+2}(a, y_j) - 1/n_x sum_i (a - x_i) k_{d+2}(a, x_i) )
    F       = 1/2 mean_j Phi(y_j) - 1/2 mean_i Phi(x_i)     >= 0                  a number; 2 F is the squared MMD

Real samples attract: Phi is high where real charge outweighs generated charge, and a generated sample moves
along +E. Every array (n, ...) is flattened to n points of dimension m; d > 0 is any real number, eps >= 0.
With eps = 0 coincident pairs are left out of every sum, a point's own self-term among them.

The official code writes the exponent as -(dimension - 2)/2, so its `dimension` is d + 2 (its default 3 is
d = 1 here), and its potential has the opposite sign.

Squared distances are taken in blocks of pairs, so memory stays bounded for any number of points. They come
from differences where points have few coordinates or eps = 0, and else from one matrix product,
|a|^2 + |b|^2 - 2 a.b, always in float64: in float32 that cancellation makes k wrong by 80% at m = 12288,
eps = 0.1 and nearly coincident points, and collapsed generators produce just such points.

Source: Unterthiner et al., Coulomb GANs, ICLR 2018. Sign and factors are the paper's.
"""

from collections.abc import Iterator

import numpy as np

from minicoulomb.backend import array_module
from minicoulomb.errors import UserError

# Pairs per block: 4 million, 16 MB for each float32 work array.
BLOCK_PAIRS = 2**22
# Up to this many coordinates, differences cost less than a float64 matrix product.
FEW_COORDINATES = 4


def plummer_kernel(a, b, d: float, eps: float):
    """k(a_i, b_j) = (||a_i - b_j||^2 + eps^2)^(-d/2), (n_a, n_b); with eps = 0 coincident pairs give 0."""
    a, b = _points(d, eps, a, b)
    k = array_module(a).empty((len(a), len(b)), a.dtype)
    for rows, r2, _ in _pairs(a, b, eps):
        k[rows] = _kernel(r2, d, eps)
    return k


def potential(a, y, x, d: float, eps: float):
    """Phi(a_i) = mean_j k(a_i, y_j) - mean_j k(a_i, x_j), (n_a,), of real charges y and generated charges x."""
    a, y, x = _points(d, eps, a, y, x)
    return _row_means(a, y, d, eps) - _row_means(a, x, d, eps)


def potentials(x, y, d: float, eps: float):
    """(Phi(x_i), Phi(y_j)), shapes (n_x,) and (n_y,), with the cross terms k(x_i, y_j) computed once.

    The self-terms k(x_i, x_i) = eps^-d are kept, as in the official code: Algorithm 1's minibatch potential.
    """
    x, y = _points(d, eps, x, y)
    xp = array_module(x)
    over_y, over_x = xp.empty(len(x), x.dtype), xp.zeros(len(y), y.dtype)
    ones = xp.ones(max(len(x), len(y)), x.dtype)
    for rows, r2, _ in _pairs(x, y, eps):
        k = _kernel(r2, d, eps)
        over_y[rows] = k @ ones[: len(y)]
        over_x += ones[: len(k)] @ k
    phi_x = over_y / len(y) - _row_means(x, x, d, eps)
    phi_y = _row_means(y, y, d, eps) - over_x / len(x)
    return phi_x, phi_y


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


def _row_means(a, b, d, eps):
    """mean_j k(a_i, b_j), (n_a,)."""
    xp = array_module(a)
    means, weights = xp.empty(len(a), a.dtype), xp.ones(len(b), a.dtype)
    for rows, r2, _ in _pairs(a, b, eps):
        means[rows] = _kernel(r2, d, eps) @ weights
    means /= len(b)
    return means


def _row_mean_offsets(a, b, d, eps):
    """mean_j (a_i - b_j) k_d(a_i, b_j), (n_a, m)."""
    xp = array_module(a)
    means = xp.empty(a.shape, a.dtype)
    for rows, r2, offsets in _pairs(a, b, eps):
        k = _kernel(r2, d, eps)
        if offsets is not None:
            for coordinate, offset in enumerate(offsets):
                means[rows, coordinate] = xp.einsum("ij,ij->i", offset, k)
        else:
            # a S - K b cancels where points nearly coincide, so it too is taken in float64, about b's centre.
            k, centre = k.astype(np.float64), b.mean(axis=0, dtype=np.float64)
            means[rows] = (a[rows] - centre) * k.sum(axis=1)[:, None] - k @ (b - centre)
    means /= len(b)
    return means


def _kernel(r2, d, eps):
    """(r^2 + eps^2)^(-d/2), overwriting r2; 0 where both are 0. Roots and products, where d allows, for `power`."""
    xp = array_module(r2)
    if eps == 0:
        coincident = r2 == 0
        r2[coincident] = 1
    s = r2
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
    if eps == 0:
        s[coincident] = 0
    return s


def _pairs(a, b, eps) -> Iterator:
    """Blocks (rows, r2, offsets) of all pairs: r2[i, j] = ||a_i - b_j||^2, (rows, n_b).

    offsets holds a_i - b_j, one (rows, n_b) array for each coordinate, where the coordinates are few; else None.
    """
    xp, (n_b, m) = array_module(a), b.shape
    step = max(1, BLOCK_PAIRS // n_b)
    blocks = [slice(start, start + step) for start in range(0, len(a), step)]
    if m <= FEW_COORDINATES:
        a_columns, b_columns = a.T[:, :, None], xp.ascontiguousarray(b.T)  # (m, n_a, 1), (m, n_b)
        for rows in blocks:
            offsets = [a_columns[k, rows] - b_columns[k] for k in range(m)]
            r2 = offsets[0] * offsets[0]
            for offset in offsets[1:]:
                r2 += offset * offset
            yield rows, r2, offsets
    elif eps == 0:
        for rows in blocks:
            yield rows, _exact_squared_distances(a[rows], b), None
    else:
        centre = b.mean(axis=0, dtype=np.float64)
        b64 = b - centre
        b_squared = xp.einsum("ij,ij->i", b64, b64)
        for rows in blocks:
            a64 = a[rows] - centre
            r2 = a64 @ b64.T
            r2 *= -2
            r2 += xp.einsum("ij,ij->i", a64, a64)[:, None]
            r2 += b_squared
            yield rows, xp.maximum(r2, 0, out=r2).astype(a.dtype, copy=False), None


def _exact_squared_distances(a, b):
    """Without cancellation: where eps = 0, k is singular at coincident points and nothing softens an error."""
    xp, m = array_module(a), b.shape[1]
    r2 = xp.empty((len(a), len(b)), a.dtype)
    step = max(1, BLOCK_PAIRS // m)
    for i, point in enumerate(a):
        for start in range(0, len(b), step):
            offset = point - b[start : start + step]
            r2[i, start : start + step] = xp.einsum("ij,ij->i", offset, offset)
    return r2


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
