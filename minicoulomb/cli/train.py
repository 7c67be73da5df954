"""`minicoulomb train`: start a run or go on with one."""

import sys
from functools import partial
from math import prod
from pathlib import Path

import click

from minicoulomb import pictures
from minicoulomb.arrays.rng import rng_for
from minicoulomb.cli.common import PATH, compute_on, load, run_directory
from minicoulomb.cli.console import Console, showing, table, tell_skipped, warn
from minicoulomb.cli.options import config_options, flag, given
from minicoulomb.data.sources import image_shape, kind, open_dataset
from minicoulomb.errors import UserError
from minicoulomb.evaluation.evaluate import EVALUATED, SMALL, has_modes, mode_metrics
from minicoulomb.evaluation.evaluate import evaluate as evaluate_samples
from minicoulomb.fid import compare
from minicoulomb.models import SampleSpace, build
from minicoulomb.presets import PRESETS, resolve
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.loop import train as train_run
from minicoulomb.training.run import RunDirectory, find_checkpoint
from minicoulomb.training.sampling import samples
from minicoulomb.training.signals import StopRequest

PICTURE_IMAGES = 64
# What may differ when a run goes on; all else is the run's identity.
RESUMABLE = {"steps", "data", "backend", "device", "tf32", "threads", "batch_statistics"}
RESUMABLE |= {"log_every", "sample_every", "checkpoint_every", "keep_checkpoints"}
RESUMABLE |= {"fid_every", "fid_samples", "fid_reference", "inception"}


@click.command()
@click.option("--preset", type=click.Choice(list(PRESETS)), help="settings to start from; grid, or what suits --data")
@click.option("--out", type=PATH, default=Path("runs"), help="where the numbered run directory is made  [runs]")
@click.option("--resume", type=PATH, metavar="RUN", help="go on with a run, exactly as if it had not stopped")
@click.option("--init-from", type=PATH, metavar="CKPT", help="start a new run from a checkpoint's (or run's) weights")
@click.option(
    "--until", type=click.IntRange(1), metavar="STEP", help="stop and save at this step; schedules go by --steps"
)
@click.option("--dry-run", is_flag=True, help="print the resolved configuration as JSON and stop")
@config_options()
def train(preset, out, resume, init_from, until, dry_run, **options):
    """Train a Coulomb GAN; without options, on 25 Gaussians in the plane, in about two minutes.

    In brackets are the defaults of settings that the preset leaves alone.
    """
    chosen = given(options)
    if resume:
        _check_resumable(preset, init_from, chosen)
        backend, checkpoint = load(resume, chosen)
        config = checkpoint.config
        if checkpoint.state.step > config.algorithm.steps:
            raise UserError(
                f"steps {config.algorithm.steps}: the run is at step {checkpoint.state.step}; use --steps above that"
            )
    else:
        config = resolve(preset, **chosen)
    if dry_run:
        click.echo(config.to_json())
        return

    if kind(config.data.data) == "images":  # before they are decoded, see whether their size fits the networks
        build(config.networks, SampleSpace(image_shape(config)))
    cache = (run_directory(resume).parent if resume else out) / "cache"
    dataset = open_dataset(config, cache, showing("preparing"), tell_skipped)
    space = SampleSpace(dataset.shape, dataset.scale, dataset.bound)
    if resume:
        if space != checkpoint.space:
            raise UserError(f"data {config.data.data}: not the run's: {space} where {checkpoint.space} was; use --data")
        fid = _periodic_fid(checkpoint, backend, cache)
        run = RunDirectory.open(run_directory(resume))
        run.rewind(config, checkpoint.state.step)
    else:
        backend = compute_on(config)
        checkpoint = checkpoints.initial(config, space, backend.xp)
        if init_from:
            checkpoints.copy_weights(checkpoints.load(find_checkpoint(init_from)).to(backend.xp), checkpoint)
        fid = _periodic_fid(checkpoint, backend, cache)
        run = RunDirectory.create(out, dataset.name, checkpoint)
    _train(run, checkpoint, dataset, backend, min(until or config.algorithm.steps, config.algorithm.steps), fid)


def _periodic_fid(checkpoint, backend, cache):
    """A function of what asks to stop, for the FID of the checkpoint's state, or None."""
    config, state = checkpoint.config, checkpoint.state
    if not config.run.fid_every:
        return None
    network = compare.open_network(config.run.inception, backend.xp)
    reference = compare.open_reference(
        config.run.fid_reference or config.data.data,
        *(config, network, ("fid",), cache, showing("reference"), showing("preparing"), tell_skipped),
    )
    measure, seeing = compare.Comparison(network, reference), showing("FID")
    warn(compare.too_few(config.run.fid_samples, "--fid-samples"))

    def fid(stop):
        found = measure(checkpoint.G, state, config, config.run.fid_samples, config.run.seed, seeing, stop)
        return found and found["fid"]

    return fid


def _train(run, checkpoint, dataset, backend, until, fid):
    state, config = checkpoint.state, checkpoint.config
    console = Console(run, state.step, until)
    if backend.choice:
        console.line(backend.choice)
    console.line(
        f"{run.path}: {dataset.name}, step {state.step} to {until}, "
        f"{backend.name}{', TF32' * backend.tf32}, {config.run.dtype}, seed {config.run.seed}"
    )
    look = partial(_look, checkpoint, dataset)
    with StopRequest() as stop:
        train_run(run, checkpoint, dataset, backend, until, stop, console.report, look, fid and partial(fid, stop))
    if state.step < config.algorithm.steps:
        console.line(f"stopped and saved at step {state.step}; go on with: minicoulomb train --resume {run.path}")
        sys.exit(stop.exit_status if stop else 0)
    if prod(dataset.shape) <= SMALL:
        x = samples(checkpoint.G, state, EVALUATED, config.run.seed, config.run.batch_statistics)
        for line in table(evaluate_samples(x, dataset, config)):
            console.line(line)
    console.line(f"picture: {run.picture_path(state.step)}")


def _look(checkpoint, dataset, path):
    """Draw what the generator makes now, always of the same z; how its samples cover modes or classes."""
    config, space, G, _, state = checkpoint
    # As many as a picture shows, or as it takes to count modes.
    n = EVALUATED if len(space.shape) < 3 or has_modes(dataset) else PICTURE_IMAGES
    x = samples(G, state, n, config.run.seed, config.run.batch_statistics)
    pictures.save(_picture(checkpoint, dataset, x), path)
    return mode_metrics(x, dataset)


def _picture(checkpoint, dataset, x):
    """Generated points x (n, m) over as many real ones, or a grid of the first images of x (n, h, w, c)."""
    if x.ndim == 4:
        return pictures.image_grid(x[:PICTURE_IMAGES])
    real = dataset.draw(rng_for(checkpoint.config.run.seed, "picture"), len(x))
    return pictures.scatter(real, x, title=f"{dataset.name}, step {checkpoint.state.step:,}")


def _check_resumable(preset, init_from, chosen):
    fixed = [flag(name) for name in chosen if name not in RESUMABLE]
    fixed += ["--preset"] * bool(preset) + ["--init-from"] * bool(init_from)
    if fixed:
        raise click.UsageError(f"{', '.join(fixed)}: cannot change when a run goes on; use --init-from for a new run")
