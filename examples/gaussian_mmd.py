"""MMD flow with a Gaussian kernel in one page: the same descent, but far charges feel nothing.

    python examples/gaussian_mmd.py                200 steps from near and from far, about 4 seconds

    k(a, b) = exp(-|a - b|^2 / (2 sigma^2))
    F       = 1/2 mean k(y, y) - mean k(x, y) + 1/2 mean k(x, x)  >= 0            half the squared MMD
    E(a)    = grad Phi = -( mean_j (a - y_j) k(a, y_j) - mean_i (a - x_i) k(a, x_i) ) / sigma^2
    x      <- x + eta E(x)                                                        gradient descent on F

Shared: everything but the kernel. The Gaussian is even a limit of ours: eps^d times the Plummer kernel of eps = sigma
sqrt(d) is (1 + |a - b|^2 / (d sigma^2))^(-d/2), which tends to it as d grows. Different: the force of a Plummer charge
falls as a power of the distance, r^-(d+1), this one as exp(-r^2 / (2 sigma^2)): it is 3e-23 at 10 sigma. So a narrow
kernel loses every particle that is not near data, and a wide one sees no details. Two remedies:

    noise     E at x + beta xi, xi ~ N(0, I), in place of E(x), with beta falling to 0 (Arbel et al.): particles look
              around. That leads to the next mode, and to nothing if all data are much farther away than beta
    a width that falls, from the size of the data to that of a mode

The step is `natural_step` of particles.py for this kernel: 1.5 sigma^2 / max_a mean_j k(a, y_j), over a tenth of the y.

Expect from the middle of the data 12 or 13 of 25 modes with sigma 1; 23 to 25 with noise, at no more than 70% of high
quality; all at 98% to 99% with sigma falling from 50 to 1. From (60, 60), 55 away from the nearest mode: none, none,
and again all (5 seeds).

Source: Arbel, Korba, Salim, Gretton, Maximum mean discrepancy gradient flow, arXiv:1906.04370, NeurIPS 2019.
"""

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: its threads would wait for each other

import numpy as np

from minicoulomb.data.mixtures import grid
from minicoulomb.evaluation.metrics import mixture_metrics
from minicoulomb.schedules import exponential


def kernel(a, b, sigma):
    """k(a_i, b_j), (n_a, n_b)."""
    exponents = a @ b.T  # a.b - |a|^2 / 2 - |b|^2 / 2 = -|a - b|^2 / 2
    exponents -= (a * a).sum(axis=1)[:, None] / 2
    exponents -= (b * b).sum(axis=1) / 2
    exponents /= sigma**2
    return np.exp(exponents, out=exponents)


def pull(a, p, sigma):
    """grad_a mean_j k(a, p_j), (n_a, m)."""
    k = kernel(a, p, sigma)
    return (k @ p - a * k.sum(axis=1)[:, None]) / (len(p) * sigma**2)


def force(a, y, x, sigma):
    """E(a), (n_a, m)."""
    return pull(a, y, sigma) - pull(a, x, sigma)


def flow(x, y, steps=200, sigma=2.0, sigma_end=None, beta=0.0, rng=None):
    """Particles x (n, m) after each step, among data y (n_y, m); sigma falls to sigma_end, if that is given."""
    for step in range(steps):
        width = exponential(sigma, sigma_end or sigma, step / steps)
        eta = 1.5 * width**2 / kernel(y[::10], y, width).mean(axis=1).max()
        at = x + beta * (1 - step / steps) * rng.standard_normal(x.shape) if beta else x
        x = x + eta * force(at, y, x, width)
        yield x


def main(steps=200, n=500, seed=0):
    data, rng = grid(), np.random.default_rng(seed)
    y, results = data.draw(rng, 1000), {}
    ways = {"sigma 1": {"sigma": 1}, "sigma 1, noise 1": {"sigma": 1, "beta": 1, "rng": rng}}
    ways["sigma 50 to 1"] = {"sigma": 50, "sigma_end": 1}
    for place in (0.0, 60.0):
        for name, settings in ways.items():
            *_, x = flow(place + 0.03 * rng.standard_normal((n, 2)), y, steps, **settings)
            metrics = results[place, name] = mixture_metrics(x, data.modes, data.sigma)
            print(
                f"from ({place:2g}, {place:2g}), {name + ':':17} {metrics['modes20']:2d} of 25 modes have a fifth",
                end=" ",
            )
            print(f"of their share, {metrics['high_quality']:.0%} of high quality")
    return results


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
