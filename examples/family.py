"""The family of Coulomb GANs on the grid: free particles from one start, by the field of each member; docs/family.md.

    python examples/family.py [--start 0] [--seeds 5] [-o family.png]            about a minute

500 particles start at the point (START, START), spread by 0.03, among 1,000 real points, and take 200 steps; the
Poisson flow, whose particles cannot spread, starts from its own distribution. A row has medians and ranges over seeds:

    modes       of 25, those with at least a fifth of their share of particles of high quality
    quality     share of the particles within 3 standard deviations of a mode
    KL          of the histogram of nearest modes from the uniform one
    mmd2        from 2,500 fresh points, under the Plummer kernel with d = 2, eps = 2, in units of eps^-d
    distance    from the nearest of the 1,000 points, as a median, over that of fresh points: 0 are copies
    seconds     of one core for the 200 steps

The last row has 500 fresh real points in place of particles: its mmd2 is the floor of independent points, below which
particles can fall because they keep apart. Settings were chosen on seeds 100 to 102 from the values in docs/family.md.
"""

import os
import runpy
import time
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: its threads would wait for each other

import click
import numpy as np

from minicoulomb.arrays.threads import set_threads
from minicoulomb.coulomb import field, mmd2
from minicoulomb.data.mixtures import grid
from minicoulomb.evaluation.metrics import mixture_metrics, nearest_neighbours
from minicoulomb.particles import natural_step
from minicoulomb.schedules import exponential

PAGES = {name: runpy.run_path(str(Path(__file__).with_name(f"{name}.py"))) for name in
         ("drifting", "energy_distance", "gaussian_mmd", "poisson_flow")}  # fmt: skip
drifting, energy_distance, gaussian, poisson = (page["flow"] for page in PAGES.values())


def coulomb(x, y, steps=200, d=2, eps=3.0, eps_end=None):
    """Particles x (n, m) after each step, as in particles.py; eps falls to eps_end, if that is given."""
    for step in range(steps):
        width = exponential(eps, eps_end or eps, step / steps)
        if step == 0 or eps_end:
            eta = 1.5 * natural_step(y, d, width)
        x = x + eta * field(x, y, x, d, width)
        yield x


FAMILY = {
    "Coulomb, eps 3": (coulomb, {}),
    "drifting, eps 4": (drifting, {}),
    "drifting, d 6, eps 4": (drifting, {"d": 6}),
    "Gaussian MMD, sigma 2": (gaussian, {}),
    "energy distance": (energy_distance, {}),
    "Coulomb, eps 10 to 2": (coulomb, {"eps": 10.0, "eps_end": 2.0}),
    "drifting, eps 10 to 2": (drifting, {"eps": 10.0, "eps_end": 2.0}),
    "Gaussian MMD, sigma 10 to 1": (gaussian, {"sigma": 10.0, "sigma_end": 1.0}),
    "Poisson flow, z 400 to .01": (poisson, {"z_max": 400.0}),
    "fresh real points": (None, {}),
}
FIGURES = ("modes", "quality", "KL", "mmd2", "distance", "seconds")


def measure(x, fresh, y, data):
    """The figures of the particles x (n, 2), but for the seconds."""
    metrics = mixture_metrics(x, data.modes, data.sigma)
    distances = [np.median(nearest_neighbours(points, y)[1]) for points in (x, fresh)]
    discrepancy = mmd2(x, fresh, d=2, eps=2.0) * 2.0**2
    return metrics["modes20"], metrics["high_quality"], metrics["reverse_kl"], discrepancy, distances[0] / distances[1]


def run(name, start, seed, n=500, steps=200):
    """(figures, x): the particles of a member of the family at the end of its steps."""
    flow, settings = FAMILY[name]
    data, rng = grid(), np.random.default_rng(seed)
    y, x, fresh = data.draw(rng, 1000), start + 0.03 * rng.standard_normal((n, 2)), data.draw(rng, 2500)
    if flow is poisson:
        x = PAGES["poisson_flow"]["start"](n, y, settings["z_max"], rng)
    began = time.process_time()
    if flow:
        *_, x = flow(x, y, steps, **settings)
    else:
        x = data.draw(rng, n)
    seconds = time.process_time() - began
    return (*measure(x, fresh, y, data), seconds), x


def cell(values):
    """Median and range of one figure."""
    median, low, high = (f"{value:.3g}" for value in (np.median(values), min(values), max(values)))
    return median if low == high else f"{median} ({low} to {high})"


def table(start=0.0, seeds=5, n=500, steps=200, names=tuple(FAMILY)):
    """({name: [figures of each seed]}, {name: particles of seed 0}); prints a row of each."""
    print("| | " + " | ".join(FIGURES) + " |")
    print("|---" * (len(FIGURES) + 1) + "|")
    results, panels = {}, {}
    for name in names:
        runs = [run(name, start, seed, n, steps) for seed in range(seeds)]
        results[name] = [dict(zip(FIGURES, figures, strict=True)) for figures, _ in runs]
        panels[name] = runs[0][1]
        print(
            f"| {name} | " + " | ".join(cell([one[key] for one in results[name]]) for key in FIGURES) + " |", flush=True
        )
    return results, panels


def draw(path, panels):
    """A picture with the particles of each member over the modes, two rows of panels."""
    from matplotlib.figure import Figure

    data, columns = grid(), -(-len(panels) // 2)
    figure = Figure(figsize=(2 * columns, 4.3), dpi=100, layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False)
    for axis, (name, x) in zip(axes.flat, panels.items(), strict=False):
        axis.plot(*data.modes.T, "o", color="#dddddd", markersize=11)
        axis.plot(*x.T, ".", color="#d55e00", markersize=1.5)
        axis.set(xlim=(-27, 27), ylim=(-27, 27), xticks=[], yticks=[], aspect="equal")
        axis.set_title(name, fontsize=8)
    figure.savefig(path)


@click.command()
@click.option("--start", default=0.0, show_default=True, help="both coordinates of the place where particles start")
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="how many")
@click.option("-o", "picture", type=click.Path(dir_okay=False, path_type=Path), help="picture of seed 0 at the end")
def main(start, seeds, picture):
    if picture and not picture.parent.is_dir():
        raise click.UsageError(f"-o {picture}: no such folder {picture.parent}; make it first")
    if picture and find_spec("matplotlib") is None:
        raise click.UsageError(f"-o {picture}: needs matplotlib; pip install 'minicoulomb[plot]'")
    set_threads(1)
    _, panels = table(start, seeds)
    if picture:
        draw(picture, panels)


if __name__ == "__main__":
    main()
