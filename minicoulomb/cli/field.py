"""`minicoulomb field`: pictures of the potential and its forces, exact and as learned by D."""

from pathlib import Path

import click

from minicoulomb import pictures
from minicoulomb.arrays.threads import watching
from minicoulomb.cli.common import OUTPUT, UserPath, compute_on, configure, load, open_data, run_directory
from minicoulomb.cli.console import PATIENCE, count_of, say, showing, warn
from minicoulomb.cli.options import config_options, named
from minicoulomb.errors import UserError
from minicoulomb.models import SampleSpace
from minicoulomb.pictures.field_picture import field_frames, field_picture
from minicoulomb.presets import PRESETS
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.run import RunDirectory

# An animation of fewer frames shows little of the training.
FEW = 10


@click.command()
@click.argument("target", type=UserPath(), metavar="RUN|PRESET")
@click.option("-n", "n", type=click.IntRange(2), help="points of each kind  [2500], or rows of images  [6]")
@click.option("-o", "output", type=OUTPUT, required=True, help="picture.png, or with --animate file.gif")
@click.option("--animate", is_flag=True, help="draw an animation with a frame for each checkpoint of RUN")
@click.option("--seed", type=click.IntRange(0), default=0, help="seed of the samples, and of a PRESET's networks  [0]")
@config_options("data", "backend", "device", "tf32", "threads")
def field(target, n, output, animate, seed, **options):
    """Draw the potential and its forces, exact and as learned by D.

    The target is a run directory, one of its checkpoints, or a preset, whose networks are then untrained. Write ./NAME
    for a run with the name of a preset.

    For points in the plane: the potential Phi of generated and real points, D's regression of it, and D - Phi, with
    the forces. For images: the changes of generated images along grad Phi and along grad D.
    """
    chosen, found, suffix = named(options), None, ".gif" if animate else ".png"
    if animate and (target in PRESETS or not Path(target).is_dir()):
        raise click.UsageError("--animate draws the checkpoints of a run; use its directory, like runs/00000-grid")
    if output.suffix.lower() != suffix:
        kind = f"with{'' if animate else 'out'} --animate the output is a {suffix[1:].upper()} file"
        raise UserError(f"{output}: {kind}; use {output.stem}{suffix}")
    space = None
    if target in PRESETS:
        config, found = configure(target, chosen | {"seed": seed})
        backend, cache = compute_on(config), Path("runs") / "cache"
    elif Path(target).exists():
        backend, checkpoint = load(Path(target), chosen)
        config, space, cache = checkpoint.config, checkpoint.space, run_directory(Path(target)).parent / "cache"
    else:
        rule = "neither a run nor a preset; use a run directory like runs/00000-grid, or one of"
        raise UserError(f"{target}: {rule} {', '.join(PRESETS)}")
    dataset = open_data(config, cache, found, space)
    if animate:
        _animate(RunDirectory(Path(target)), config.run.keep_checkpoints, backend, dataset, n, seed, output)
        return
    if target in PRESETS:
        checkpoint = checkpoints.initial(config, SampleSpace.of(dataset), backend.xp)
    with watching(showing("field, part", "parts", PATIENCE)):
        pictures.save(field_picture(checkpoint, dataset, n, seed), output)
    say(f"the field of {target} at step {checkpoint.state.step:,}: {output}")


def _animate(run, keep, backend, dataset, n, seed, output):
    frames = field_frames(run.checkpoints(), backend.xp, dataset, n, seed, showing("checkpoints", "checkpoints"))
    pictures.save_animation(frames, output, seconds=0.25)
    say(f"the field of {run.path} at {count_of(len(frames), 'checkpoint')}: {output}")
    if len(frames) < FEW:
        option = "--keep-checkpoints 100" if keep <= len(frames) else "a smaller --checkpoint-every"
        warn(f"a run keeps its last checkpoints; for more frames train with {option}")
