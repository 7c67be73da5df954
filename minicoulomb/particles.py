"""Free particles without networks, which follow the exact field: the paper's Theorem 1 to look at.

    x_i <- x_i + eta E(x_i)                  E = grad Phi, the force on a particle                  x, E (n, m)
    F   =  1/2 mean k(y, y) - mean k(x, y) + 1/2 mean k(x, x)  >= 0                          y (n_y, m), fixed

F's gradient with respect to x_i is -E(x_i) / n, so this is gradient descent, with the step n eta on F.

**The step that is proven.** With s = r^2 + eps^2 the Hessian of k(r) = s^(-d/2) is

    H(r) = -d s^(-(d+2)/2) (I - (d+2) r r^T / s),      -K I <= H(r) <= c K I,
    K = d / eps^(d+2)                                  at r = 0
    c = 2 ((d+1) / (d+4))^(d/2+2)  <  0.45             along r, at r^2 = 3 eps^2 / (d+1)

Along any displacements v_i of the particles the second derivative of n F is

    - sum_i mean_j v_i^T H(x_i - y_j) v_i + 1/(2n) sum_il (v_i - v_l)^T H(x_i - x_l) (v_i - v_l)  <=  (1 + c) K |v|^2

for the first term is at most K |v|^2, and sum_il |v_i - v_l|^2 <= 2 n |v|^2. Hence, wherever the particles are,

    F(after) <= F(before) - eta (1 - eta / bound) mean_i |E(x_i)|^2,       bound = 2 / ((1 + c) K)

and below the bound (0.8 eps^4 for d = 2) F falls in every step, unless all forces are 0. No bound for all data could
exceed 2 / K: a particle near a single real point would be thrown ever farther to its other side.

**The step of the data.** K is the curvature where all charge is in one point. The pull of the data on a particle at a
has at most the curvature d S(a), S(a) = mean_j k_{d+2}(a, y_j), for k is convex in r^2; and a step of 1 / (d S(a)) is
the mean shift: of the pull alone, it moves a particle to the mean of the real points weighted by k_{d+2}. So the
natural unit is the shortest mean shift in the data, 1 / (d max_a S(a)): up to 1 nothing is pulled past its weighted
mean, up to 2 the pull alone lowers the energy. With the particles' repulsion that is no proof. Measured, 500 particles
from a point, in how many of 600 steps F rose (seeds 0 to 2; digits seed 0, and 300 steps beyond 1.5 units):

    units                    1     1.5     1.8     2          2.5          4
    grid                     0     0       0       0          0            272 to 314        a unit: 14 to 17 bounds
    ring                     0     0       0       0          0            274 to 310                5.7 to 6
    digits                   0     0       2       16         140          115                       65

At 1.5 units the floor is reached after 10 to 22 steps on the grid, 11 on the ring, and 43 on the digits.

Numbers are float64 for a reason: near its end F is a thousandth of the means that it is the difference of.
"""

import time
from collections.abc import Callable, Collection, Iterator
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from minicoulomb.arrays.backend import array_module, to_host
from minicoulomb.coulomb import mean_kernel
from minicoulomb.errors import UserError
from minicoulomb.optim import adam as adam_step
from minicoulomb.optim import adam_rates

# Of the momentum. More, and what all particles' repulsion throws out of a point at first flies past the data.
MOMENTUM = 0.5
BETAS = (0.9, 0.99)
# Data points at which the field's curvature is looked at; more of them hardly change its maximum.
LOOKED_AT = 2000
# An energy is rounded at some 2^-53 of the kernel's largest value, eps^-d; a rise is more than a hundred of these.
ROUNDING = 2.0**-46
# Seconds after which energies are read although no picture is due: a sign of life, and of a divergence.
READ_EVERY = 0.2


class Moment(NamedTuple):
    """Where the particles are before the step number t + 1: x (n, m), and their energy F, a number on x's device."""

    t: int
    x: Any
    energy: Any


# (x, E, t): moves x (n, m) in place, in the step number t = 1, 2, ..., by the force E (n, m).
Move = Callable[[Any, Any, int], None]


def follow_field(x, y, own, d: float, eps: float, move: Move) -> Iterator[Moment]:
    """The particles x (n, m) on their way in the field of the real points y (n_y, m), without an end.

    own   mean k(y, y), which does not change (coulomb.mean_self_kernel)
    The array x is changed in place when the next moment is asked for. A GPU is given its work and not waited for.
    """
    for t in count():
        (u_y, pull), (u_x, push) = mean_kernel(x, y, d, eps), mean_kernel(x, x, d, eps)
        yield Moment(t, x, own / 2 - u_y.mean() + u_x.mean() / 2)
        pull -= push
        move(x, pull, t + 1)


def euler(eta: float) -> Move:
    """x <- x + eta E."""

    def move(x, E, t):
        x += eta * E

    return move


def momentum(eta: float, beta: float = MOMENTUM) -> Move:
    """v <- beta v + (1 - beta) eta E,  x <- x + v: of a constant force each step goes as far as Euler's."""
    v = 0.0

    def move(x, E, t):
        nonlocal v
        v = beta * v + (1 - beta) * eta * E
        x += v

    return move


def adam(lr: float, unit: float) -> Move:
    """Adam on all coordinates, lr in the units of x. `unit` is the size of a force: eps^-(d+1)."""
    moments = None

    def move(x, E, t):
        nonlocal moments
        if moments is None:
            moments = array_module(x).zeros((2, x.size), x.dtype)
        adam_step(x.reshape(-1), E.reshape(-1) / -unit, moments, adam_rates(t, lr, *BETAS))

    return move


def proven_step(d: float, eps: float) -> float:
    """Below this eta, Euler's steps lower the energy of any particles among any data: 2 / (1 + c) eps^(d+2) / d."""
    share = (d + 1) / (d + 4)
    return 2 / (1 + 2 * share ** (d / 2 + 2)) * eps ** (d + 2) / d


def natural_step(y, d: float, eps: float) -> float:
    """The shortest mean shift of the data y (n_y, m): eta = 1 / (d max_i mean_j k_{d+2}(y_i, y_j)).

    At least eps^(d+2) / d, and at most n_y times that. The mean is over all points, the maximum over at most LOOKED_AT,
    evenly apart in y.
    """
    looked_at = y[:: -(-len(y) // LOOKED_AT)]
    return 1 / (d * float(mean_kernel(looked_at, y, d + 2, eps)[0].max()))


def floor_energy(own: float, n: int, n_y: int, d: float, eps: float) -> float:
    """The energy that n fresh real points would have on average, beside the n_y >= 2 that make the field.

    1/2 (1/n + 1/n_y) (k(0) - mean_{i != j} k(y_i, y_j)): all else cancels on average. own is mean k(y, y).
    Particles fall below it, for they fit the points y themselves.
    """
    return (1 / n + 1 / n_y) / 2 * (eps**-d - own) * n_y / (n_y - 1)


def rises(energies: np.ndarray, d: float, eps: float) -> int:
    """In how many steps the energy rose, by more than rounding can make of one that is constant."""
    return int((np.diff(energies) > ROUNDING * eps**-d).sum())


def pace(steps: int, pictures: int) -> list[int]:
    """Up to so many numbers from 0 to steps, close at first and ever farther apart: most happens early."""
    return sorted({0, *np.rint(np.geomspace(1, steps, pictures - 1)).astype(int).tolist()})


class Record(NamedTuple):
    """energies (steps + 1,), from the start to after the last step; snapshots {t: x}; both on the host."""

    energies: np.ndarray
    snapshots: dict[int, np.ndarray]


def record(
    moments: Iterator[Moment],
    steps: int,
    snapshots: Collection[int],
    progress: Callable[[int, int], object] | None = None,
    first: int | None = None,
) -> Record:
    """Take the steps and keep what they show: every energy, x at the last of them, and at the numbers in `snapshots` x
    or its `first` rows.

    Energies are read, which waits for a GPU, where a snapshot is due and every READ_EVERY seconds; progress(t, steps)
    then hears how far it is. Raises UserError when an energy is no finite number.
    """
    energies, unread, kept, since = [], [], {}, time.perf_counter()
    while True:
        with np.errstate(over="ignore", invalid="ignore"):  # told when the energy is read
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
                f"energy {energies[t]} at step {t}: is not finite; use a smaller --step-size, or a larger --eps"
            )
