"""The flow of the energy distance in one page: the same charges, with the kernel -|a - b| and no width to choose.

    python examples/energy_distance.py             200 steps, about 1 second

    k(a, b) = -|a - b|                                                        eps = 0, and d = -1 but for the sign
    Phi(a)  = mean_i |a - x_i| - mean_j |a - y_j|
    F       = mean |x - y| - 1/2 mean |x - x'| - 1/2 mean |y - y'|  >= 0      2 F is the energy distance, an MMD
    E(a)    = grad Phi = mean_i (a - x_i) / |a - x_i| - mean_j (a - y_j) / |a - y_j|
    E(x_i)  = -n dF/dx_i                                                      gradient descent on F: x <- x + eta E(x)

Shared: F is an MMD, its gradient is a sum over pairs of charges, and the descent needs no discriminator. Different:
each pair pulls with the force 1 whatever its distance, so a particle far from all data comes at full speed, and there
is no eps to choose. Nor a step: eta is 2 units of 1 / mean_j (1 / |a - y_j|), the median over data points a; one unit
moves a particle by the pull of the data alone to their mean with weights 1 / |a - y_j| (Weiszfeld's step to a geometric
median). The grid, the ring and a spiral allow 3 units, 8x8 digits 2. The price stands at distance 0. A Plummer charge
is a cloud of width eps, this one a point where the force jumps: a particle within reach of a data point is caught
there. It trembles about it by eta / n_y = 0.026, and half of all particles end within 0.025 of a data point, where
fresh points have 0.28. With a step that falls they end on it.

In one dimension -|a - b| is the Coulomb kernel; in the plane that is -log |a - b|, in m >= 3 dimensions |a - b|^(2-m).

Expect F to fall from 6 to 3e-4, where 500 fresh points have 6e-2, all 25 modes, and 96% to 98% of the particles of high
quality (5 seeds).

Source: Szekely and Rizzo, Energy statistics, J. Stat. Plan. Inference 143, 2013, for the distance; as a flow that
generates: Hertrich, Wald, Altekrueger, Hagemann, Generative sliced MMD flows with Riesz kernels, arXiv:2305.11463, ICLR
2024. They take one-dimensional projections of the points, which cost n log n, and train networks on the flow.
"""

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: its threads would wait for each other

import numpy as np

from minicoulomb.coulomb.formulas import kernel_sums, offset_sums
from minicoulomb.data.mixtures import grid
from minicoulomb.evaluation.metrics import mixture_metrics


def directions(a, p):
    """mean_j (a - p_j) / |a - p_j|, (n_a, m): an offset sum with d = 1 and eps = 0, which leaves out p_j = a."""
    return offset_sums(a, p, np.ones(len(p)), 1, 0) / len(p)


def force(a, y, x):
    """E(a), (n_a, m)."""
    return directions(a, x) - directions(a, y)


def energy(x, y):
    """F, a number."""
    mean_distance = lambda a, b: np.linalg.norm(a[:, None] - b, axis=-1).mean()
    return float(mean_distance(x, y) - mean_distance(x, x) / 2 - mean_distance(y, y) / 2)


def flow(x, y, steps=200, units=2.0):
    """Particles x (n, m) after each step, among data y (n_y, m), which are not all the same point."""
    eta = units * len(y) / np.median(kernel_sums(y[::10], y, np.ones(len(y)), 1, 0))
    for _ in range(steps):
        x = x + eta * force(x, y, x)
        yield x


def main(steps=200, n=500, seed=0):
    data, rng = grid(), np.random.default_rng(seed)
    y, start = data.draw(rng, 1000), 0.03 * rng.standard_normal((n, 2))
    floor = float(np.mean([energy(data.draw(rng, n), y) for _ in range(10)]))
    energies = [energy(start, y)]
    print(f"step    0   energy {energies[0]:.2e}   floor of {n} real points {floor:.2e}")
    for step, x in enumerate(flow(start, y, steps), 1):
        if step in (1, 2, 5, 10, 20, 50, 100, steps):
            energies.append(energy(x, y))
            print(f"step {step:4d}   energy {energies[-1]:.2e}" + "   below the floor" * (energies[-1] < floor))
    metrics = mixture_metrics(x, data.modes, data.sigma)
    print(f"{metrics['modes']} of 25 modes, {metrics['high_quality']:.0%} of the particles of high quality")
    return energies, floor, metrics


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
