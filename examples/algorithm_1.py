"""Algorithm 1 in one page: a Coulomb GAN learns the ring of 8 Gaussians, and every line of a step is visible.

    python examples/algorithm_1.py                 2000 steps, about 3 seconds

Expect 8 of 8 modes and 91% to 97% of the samples within 3 standard deviations of one (40 seeds; half reach 96%).
`minicoulomb train --preset ring` does the same with logging, checkpoints and pictures.
"""

import os
import sys
from itertools import pairwise

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: its threads would wait for each other

import numpy as np

from minicoulomb.coulomb import potentials
from minicoulomb.data.mixtures import ring
from minicoulomb.evaluation.metrics import mixture_metrics
from minicoulomb.layers import He, Linear, ReLU, Reshape, Scale, Tanh
from minicoulomb.network import Network
from minicoulomb.optim import adam, adam_rates
from minicoulomb.schedules import exponential


def mlp(*sizes):
    layers = []
    for c_in, c_out in pairwise(sizes[:-1]):
        layers += [Linear(c_in, c_out, He("relu")), ReLU()]
    return [*layers, Linear(sizes[-2], sizes[-1])]


def main(steps=2000, n=128, d=2, seed=0):
    data, rng = ring(), np.random.default_rng(seed)
    draw = lambda shape: rng.standard_normal(shape).astype(np.float32)
    G = Network([*mlp(2, 64, 64, 64, 64, 2), Tanh(data.bound, data.scale / data.bound)], (2,))
    D = Network([Scale(1 / data.scale), *mlp(2, 64, 64, 64, 1), Reshape(())], (2,))
    theta, w = G.init(rng), D.init(rng)
    moments_g, moments_d = np.zeros((2, G.size), np.float32), np.zeros((2, D.size), np.float32)
    average = theta.copy()

    for step in range(steps):
        eps = exponential(0.6, 0.3, step / steps)
        lr = exponential(4e-3, 4e-3 * 0.03, step / steps)
        scale = 10 * eps**d  # D regresses a multiple of Phi, of order 1

        z, y = draw((n, 2)), data.draw(rng, n).astype(np.float32)
        x, residuals_z = G.forward(theta, z)
        d_x, residuals_x = D.forward(w, x)
        d_y, residuals_y = D.forward(w, y)
        phi_x, phi_y = potentials(x, y, d, eps)  # targets: no gradient flows through Phi

        dw = D.param_gradient(residuals_x, (d_x - scale * phi_x) / n)  # grad_w 1/2 mean (D - Phi)^2
        dw += D.param_gradient(residuals_y, (d_y - scale * phi_y) / n)
        dx = D.input_gradient(residuals_x, np.full_like(d_x, -1 / 2 / n))  # grad_x -1/2 mean D(x)
        dtheta = G.param_gradient(residuals_z, dx)

        rates = adam_rates(step + 1, lr, beta1=0, beta2=0.99)
        adam(w, dw, moments_d, rates)
        adam(theta, dtheta, moments_g, rates)
        average += 0.01 * (theta - average)
        if (step + 1) % max(1, steps // 10) == 0:
            print(f"step {step + 1:5d}   squared MMD {eps**d * (phi_y.mean() - phi_x.mean()):.4f} eps^-d")

    samples, _ = G.forward(average, draw((2500, 2)))
    metrics = mixture_metrics(samples, data.modes, data.sigma)
    print(f"{metrics['modes']} of 8 modes, {metrics['high_quality']:.0%} of the samples of high quality")
    return metrics


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
