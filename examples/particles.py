"""Free particles in one page: 500 of them, in one point, follow the field of 1,000 real points onto all 25 Gaussians.

    python examples/particles.py                   200 steps, about 2 seconds

Expect the energy to fall in every step, from 0.05 to 1e-5, and below that of 500 fresh real points, 1.6e-4, within
20 steps. At the end all 25 modes have particles, and 94% to 97% lie within 3 standard deviations of one (8 seeds).
Theorem 1 of the paper is about such particles, for d <= m - 2; in the plane (m = 2) only the step `proven_step` is
proven. `minicoulomb particles` does the same for any data, with pictures, momentum and Adam.
"""

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: its threads would wait for each other

import numpy as np

from minicoulomb.coulomb import energy, field
from minicoulomb.data.mixtures import grid
from minicoulomb.evaluation.metrics import mixture_metrics
from minicoulomb.particles import natural_step, proven_step


def main(steps=200, n=500, d=2, eps=3.0, seed=0):
    data, rng = grid(), np.random.default_rng(seed)
    y = data.draw(rng, 1000)  # (1000, 2)
    x = 0.03 * rng.standard_normal((n, 2))  # in exactly one point all have the same force and stay together
    floor = float(np.mean([energy(data.draw(rng, n), y, d, eps) for _ in range(10)]))

    eta = 1.5 * natural_step(y, d, eps)  # allowed by these data; the step proven for all data is far smaller
    print(f"eta {eta:.0f} (every energy falls below {proven_step(d, eps):.0f}, by proof); floor {floor:.1e}")
    energies = [energy(x, y, d, eps)]
    for step in range(1, steps + 1):
        x += eta * field(x, y, x, d, eps)  # = -n dF/dx_i: real points attract, particles repel each other
        energies.append(energy(x, y, d, eps))
        if step in (1, 2, 5, 10, 20, 50, 100, steps):
            print(f"step {step:4d}   energy {energies[-1]:.2e}" + "   below the floor" * (energies[-1] < floor))

    metrics = mixture_metrics(x, data.modes, data.sigma)
    print(f"{metrics['modes']} of 25 modes, {metrics['high_quality']:.0%} of the particles of high quality")
    return energies, floor, metrics


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
