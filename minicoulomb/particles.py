"""Free particles without networks that follow the exact field, to look at what the paper's Theorem 1 is about.

    x_i <- x_i + eta E(x_i)                  E = grad Phi, the force on a particle                  x, E (n, m)
    F   =  1/2 mean k(y, y) - mean k(x, y) + 1/2 mean k(x, x)  >= 0                          y (n_y, m), fixed

F's gradient with respect to x_i is -E(x_i) / n, so this is gradient descent on F with the step n eta. (E is minus the
paper's field.) Theorem 1 says that the densities of freely moving samples become equal under gradient descent on F, for
0 < d <= m - 2, which no d satisfies in the plane. The step below is proven for every d > 0 and m: F falls.

**The proven step.** With s = r^2 + eps^2 the Hessian of k(r) = s^(-d/2) is

    H(r) = -d s^(-(d+2)/2) (I - (d+2) r r^T / s),      -K I <= H(r) <= c K I,
    K = d / eps^(d+2)                                  at r = 0
    c = 2 ((d+1) / (d+4))^(d/2+2)  <  0.45             along r, at r^2 = 3 eps^2 / (d+1)

Along any displacements v_i of the particles the second derivative of n F is

    - sum_i mean_j v_i^T H(x_i - y_j) v_i + 1/(2n) sum_il (v_i - v_l)^T H(x_i - x_l) (v_i - v_l)  <=  (1 + c) K |v|^2

because the first term is at most K |v|^2, and sum_il |v_i - v_l|^2 <= 2 n |v|^2. Hence, wherever the particles are,

    F(after) <= F(before) - eta (1 - eta / bound) mean_i |E(x_i)|^2,       bound = 2 / ((1 + c) K)

and below the bound (0.8 eps^4 for d = 2) F falls in every step, unless all forces are 0. No bound for all data exceeds
2 / K: beyond it, each step throws a particle near a single real point farther to the other side of that point.

**The natural step.** K is the curvature where all charge is in one point. The pull of the data on a particle at a
has at most the curvature d S(a), S(a) = mean_j k_{d+2}(a, y_j), because k is convex in r^2; and a step of 1 / (d S(a))
is the mean shift: the pull alone moves a particle to the mean of the real points weighted by k_{d+2}. So the
natural unit is the shortest mean shift in the data, 1 / (d max_a S(a)): up to 1 nothing is pulled past its weighted
mean, up to 2 the pull alone lowers the energy. With the particles' repulsion that is no proof. Measured: 500 particles
start from a point, and F rose in so many of 600 steps (seeds 0 to 2; digits seed 0, and 300 steps beyond 1.5 units):

    units                    1     1.5     1.8     2          2.5          4
    grid                     0     0       0       0          0            272 to 314        a unit: 14 to 17 bounds
    ring                     0     0       0       0          0            274 to 310                5.7 to 6
    digits                   0     0       2       16         140          115                       65

At 1.5 units F reaches its floor after 10 to 22 steps on the grid, 11 on the ring, and 43 on the digits.

Numbers are float64 for a reason: in the end F is a thousandth of the means whose difference it is.
"""

import time
from collections.abc import Callable, Collection, Iterator
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from minicoulomb.arrays.backend import array_module, changing, to_host
from minicoulomb.coulomb import mean_kernel
from minicoulomb.coulomb.arguments import checked, checked_kernel
from minicoulomb.errors import UserError
from minicoulomb.optim import adam as adam_step
from minicoulomb.optim import adam_rates

# With more momentum, particles that start in one point repel each other at first and fly past the data.
MOMENTUM = 0.5
BETAS = (0.9, 0.99)
# Data points at which natural_step evaluates the curvature; more of them hardly change its maximum.
CURVATURE_POINTS = 2000
# Rounding changes an energy by about 2^-53 of the kernel's largest value, eps^-d; a rise is more than 100 times that.
ROUNDING = 2.0**-46
# Seconds after which energies are read even if no picture is due, so that progress and a divergence show.
READ_EVERY = 0.2


class Moment(NamedTuple):
    """The particles x (n, m) after t steps, and their energy F, a number on x's device."""

    t: int
    x: Any
    energy: Any


# (x, E, t) -> None: moves x (n, m) in place, in step t = 1, 2, ..., along the force E (n, m).
Move = Callable[[Any, Any, int], None]


def follow_field(x, y, mean_yy, d: float, eps: float, move: Move) -> Iterator[Moment]:
    """Particles that move in the field of real points, step after step without an end.

    F = 1/2 mean k(y, y) - mean k(x, y) + 1/2 mean k(x, x),    E(x_i) = -n dF/dx_i

    Parameters
    ----------
    x : array (n, m)
        The particles, float64. The array changes in place when the next moment is requested.
    y : array (n_y, m)
        The real points, which stay.
    mean_yy : float
        mean k(y, y), which does not change: `coulomb.mean_self_kernel(y, d, eps)`.
    d, eps : float
        Exponent and width of the kernel, as in `coulomb.plummer_kernel`.
    move : function (x, E, t) -> None
        Moves x in place, in step t = 1, 2, ..., along the force E: `euler`, `momentum` or `adam`.

    Yields
    ------
    Moment
        (t, x, energy) for t = 0, 1, ... The energy stays on the device of x, so no step waits for a GPU. It is NaN
        where the square of a coordinate overflows.

    Raises
    ------
    UserError
        As `coulomb.plummer_kernel` does, and for an x that cannot change in place.

    Examples
    --------
    >>> from itertools import islice
    >>> import numpy as np
    >>> from minicoulomb.coulomb import mean_self_kernel
    >>> x, y = np.array([[3.0, 0.0]]), np.zeros((1, 2))
    >>> moments = follow_field(x, y, mean_self_kernel(y, 2, 1), 2, 1, euler(proven_step(2, 1)))
    >>> [round(float(moment.energy), 4) for moment in islice(moments, 3)]
    [0.9, 0.8971, 0.8939]

    References
    ----------
    Unterthiner et al., Coulomb GANs, ICLR 2018, section 2.3.2 (Theorem 1).
    """
    changing(x)
    if x.ndim != 2:
        raise UserError(f"x of shape {x.shape}: must be (n, m), as many coordinates as y; use x.reshape(len(x), -1)")
    for t in count():
        (u_y, pull), (u_x, push) = mean_kernel(x, y, d, eps), mean_kernel(x, x, d, eps)
        yield Moment(t, x, mean_yy / 2 - u_y.mean() + u_x.mean() / 2 + 0 * (x * x).sum())  # 0 inf is NaN
        pull -= push
        move(x, pull, t + 1)


def euler(eta: float) -> Move:
    """x <- x + eta E."""

    def move(x, E, t):
        x += eta * E

    return move


def momentum(eta: float, beta: float = MOMENTUM) -> Move:
    """v <- beta v + (1 - beta) eta E,  x <- x + v: under a constant force steps become as long as Euler's."""
    v = 0.0

    def move(x, E, t):
        nonlocal v
        v = beta * v + (1 - beta) * eta * E
        x += v

    return move


def adam(lr: float, unit: float) -> Move:
    """Adam on all coordinates, with lr in the units of x; `unit` is the size of a force, eps^-(d+1)."""
    moments = None

    def move(x, E, t):
        nonlocal moments
        if moments is None:
            moments = array_module(x).zeros((2, x.size), x.dtype)
        flat = x.reshape(-1)  # a copy where x is not contiguous
        adam_step(flat, E.reshape(-1) / -unit, moments, adam_rates(t, lr, *BETAS))
        x[...] = flat.reshape(x.shape)

    return move


def proven_step(d: float, eps: float) -> float:
    """Bound below which Euler's steps lower the energy of any particles among any data.

    bound = 2 / (1 + c) eps^(d+2) / d,    c = 2 ((d+1) / (d+4))^(d/2+2)

    F(after) <= F(before) - eta (1 - eta / bound) mean_i |E(x_i)|^2. The proof stands at the head of this file.

    Parameters
    ----------
    d, eps : float
        Exponent and width of the kernel, as in `coulomb.plummer_kernel`.

    Returns
    -------
    float
        A step size eta in x <- x + eta E, in units of length^(d+2).

    Examples
    --------
    >>> round(proven_step(d=2, eps=1), 3)
    0.8
    """
    d, eps = checked_kernel(d, eps, np.dtype(float))
    share = (d + 1) / (d + 4)
    return 2 / (1 + 2 * share ** (d / 2 + 2)) * eps ** (d + 2) / d


def natural_step(y, d: float, eps: float) -> float:
    """Shortest mean shift of the data: a step size that the data allow, often far above the proven one.

    eta = 1 / (d max_i mean_j k_{d+2}(y_i, y_j)),    eps^(d+2) / d <= eta <= n_y eps^(d+2) / d

    Parameters
    ----------
    y : array (n_y, m)
        The real points. The mean is over all of them, the maximum over at most CURVATURE_POINTS, evenly spaced in y.
    d, eps : float
        Exponent and width of the kernel, as in `coulomb.plummer_kernel`.

    Returns
    -------
    float
        A step size eta in x <- x + eta E, in units of length^(d+2).

    Raises
    ------
    UserError
        As `coulomb.plummer_kernel` does.

    Examples
    --------
    >>> import numpy as np
    >>> natural_step(np.array([[0.0, 0.0], [1e9, 0.0]]), d=2, eps=1)  # half of the data are far away
    1.0
    """
    d, eps, y = checked(d, eps, y)
    points = y[:: -(-len(y) // CURVATURE_POINTS)]
    return 1 / (d * float(mean_kernel(points, y, d + 2, eps)[0].max()))


def floor_energy(mean_yy: float, n: int, n_y: int, d: float, eps: float) -> float:
    """Average energy of n fresh real points, beside the n_y >= 2 that make the field; mean_yy is mean k(y, y).

    1/2 (1/n + 1/n_y) (k(0) - mean_{i != j} k(y_i, y_j)): everything else cancels on average. Particles fall below it,
    because they fit the points y themselves.
    """
    return (1 / n + 1 / n_y) / 2 * (eps**-d - mean_yy) * n_y / (n_y - 1)


def rises(energies: np.ndarray, d: float, eps: float) -> int:
    """Number of steps in which the energy rose by more than rounding."""
    return int((np.diff(energies) > ROUNDING * eps**-d).sum())


def pace(steps: int, pictures: int) -> list[int]:
    """At most `pictures` step numbers from 0 to steps, at growing distances: most happens early."""
    return sorted({0, *np.rint(np.geomspace(1, steps, pictures - 1)).astype(int).tolist()})


class Record(NamedTuple):
    """The energies (steps + 1,) after t = 0, 1, ... steps, and snapshots {t: x}, both on the host."""

    energies: np.ndarray
    snapshots: dict[int, np.ndarray]


def record(
    moments: Iterator[Moment],
    steps: int,
    snapshots: Collection[int],
    progress: Callable[[int, int], object] | None = None,
    first: int | None = None,
) -> Record:
    """Record of so many steps: every energy, the last x, and x (or its `first` rows) after the steps in `snapshots`.

    Energies are read, which waits for a GPU, where a snapshot is due and every READ_EVERY seconds; then progress(t,
    steps) is called. Raises UserError for an energy that is not finite.
    """
    energies, unread, kept, since = [], [], {}, time.perf_counter()
    while True:
        with np.errstate(over="ignore", invalid="ignore"):  # _check reports them
            t, x, energy = next(moments)
        unread.append(energy)
        if t in snapshots or t == steps:
            kept[t] = to_host(x if t == steps else x[:first]).copy()
        if t in kept or time.perf_counter() - since >= READ_EVERY:
            energies += to_host(array_module(x).stack(unread)).tolist()
            _check(energies, len(unread))
            unread, since = [], time.perf_counter()
            if progress:
                progress(t, steps)
        if t == steps:
            return Record(np.array(energies), kept)


def _check(energies, new):
    for t in range(len(energies) - new, len(energies)):
        if not abs(energies[t]) < float("inf"):
            raise UserError(
                f"energy {energies[t]} at step {t}: must be finite; use a smaller --step-size, or a larger --eps"
            )
