"""`minicoulomb particles`: free particles follow the exact field, without networks."""

import json
from math import prod
from pathlib import Path

import click
import numpy as np

from minicoulomb import particles as free
from minicoulomb import pictures
from minicoulomb.arrays.limits import check_memory, check_pairs
from minicoulomb.arrays.rng import rng_for
from minicoulomb.cli.common import OUTPUT, PATH, UserPath, compute_on, configure, open_data
from minicoulomb.cli.console import say, showing, table
from minicoulomb.cli.options import config_options, named
from minicoulomb.coulomb import mean_self_kernel
from minicoulomb.data.dataset import ArrayDataset, decode
from minicoulomb.errors import UserError
from minicoulomb.evaluation.evaluate import mode_metrics
from minicoulomb.files import atomic_write, check_place
from minicoulomb.models import SampleSpace
from minicoulomb.pictures.colours import GREY, VERMILION

# Real points by default: of a mixture, and at most of a finite set, with at most MOST_NUMBERS coordinates in total.
MIXTURE_POINTS, MOST_POINTS, MOST_NUMBERS = 1000, 10_000, 2**24
STARTS, POSITIVE = click.Choice(["mean", "sample", "normal"]), click.FloatRange(0, min_open=True)
# Default of --step-size, in the units of its help.
STEP_SIZES = {"euler": 1.5, "momentum": 1.5, "adam": 0.1}
# Particles start at this distance from a common point, in units of eps: in one point they would never separate.
APART = 0.01
# Bytes for a coordinate of a point and for the energy of a step, and pairs that take as long as the shortest step.
POINT_BYTES, STEP_BYTES, LEAST_PAIRS = 32, 40, 1000
# Frames of an animation, width of a picture in pixels, images in it.
FRAMES, SIZE, IMAGES = 48, 600, 36
# Seconds for each frame, and frames for the start.
SECONDS, HOLD = 0.15, 6


@click.command()
@click.argument("data", type=UserPath(), default="grid")
@click.option("-n", "n", type=click.IntRange(1), default=500, help="number of particles  [500]")
@click.option("--points", type=click.IntRange(2), help="real points  [1000 of a mixture, else all, at most 10,000]")
@click.option("--start", type=STARTS, default="mean", help="one point (mean or sample) or a Gaussian (normal)  [mean]")
@click.option("--steps", type=click.IntRange(1), default=600, help="number of steps  [600]")
@click.option("--optimizer", type=click.Choice(list(STEP_SIZES)), default="euler", help="how particles move  [euler]")
@click.option("--step-size", type=POSITIVE, help="in shortest mean shifts of the data  [1.5]; adam: in eps  [0.1]")
@click.option("-o", "output", type=OUTPUT, help="animation.gif, or picture.png of the end, with a curve of the energy")
@click.option("--energies", type=PATH, metavar="FILE", help="JSON lines of the energy of each step")
@config_options("d", "eps", "size", "crop", "channels", "skip_bad", "seed", "backend", "device", "threads")
def particles(data, n, points, start, steps, optimizer, step_size, output, energies, **options):
    """Let free particles follow the exact field, without networks.

    DATA is grid, ring, digits, or any --data of train. Below a proven step size the energy falls in every step, unless
    all forces are 0; that the particles become distributed like the data is no theorem in the plane. The floor is the
    energy of as many fresh real points; below it the particles fit the real points of the field themselves. The
    defaults of d and eps are those of train for DATA; images of many pixels need an --eps near their distances.

    All particles start in the data's mean, or in one sample, like those of a collapsed generator, or from a Gaussian as
    wide as the data. Euler's method is stable up to a step of about 2 of the data's shortest mean shifts.
    """
    _check_places(output, energies)
    config, found = configure(None, {"data": data, "hold_out_every": 0} | named(options))
    algorithm, backend = config.algorithm, compute_on(config)
    if found.kind == "text":
        raise UserError(
            f"data {data}: particles move in the space of points and images; use minicoulomb train for text"
        )
    dataset = open_data(config, Path("runs") / "cache", found)
    kernel, is_animation = {"d": algorithm.d, "eps": algorithm.eps}, bool(output and output.suffix.lower() == ".gif")
    _check_sizes(n, points or 2, steps, prod(dataset.shape), is_animation, backend.xp)
    y = _real_points(dataset, points, config.run.seed)  # (n_y, m)
    x = _start(start, y, n, algorithm.eps, config.run.seed)  # (n, m)
    sizes = f"{n:,} particle{'s' * (n > 1)}, {len(y):,} real points"
    say(f"{dataset.name}: {sizes}, d {algorithm.d:g}, eps {algorithm.eps:g}, {backend.name}")

    on_device = backend.to_device(y)
    move, about = _moving(optimizer, step_size or STEP_SIZES[optimizer], on_device, **kernel)
    say(about)
    mean_yy = mean_self_kernel(on_device, **kernel)
    moments = free.follow_field(backend.to_device(x), on_device, mean_yy, **kernel, move=move)
    shown = free.pace(steps, FRAMES) if is_animation else []
    are_images = len(dataset.shape) == 3
    found = free.record(moments, steps, shown, showing("steps", "steps"), IMAGES if are_images else None)

    floor = free.floor_energy(float(mean_yy), n, len(y), **kernel)
    if energies:
        with atomic_write(energies) as file:
            rows = ({"step": t, "energy": F} for t, F in enumerate(found.energies.tolist()))
            file.writelines(f"{json.dumps(row)}\n".encode() for row in rows)
    if output:
        _draw(found, floor, y, dataset, output)
    reached = np.flatnonzero(found.energies <= floor)
    metrics = {
        "energy, first": float(found.energies[0]),
        "energy, last": float(found.energies[-1]),
        "floor": floor,
        "reached at step": int(reached[0]) if len(reached) else "not reached",
        "steps that rose": free.rises(found.energies, **kernel),
        **mode_metrics(found.snapshots[steps].reshape(-1, *dataset.shape), dataset),
    }
    say(*table(metrics))
    if output:
        say(f"picture: {output}")


def _check_places(output, energies):
    """UserError if the results cannot be written, before the computation starts."""
    if output and output.suffix.lower() not in (".gif", ".png"):
        raise UserError(f"{output}: not an animation or a picture; use {output.stem}.gif or {output.stem}.png")
    if energies:
        check_place(energies)


def _check_sizes(n, points, steps, m, is_animation, xp):
    """UserError if n particles of m numbers among at least so many real points do not fit, or take forever."""
    check_memory(f"{points:,} real points", POINT_BYTES * points * m, "use fewer --points")
    kept = FRAMES if is_animation and m < 3 else 1
    check_memory(f"{n:,} particles", (POINT_BYTES + 8 * kept) * n * m, "use a smaller -n")
    check_memory(f"{steps:,} steps", STEP_BYTES * steps, "use fewer --steps")
    pairs = points * points + steps * max(LEAST_PAIRS, n * (n + points))
    check_pairs(f"{steps:,} steps of {n:,} particles", pairs, m, "use a smaller -n, or fewer --points or --steps", xp)


def _real_points(dataset, points, seed):
    """The real points of the field, (n_y, m) float64."""
    if isinstance(dataset, ArrayDataset):
        total = len(dataset.array)
        n = points or min(total, MOST_POINTS, max(2, MOST_NUMBERS // prod(dataset.shape)))
        if n > total:
            raise UserError(f"points {n}: {dataset.name} has {total} samples; use --points {total} or less")
        rows = np.sort(rng_for(seed, "real").choice(total, n, replace=False))
        y = decode(np.asarray(dataset.rows(rows)), np.dtype(np.float64))
    else:
        y = dataset.draw(rng_for(seed, "real"), points or MIXTURE_POINTS)
    return y.reshape(len(y), -1)


def _start(start, y, n, eps, seed):
    """The particles at the start, (n, m)."""
    rng = rng_for(seed, "latent")
    noise = rng.standard_normal((n, y.shape[1]))
    if start == "normal":
        return y.mean(axis=0) + y.std(axis=0) * noise
    return (y.mean(axis=0) if start == "mean" else y[rng.integers(len(y))]) + APART * eps * noise


def _moving(optimizer, step_size, y, d, eps):
    """(a rule for the particles' steps, its description)."""
    if optimizer == "adam":
        return free.adam(step_size * eps, eps ** -(d + 1)), f"adam: learning rate {step_size:g} eps; F may rise"
    unit, proven = free.natural_step(y, d, eps), free.proven_step(d, eps)
    eta = step_size * unit
    about = f"{optimizer}: eta {eta:.4g}, {step_size:g} times the data's shortest mean shift; "
    if optimizer == "momentum":
        return free.momentum(eta), about + "F may rise"
    if eta < proven:
        return free.euler(eta), about + "F provably falls in every step"
    about += f"F provably falls in every step below {proven:.4g} (--step-size {proven / unit:.2g})"
    return free.euler(eta), about + ", and is unlikely to fall beyond 2 shifts" * (step_size > 2)


def _draw(found, floor, y, dataset, output):
    """Write the animation, or the picture of the end."""

    m, located = y.shape[1], SampleSpace.of(dataset).located

    def frame(t):
        x, title = found.snapshots[t], f"{dataset.name}, step {t:,}"
        if len(dataset.shape) == 3:
            images = x[:IMAGES].reshape(-1, *dataset.shape)
            picture = pictures.image_grid(images, zoom=max(1, round(SIZE / (6 * dataset.shape[1])))).convert("RGB")
        elif m != 2:
            picture = pictures.draw_points(located(y), located(x), title, "particles")
        else:
            plane = pictures.Plane(pictures.square_about(located(y)), SIZE, title)
            plane.discs(located(y), GREY, "real points")
            plane.discs(located(x), VERMILION, "particles", radius=3.2, alpha=0.7)
            picture = plane.drawn()
        return pictures.with_curve(picture, found.energies, floor, t)

    if output.suffix.lower() == ".png":
        pictures.save(frame(max(found.snapshots)), output)
        return
    frames = [frame(t) for t in sorted(found.snapshots)]
    pictures.save_animation([frames[0]] * HOLD + frames, output, SECONDS)
