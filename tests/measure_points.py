"""How well the preset `points` learns points of many kinds: the table of docs/data.md.

    python tests/measure_points.py [--sets moons,line] [--seeds 0,1] [OPTIONS OF minicoulomb train]

Each set is trained on by `minicoulomb train --data`, and 2,500 samples are compared with 2,500 fresh points. mmd2 has
d = 2 and an eps than which a tenth of all pairs of points are closer, whatever the run's kernel is; its floor is that
of other fresh points.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from cli_cases import run

from minicoulomb.coulomb import mmd2

N = 2500
CENTRES = 2 * np.random.default_rng(5).standard_normal((8, 10))
AXES = np.linalg.qr(np.random.default_rng(6).standard_normal((50, 50)))[0] / np.sqrt(1 + np.arange(50))


def moons(rng, n):
    angles, upper = np.pi * rng.random((n, 1)), rng.random((n, 1)) < 0.5
    circle = np.hstack([np.cos(angles), np.sin(angles)])
    return np.where(upper, circle, [1, 0.5] - circle) + 0.07 * rng.standard_normal((n, 2))


def spiral(rng, n):
    t = 1.5 * np.pi * (1 + 2 * rng.random((n, 1)))
    return t * np.hstack([np.cos(t), np.sin(t)]) + 0.4 * rng.standard_normal((n, 2))


def line(rng, n):
    k = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    return np.array([-2, 0, 1.5])[k] + np.array([0.1, 0.4, 0.05])[k] * rng.standard_normal(n)


def board(rng, n):
    i, j = rng.integers(0, 4, n), rng.integers(0, 2, n)
    return np.stack([i + rng.random(n), 2 * j + i % 2 + rng.random(n)], axis=1)


# name: (how to draw n points, how many are trained on)
SETS = {
    "moons": (lambda rng, n: moons(rng, n) + 1000, 2000),
    "spiral": (spiral, 2000),
    "line": (line, 2000),
    "board": (board, 5000),
    "student": (lambda rng, n: rng.standard_t(2, (n, 2)), 2000),
    "repeated": (lambda rng, n: np.round(2 * moons(rng, n)) / 2, 2000),
    "gaussians": (lambda rng, n: CENTRES[rng.integers(0, 8, n)] + 0.5 * rng.standard_normal((n, 10)), 5000),
    "correlated": (lambda rng, n: rng.standard_normal((n, 50)) @ AXES.T, 5000),
    "twenty": (moons, 20),
}


def measured(name, seed, options):
    """(mmd2, floor) of one run."""
    draw, n = SETS[name]
    points = draw(np.random.default_rng(100), n)
    with TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", points)
        run("train", "--data", f"{folder}/x.npy", "--seed", seed, "--sample-every", 0, "--out", folder, *options)
        run("sample", next(Path(folder).glob("00000-*")), "-n", N, "-o", f"{folder}/samples.npz")
        x = np.load(f"{folder}/samples.npz")["x"]
    fresh = [draw(np.random.default_rng(200 + i), N).reshape(N, -1) for i in range(4)]
    distances = np.linalg.norm(fresh[0] - fresh[1], axis=1)
    eps = float(np.quantile(distances[distances > 0], 0.1))
    found = np.mean([eps**2 * mmd2(x, y, 2.0, eps) for y in fresh])
    return found, np.mean([eps**2 * mmd2(fresh[i], fresh[i - 1], 2.0, eps) for i in range(4)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", default="0")
    found, options = parser.parse_known_args()
    for name in found.sets.split(","):
        for seed in found.seeds.split(","):
            value, floor = measured(name, seed, options)
            print(f"{name:10}  seed {seed}  mmd2 {value:.5f}  floor {floor:.5f}  {value / floor:.1f} times", flush=True)


if __name__ == "__main__":
    sys.exit(main())
