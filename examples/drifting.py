"""Drifting models in one page: the two vectors of the Coulomb field, without their masses.

    python examples/drifting.py                    particles on the grid, then a generator on the ring, about 6 seconds

Of points p, seen from a, with the weights k_{d+2}(a, b) = (|a - b|^2 + eps^2)^(-(d+2)/2) of the Coulomb force:

    M_p(a) = sum_j k_{d+2}(a, p_j) (p_j - a) / sum_j k_{d+2}(a, p_j)     mean shift: from a to the weighted mean of p
    S_p(a) = mean_j k_{d+2}(a, p_j)                                      kernel mass of p at a
    E(a)   = d (S_y(a) M_y(a) - S_x(a) M_x(a))                           Coulomb: grad Phi of real y and generated x
    V(a)   = M_y(a) - M_x(a)                                             drifting

Shared: data attract, generated points repel, and both fields are 0 where x and y are equal, for swapping x and y turns
their sign. Different: V forgets how much mass is near. A point far from all data moves as far as one among them, so no
step has to be chosen: x <- x + V. But a mode pulls alike whether 1% or 99% of the particles are in it, and with a
kernel that is narrow for the data few of them leave the first mode (d = 6 at eps 4: 5 to 7 of 25 modes get a fifth of
their share). And V is the gradient of no energy whose fall one could watch. Divided by the mass of k_d, not of k_{d+2},
the pull is a gradient: S_p M_p / u_p = grad log(u_p) / d with u_p = mean_j k_d(a, p_j).

The generator has no discriminator: a sample x = G(z) is regressed to its drifted place, which counts as fixed,

    L(theta) = 1/2 mean_i |G(z_i) - stop(x_i + V(x_i))|^2,       dL/dx_i = -V(x_i) / n

With E in place of V that is `--objective field`. In a batch of 128 a point's own weight, eps^-(d+2), is a good part of
its S_x: the repulsion is too weak, and the clouds shrink to three quarters of their width. So here, as in the paper's
Algorithm 2, a point is left out of its own S_x; E needs no such care, because a charge exerts no force on itself.

Expect 25 of 25 modes, and 96% to 98% of the particles of high quality; 8 of 8 modes of the ring, and 88% to 91% (5
seeds).

Source: Deng, Li, Li, Du, He, Generative modeling via drifting, arXiv:2602.04770, 2026. Their kernel is exp(-|a - b| /
tau), at several tau, on features of a pretrained network; their algorithm normalizes the weights over the points a as
well, and scales V to unit size. Here V is their equation with one kernel, on the points themselves.
"""

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: its threads would wait for each other

import numpy as np

from minicoulomb.coulomb.formulas import kernel_sums, offset_sums
from minicoulomb.data.mixtures import grid, ring
from minicoulomb.evaluation.metrics import mixture_metrics
from minicoulomb.layers import He, Linear, ReLU, Tanh
from minicoulomb.network import Network
from minicoulomb.optim import adam, adam_rates
from minicoulomb.schedules import exponential


def mean_shift(a, p, d, eps):
    """(M_p(a), S_p(a)), (n_a, m) and (n_a, 1)."""
    q = np.ones(len(p), p.dtype)
    mass = kernel_sums(a, p, q, d + 2, eps)[:, None]
    return -offset_sums(a, p, q, d + 2, eps) / mass, mass / len(p)


def drift(a, y, x, d, eps, leave_out=False):
    """V(a), (n_a, m); with leave_out, a is x, and no point counts in its own mass."""
    to_x, mass = mean_shift(a, x, d, eps)
    if leave_out:
        to_x *= mass / (mass - eps ** -(d + 2) / len(x))
    return mean_shift(a, y, d, eps)[0] - to_x


def flow(x, y, steps=200, d=2, eps=4.0, eps_end=None):
    """Particles x (n, m) after each step, among data y (n_y, m); eps falls to eps_end, if that is given."""
    for step in range(steps):
        x = x + drift(x, y, x, d, exponential(eps, eps_end or eps, step / steps))
        yield x


def generator(steps, n=128, d=2, seed=0):
    """Samples (2500, 2) of a generator trained on the ring."""
    data, rng = ring(), np.random.default_rng(seed)
    hidden = [layer for _ in range(3) for layer in (Linear(64, 64, He("relu")), ReLU())]
    layers = [Linear(2, 64, He("relu")), ReLU(), *hidden, Linear(64, 2), Tanh(data.bound, data.scale / data.bound)]
    G = Network(layers, (2,))
    theta, moments = G.init(rng), np.zeros((2, G.size), np.float32)
    average = theta.copy()
    for step in range(steps):
        eps, lr = exponential(0.6, 0.3, step / steps), exponential(4e-3, 4e-3 * 0.03, step / steps)
        samples, residuals = G.forward(theta, rng.standard_normal((n, 2)).astype(np.float32))
        x = samples.astype(np.float64)
        V = drift(x, data.draw(rng, n), x, d, eps, leave_out=True)  # x + V is the target: no gradient flows through it
        dx = (-V / n).astype(np.float32)
        adam(theta, G.param_gradient(residuals, dx), moments, adam_rates(step + 1, lr, beta1=0, beta2=0.99))
        average += 0.01 * (theta - average)
    return G.forward(average, rng.standard_normal((2500, 2)).astype(np.float32))[0]


def main(steps=200, n=500, train=2000, d=2, eps=4.0, seed=0):
    data, rng = grid(), np.random.default_rng(seed)
    y, start = data.draw(rng, 1000), 0.03 * rng.standard_normal((n, 2))
    for step, x in enumerate(flow(start, y, steps, d, eps), 1):
        if step in (1, 2, 5, 10, 20, 50, 100, steps):
            size = np.linalg.norm(drift(x, y, x, d, eps), axis=1).mean()
            print(f"step {step:4d}   mean |V| {size:.3f}   modes {mixture_metrics(x, data.modes, data.sigma)['modes']}")
    particles = mixture_metrics(x, data.modes, data.sigma)
    print(f"particles: {particles['modes']} of 25 modes, {particles['high_quality']:.0%} of high quality")
    generated = mixture_metrics(generator(train, d=d, seed=seed), ring().modes, ring().sigma)
    print(f"generator: {generated['modes']} of 8 modes, {generated['high_quality']:.0%} of high quality")
    return particles, generated


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
