"""`minicoulomb sample`: pictures, PNG files, lines of text or arrays from a run."""

import click

from minicoulomb import pictures
from minicoulomb.cli.common import OUTPUT, PATH, load, open_data, run_directory
from minicoulomb.cli.console import PATIENCE, count_of, say, showing, warn
from minicoulomb.cli.options import config_options, named
from minicoulomb.data.text import to_lines
from minicoulomb.errors import UserError
from minicoulomb.evaluation.evaluate import EVALUATED, nearest_training
from minicoulomb.pictures.output import check_rows, export
from minicoulomb.pictures.training_picture import real_points
from minicoulomb.training.sampling import interpolations, sample_blocks, samples


@click.command()
@click.argument("run", type=PATH)
@click.option("-n", "n", type=click.IntRange(1), help="number of samples  [64], or of rows  [8]")
@click.option("-o", "output", type=OUTPUT, help="picture.png, folder for single PNG files, lines.txt, or file.npz")
@click.option("--interpolate", is_flag=True, help="draw rows of images from sample i to sample i + 1")
@click.option("--steps", type=click.IntRange(2), help="images per row of --interpolate  [10]")
@click.option("--neighbours", type=click.IntRange(1), metavar="K", help="draw samples beside the K nearest images each")
@click.option("--seed", type=click.IntRange(0), default=0, help="sample i depends on the seed and i alone  [0]")
@config_options("data", "batch_statistics", "backend", "device", "tf32", "threads")
def sample(run, n, output, interpolate, steps, neighbours, seed, **options):
    """Draw samples from a run.

    RUN is a run directory or one of its checkpoints, or `grid` or `digits-conv`, models that come with the package.
    Without -o, lines of text are printed.
    """
    chosen = named(options)
    _check_sample_options(interpolate, steps, neighbours)
    _, checkpoint = load(run, chosen)
    config, space, G, _, state = checkpoint
    if output is None and (interpolate or neighbours or not space.alphabet):
        raise click.UsageError("Missing option '-o': only lines of text are printed; add -o samples.png")
    over_data = len(space.shape) == 1 and output.suffix.lower() == ".png" and not interpolate
    if "data" in chosen and not (neighbours or over_data):
        raise click.UsageError(
            "--data applies only to --neighbours and pictures of points; add --neighbours K, or drop --data"
        )
    if output is None:
        for block in sample_blocks(G, state, n or 64, seed, config.run.batch_statistics):
            say(*to_lines(block, space.alphabet))
    elif not (interpolate or neighbours):
        n = n or 64
        progress = showing("samples", "samples", PATIENCE)
        blocks = sample_blocks(G, state, n, seed, config.run.batch_statistics, progress)
        real = _real_points(run, checkpoint, "data" in chosen) if over_data else None
        export(
            map(space.located, blocks), n, space.shape, output, "<f8" if space.location else "<f4", real, space.alphabet
        )
        say(f"{count_of(n, 'sample')}: {output}")
    elif interpolate:
        n, steps = n or 8, steps or 10
        check_rows("--interpolate", n, steps, space.shape, output)
        rows = interpolations(G, state, n, steps, seed, config.run.batch_statistics)
        pictures.save(pictures.image_grid(rows.reshape(-1, *space.shape), steps), output)
        say(f"{count_of(n, 'row')}, each from one sample to the next: {output}")
    else:
        n = n or 8
        check_rows("--neighbours", n, neighbours + 1, space.shape, output)
        dataset = open_data(config, run_directory(run).parent / "cache", space=space)
        x = samples(G, state, n, seed, config.run.batch_statistics)
        nearest, distances = nearest_training(x, dataset, neighbours)
        pictures.save(pictures.neighbour_rows(x, nearest), output)
        apart = f"at a distance of {distances[:, 0].min():.3g} to {distances[:, 0].max():.3g}"
        say(f"{count_of(n, 'sample')} beside the nearest of {dataset.n_train} training images, {apart}: {output}")


def _real_points(run, checkpoint, chosen):
    """Points of the data, to be drawn behind samples; None, with a remark, where those of the run cannot be opened."""
    try:
        dataset = open_data(checkpoint.config, run_directory(run).parent / "cache", space=checkpoint.space)
    except UserError as error:
        if chosen:
            raise
        warn(f"the picture shows the samples alone, for the data cannot be opened; add --data: {error}")
        return None
    return real_points(checkpoint, dataset, EVALUATED)


def _check_sample_options(interpolate, steps, neighbours):
    if interpolate and neighbours:
        raise click.UsageError("--interpolate and --neighbours draw two pictures; drop one of them")
    if steps and not interpolate:
        raise click.UsageError("--steps applies only to --interpolate; add it, or drop --steps")
