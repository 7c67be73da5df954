"""What more charges bring, and what it costs a process to see those of its own share alone (docs/machines.md).

    python tests/measure_charges.py variance         of the potential at fixed points, by the size of a mini-batch
    python tests/measure_charges.py fit RUN          D beside a frozen generator: R^2 by the size of a mini-batch
    python tests/measure_charges.py train N OPTIONS  as `minicoulomb train`, each N-th of a batch with its own charges

The last one computes what data parallelism without an all-gather would: the mean over N shares of their gradients.
"""

import sys
from pathlib import Path
from statistics import median

import numpy as np

import minicoulomb as mc
from minicoulomb import gan
from minicoulomb.cli.main import main as command
from minicoulomb.coulomb import potential
from minicoulomb.data.dataset import decode
from minicoulomb.data.digits import digits
from minicoulomb.data.mixtures import grid, ring
from minicoulomb.optim import adam
from minicoulomb.schedules import rates_at
from minicoulomb.training import steps
from minicoulomb.training.run import find_checkpoint, load

SIZES = (64, 128, 256, 512, 1024, 2048)
# Points at which a potential is evaluated, charges of mini-batches in all, charges that stand for all there are.
POINTS, CHARGES, MANY = 200, 120_000, 20_000
# Updates of D, the last ones of which are averaged; seeds.
UPDATES, LAST, SEEDS = 600, 100, 3


def points(data, rng, n):
    """n real samples, (n, m)."""
    return decode(data.draw(rng, n), np.float32, data.shape).reshape(n, -1)


def variances(data, generate, d, eps, rng, sizes=(*SIZES, 4096), charges=CHARGES):
    """The mean over fixed points of the variance of eps^d Phi, for each size of the mini-batch."""
    at = np.concatenate([points(data, rng, POINTS // 2), generate(POINTS // 2)])
    return [
        np.var([eps**d * potential(at, points(data, rng, n), generate(n), d, eps) for _ in range(charges // n)],
               axis=0, ddof=1).mean()
        for n in sizes
    ]  # fmt: skip


def slope(values, sizes):
    """Of the straight line through the values, both in logarithms."""
    return np.polyfit(np.log(sizes), np.log(values), 1)[0]


def r_squared(fit, target):
    return 1 - ((fit - target) ** 2).sum() / ((target - target.mean()) ** 2).sum()


def shares_of(gradients, shares):
    """The function `gradients` as processes compute it that know the charges of their own share alone."""

    def of_shares(G, D, theta, w, batch, algorithm, eps, train_g=True, workspace=None):
        n = len(batch.z) // shares
        parts = [batch._replace(z=batch.z[i : i + n], y=batch.y[i : i + n]) for i in range(0, shares * n, n)]
        results = [gradients(G, D, theta, w, part, algorithm, eps, train_g) for part in parts]
        means, rows = ("dtheta", "dw", "loss_d", "loss_g"), ("phi_x", "phi_y")
        values = {name: [getattr(result, name) for result in results] for name in (*means, *rows)}
        found = {name: sum(values[name]) / shares for name in means if values[name][0] is not None}
        found |= {name: np.concatenate(values[name]) for name in rows}
        fit = tuple(map(np.concatenate, zip(*(result.fit for result in results), strict=True)))
        return results[-1]._replace(**found, fit=fit)

    return of_shares


def measure_variance():
    rng = np.random.default_rng(0)

    def of_model(name, shape):
        x = mc.load(name).sample(MANY, seed=1)
        x = decode(x, np.float32, shape).reshape(MANY, -1)
        return lambda n: x[rng.integers(MANY, size=n)]

    def blurred(n):
        return 0.9 * points(ring(), rng, n) + 0.1 * ring().scale * rng.standard_normal((n, 2), np.float32)

    sizes = *SIZES, 4096
    cases = [("ring", ring(), blurred, 2.0, 0.25), ("grid", grid(), of_model("grid", (2,)), 2.0, 1.0)]
    cases.append(("digits", digits(), of_model("digits-conv", (8, 8, 1)), 1.0, 1.0))
    for name, data, generate, d, eps in cases:
        found = variances(data, generate, d, eps, rng)
        print(name, *(f"{value:.2g}" for value in found), f"slope {slope(found, sizes):.3f}", flush=True)


def measure_fit(run):
    """R^2 of D on fresh mini-batches, then for the potential of MANY charges, then their correlation at x."""
    config, _, G, D, state = load(find_checkpoint(Path(run)))
    algorithm, data = config.algorithm, ring()
    eps = float(rates_at(algorithm, state.step - 1).eps)
    rate = rates_at(algorithm, algorithm.steps - 1).adam_d[0]

    def draw(rng, n):
        return gan.Batch(rng.standard_normal((n, config.networks.latent), np.float32), points(data, rng, n))

    rng = np.random.default_rng(99)
    charges, at = draw(rng, MANY), draw(rng, MANY // 10)
    x = [G.forward(state.theta, batch.z)[0] for batch in (charges, at)]
    where = np.concatenate((x[1], at.y))
    target = gan.target_scale(algorithm, eps) * potential(where, charges.y, x[0], algorithm.d, eps)

    def fitted(n, shares, seed):
        rng, w, moments, found = np.random.default_rng(seed), state.w.copy(), state.moments_d.copy(), []
        gradients = shares_of(gan.gradients, shares)
        for _ in range(UPDATES):
            result = gradients(G, D, state.theta, w, draw(rng, n), algorithm, eps, False)
            found.append(r_squared(*result.fit))
            adam(w, result.dw, moments, rate, True)
        d, n_x = D.forward(w, where)[0], len(at.z)
        return median(found[-LAST:]), r_squared(d, target), np.corrcoef(d[:n_x], target[:n_x])[0, 1]

    for n, shares in [*((n, 1) for n in SIZES), (128, 8), (512, 8), (1024, 8)]:
        found = zip(*(fitted(n, shares, seed) for seed in range(SEEDS)), strict=True)
        print(
            n, shares, *(f"{median(values):.2f} ({min(values):.2f}..{max(values):.2f})" for values in found), flush=True
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["variance"]:
            measure_variance()
        case ["fit", run]:
            measure_fit(run)
        case ["train", n, *options]:
            steps.OBJECTIVES["coulomb"] = shares_of(gan.gradients, int(n))
            command(["train", *options])
        case _:
            sys.exit(__doc__)
