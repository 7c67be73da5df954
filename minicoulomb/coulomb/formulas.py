"""The Plummer kernel, and the potential, field and energy of real charges y and generated charges x.

    k(a, b) = (||a - b||^2 + eps^2)^(-d/2)                                        (n_a, n_b)
    Phi(a)  = 1/n_y sum_j k(a, y_j) - 1/n_x sum_i k(a, x_i)                       (n_a,)
    E(a)    = grad_a Phi(a)                                                       (n_a, m)
            = -d ( 1/n_y sum_j (a - y_j) k_{d+2}(a, y_j) - 1/n_x sum_i (a - x_i) k_{d+2}(a, x_i) )
    F       = 1/2 mean_j Phi(y_j) - 1/2 mean_i Phi(x_i)     >= 0                  a number; 2 F is the squared MMD

All of them are two sums over charges q_j at points p_j:

    kernel_sums(a, p, q, d, eps) = sum_j q_j k(a_i, p_j)                          (n_a,)
    offset_sums(a, p, q, d, eps) = sum_j q_j (a_i - p_j) k(a_i, p_j)              (n_a, m)

They stand here as plain formulas, which store every pair; for many pairs, and on a GPU, pairs.py computes the same.

Real samples attract: Phi is high where real charge outweighs generated charge, and a generated sample moves along
our E, which is the force on it: the paper's field is E = -grad Phi, the opposite sign. Every array (n, ...) is
flattened to n points of dimension m; d > 0 is any real number, eps >= 0. Theorem 1 of the paper needs eps > 0 and
d <= m - 2, which no d > 0 satisfies in the plane; particles.py proves a step for any d and m. With eps = 0 coincident
pairs are left out of every sum, a point's self-term among them.

The official code writes the exponent as -(dimension - 2)/2, so its `dimension` is d + 2 (its default 3 is d = 1 here),
and its potential has the opposite sign.

Source: Unterthiner et al., Coulomb GANs, ICLR 2018, section 2. Sign and factors of k, Phi and F are the paper's.
"""

import numpy as np

from minicoulomb.arrays.backend import Array, array_module
from minicoulomb.arrays.vectors import concatenate
from minicoulomb.coulomb import pairs
from minicoulomb.coulomb.arguments import checked


def plummer_kernel(a: Array, b: Array, d: float, eps: float) -> Array:
    """Plummer kernel of all pairs of points.

    k(a_i, b_j) = (||a_i - b_j||^2 + eps^2)^(-d/2)

    Parameters
    ----------
    a : array (n_a, ...)
    b : array (n_b, ...)
        Points of the same dimension.
    d : float
        Exponent, d > 0: far away the kernel falls as r^-d.
    eps : float
        Width, eps >= 0, in the units of the points. With eps = 0 the kernel of coincident points is 0.

    Returns
    -------
    array (n_a, n_b)
        In the floating-point dtype of the points: float32 for float16, too, and float64 for integers.

    Raises
    ------
    UserError
        For d <= 0, eps < 0, eps^(d+2) beyond the dtype's range, points of different dimensions, or anything but arrays
        of real numbers with points: a masked array, a list.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([[0.0, 0.0]]), np.array([[0.0, 0.0], [3.0, 4.0]])
    >>> plummer_kernel(a, b, d=1, eps=0.5).round(3)
    array([[2.   , 0.199]])

    References
    ----------
    Unterthiner et al., Coulomb GANs, ICLR 2018, section 2.3.
    """
    d, eps, a, b = checked(d, eps, a, b)
    return pairs.kernel(a, b, d, eps) if pairs.are_many(a, b) else _kernel(a, b, d, eps)


def _kernel(a, b, d, eps):
    """k(a_i, b_j), (n_a, n_b)."""
    s = ((a[:, None] - b) ** 2).sum(axis=-1) + eps**2  # (n_a, n_b)
    return array_module(s).where(s == 0, np.inf, s) ** (-d / 2)


def kernel_sums(a: Array, p: Array, q: Array, d: float, eps: float) -> Array:
    """sum_j q_j k(a_i, p_j), (n_a,), at points a (n_a, m) of charges q (n_p,) at p (n_p, m)."""
    if pairs.are_many(a, p):
        return pairs.kernel_sums(a, p, q, d, eps)
    return _kernel(a, p, d, eps) @ q


def offset_sums(a: Array, p: Array, q: Array, d: float, eps: float) -> Array:
    """sum_j q_j (a_i - p_j) k(a_i, p_j), (n_a, m), at points a (n_a, m) of charges q (n_p,) at p (n_p, m)."""
    if pairs.are_many(a, p):
        return pairs.offset_sums(a, p, q, d, eps)
    return ((q * _kernel(a, p, d, eps))[:, None] @ (a[:, None] - p))[:, 0]  # (n_a, 1, n_p) @ (n_a, n_p, m)


def potential(a: Array, y: Array, x: Array, d: float, eps: float) -> Array:
    """Potential of real charges y and generated charges x at the points a.

    Phi(a_i) = 1/n_y sum_j k(a_i, y_j) - 1/n_x sum_j k(a_i, x_j)

    Parameters
    ----------
    a : array (n_a, ...)
        Where the potential is evaluated.
    y : array (n_y, ...)
        Real samples, which make it high.
    x : array (n_x, ...)
        Generated samples, which make it low.
    d, eps : float
        Exponent and width of the kernel, as in `plummer_kernel`.

    Returns
    -------
    array (n_a,)
        In units of eps^-d, the kernel's largest value.

    Raises
    ------
    UserError
        As `plummer_kernel` does.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])
    >>> potential(np.array([[1.0, 0.0], [0.0, 0.0]]), y, x, d=2, eps=1).round(3)
    array([0.8, 0. ])

    References
    ----------
    Unterthiner et al., Coulomb GANs, ICLR 2018, section 2.4: Phi > 0 where real charge outweighs generated.
    """
    d, eps, a, y, x = checked(d, eps, a, y, x)
    return _mean(kernel_sums, a, y, d, eps) - _mean(kernel_sums, a, x, d, eps)


def potentials(x: Array, y: Array, d: float, eps: float) -> tuple[Array, Array]:
    """Potentials of generated and real samples at the samples themselves: Algorithm 1's mini-batch potential.

    (Phi(x_i), Phi(y_i)),    Phi(p_i) = sum_j q_j k(p_i, p_j)

    over all n_x + n_y samples p, with charges q_j = -1/n_x at x and 1/n_y at y. One sum makes use of k(a, b) = k(b, a).

    Parameters
    ----------
    x : array (n_x, ...)
        Generated samples.
    y : array (n_y, ...)
        Real samples.
    d, eps : float
        Exponent and width of the kernel, as in `plummer_kernel`.

    Returns
    -------
    tuple of array (n_x,) and array (n_y,)
        Self-terms k(x_i, x_i) = eps^-d are kept, as in the official code. So these are no unbiased estimates: they are
        too low by (eps^-d - E k) / n_x at the x_i and too high by (eps^-d - E k) / n_y at the y_j.

    Raises
    ------
    UserError
        As `plummer_kernel` does.

    Examples
    --------
    >>> import numpy as np
    >>> phi_x, phi_y = potentials(np.array([[-1.0, 0.0]]), np.array([[1.0, 0.0]]), d=2, eps=1)
    >>> phi_x.round(3), phi_y.round(3)
    (array([-0.8]), array([0.8]))

    References
    ----------
    Unterthiner et al., Coulomb GANs, ICLR 2018, section 2.4.
    """
    d, eps, x, y = checked(d, eps, x, y)
    xp = array_module(x)
    p, q = concatenate((x, y)), xp.full(len(x) + len(y), 1 / len(y), x.dtype)
    q[: len(x)] = -1 / len(x)
    phi = kernel_sums(p, p, q, d, eps)
    return phi[: len(x)], phi[len(x) :]


def field(a: Array, y: Array, x: Array, d: float, eps: float) -> Array:
    """Force on a generated sample at the points a: the gradient of the potential.

    E(a_i) = -d ( 1/n_y sum_j (a_i - y_j) k_{d+2}(a_i, y_j) - 1/n_x sum_j (a_i - x_j) k_{d+2}(a_i, x_j) )

    The paper's field is -grad Phi, the force on a real charge; a generated one moves along +grad Phi.

    Parameters
    ----------
    a : array (n_a, ...)
        Where the field is evaluated.
    y : array (n_y, ...)
        Real samples, which attract.
    x : array (n_x, ...)
        Generated samples, which repel.
    d, eps : float
        Exponent and width of the kernel, as in `plummer_kernel`.

    Returns
    -------
    array (n_a, m)
        m numbers for each point, in units of eps^-(d+1).

    Raises
    ------
    UserError
        As `plummer_kernel` does.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.array([[1.0, 1.0]]), np.array([[-1.0, -1.0]])
    >>> field(np.array([[0.0, 0.0]]), y, x, d=2, eps=1).round(3)
    array([[0.444, 0.444]])

    References
    ----------
    Unterthiner et al., Coulomb GANs, ICLR 2018, section 2.3, with the opposite sign.
    """
    d, eps, a, y, x = checked(d, eps, a, y, x)
    return -d * (_mean(offset_sums, a, y, d + 2, eps) - _mean(offset_sums, a, x, d + 2, eps))


def energy(x: Array, y: Array, d: float, eps: float) -> float:
    """Energy of real and generated charges, which is 0 only where the samples agree.

    F = 1/2 mean_j Phi(y_j) - 1/2 mean_i Phi(x_i) >= 0

    The force on a generated sample is E(x_i) = -n_x dF/dx_i.

    Parameters
    ----------
    x : array (n_x, ...)
        Generated samples.
    y : array (n_y, ...)
        Real samples.
    d, eps : float
        Exponent and width of the kernel, as in `plummer_kernel`.

    Returns
    -------
    float
        In units of eps^-d.

    Raises
    ------
    UserError
        As `plummer_kernel` does.

    Examples
    --------
    >>> import numpy as np
    >>> round(energy(np.array([[-1.0, 0.0]]), np.array([[1.0, 0.0]]), d=2, eps=1), 3)
    0.8

    References
    ----------
    Unterthiner et al., Coulomb GANs, ICLR 2018, section 2.3.
    """
    return mmd2(x, y, d, eps) / 2


def mmd2(x: Array, y: Array, d: float, eps: float) -> float:
    """Squared maximum mean discrepancy of two samples under the Plummer kernel: twice the energy.

    2 F = mean_ij k(x_i, x_j) + mean_ij k(y_i, y_j) - 2 mean_ij k(x_i, y_j) = mean_j Phi(y_j) - mean_i Phi(x_i) >= 0

    Parameters
    ----------
    x, y : array (n_x, ...) and array (n_y, ...)
        The two samples; the order does not matter.
    d, eps : float
        Exponent and width of the kernel, as in `plummer_kernel`.

    Returns
    -------
    float
        In units of eps^-d. Self-terms are kept, so it is above 0 even for two samples of one distribution.

    Raises
    ------
    UserError
        As `plummer_kernel` does.

    Examples
    --------
    >>> import numpy as np
    >>> round(mmd2(np.array([[-1.0, 0.0]]), np.array([[1.0, 0.0]]), d=2, eps=1), 3)
    1.6
    """
    return float(mmd2_of(*potentials(x, y, d, eps)))


def mmd2_of(phi_x: Array, phi_y: Array) -> Array:
    """Squared MMD mean_j Phi(y_j) - mean_i Phi(x_i) of the potentials (n_x,), (n_y,), a number on their device."""
    return phi_y.mean() - phi_x.mean()


def mean_kernel(a: Array, y: Array, d: float, eps: float) -> tuple[Array, Array]:
    """(u, grad u) of the charge of y alone: u(a_i) = 1/n_y sum_j k(a_i, y_j), (n_a,), and its gradient (n_a, m).

    Phi = u_y - u_x and E = grad u_y - grad u_x. Both sums come from one pass over the pairs.
    """
    d, eps, a, y = checked(d, eps, a, y)
    u, offsets = pairs.both_sums(a, y, array_module(y).ones(len(y), y.dtype), d, eps)
    return u / len(y), -d / len(y) * offsets


def mean_self_kernel(y: Array, d: float, eps: float) -> Array:
    """mean_ij k(y_i, y_j), self-terms included, as an array of one number."""
    return mean_kernel(y, y, d, eps)[0].mean()


def _mean(sums, a, p, d, eps):
    """Sums of unit charges at p, divided by their number afterwards: charges 1/n would be rounded, all alike."""
    return sums(a, p, array_module(p).ones(len(p), p.dtype), d, eps) / len(p)
