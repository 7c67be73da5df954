"""`minicoulomb field`: pictures of the potential and its forces, exact and learned by D, and a page to play with."""

from pathlib import Path

import click

from minicoulomb import pictures
from minicoulomb.arrays.threads import watching
from minicoulomb.cli.common import OUTPUT, UserPath, compute_on, configure, load, open_data, run_directory
from minicoulomb.cli.console import PATIENCE, count_of, say, showing, warn
from minicoulomb.cli.options import config_options, flag, named
from minicoulomb.errors import UserError
from minicoulomb.models import SampleSpace
from minicoulomb.pictures.field_picture import field_frames, field_picture
from minicoulomb.pictures.interactive import charges_at, save_page
from minicoulomb.presets import PRESETS
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.run import RunDirectory

# What is written, by the suffix of the output.
MODES = {".png": "without --animate and --interactive", ".gif": "with --animate", ".html": "with --interactive"}
# An animation of fewer frames shows little of the training.
FEW = 10


@click.command()
@click.argument("target", type=UserPath(), metavar="[RUN|PRESET]", required=False)
@click.option("-n", "n", type=click.IntRange(2), help="points of each kind  [2500; on a page 100], or rows  [6]")
@click.option("-o", "output", type=OUTPUT, required=True, help="a.png, with --animate a.gif, with --interactive a.html")
@click.option("--animate", is_flag=True, help="draw an animation with a frame for each checkpoint of RUN")
@click.option("--interactive", is_flag=True, help="write a page with charges to move; it needs no RUN or PRESET")
@click.option("--seed", type=click.IntRange(0), help="seed of the samples, and of a PRESET's networks  [0]")
@config_options("data", "backend", "device", "tf32", "threads")
def field(target, n, output, animate, interactive, seed, **options):
    """Draw the potential and its forces, exact and as learned by D.

    The target is a run directory, one of its checkpoints, or a preset, whose networks are then untrained. Write ./NAME
    for a run with the name of a preset.

    For points in the plane: the potential Phi of generated and real points, D's regression of it, and D - Phi, with
    the forces. For images: the changes of generated images along grad Phi and along grad D.

    With --interactive: one file that works offline, on which charges in the plane are moved, added and removed, eps and
    d are turned, and free particles follow the force.
    """
    chosen, found, suffix = named(options), None, ".gif" if animate else ".html" if interactive else ".png"
    if animate and interactive:
        raise click.UsageError("--animate and --interactive make different files; drop one of them")
    if target is None and not interactive:
        raise click.UsageError("a RUN or PRESET is missing; only --interactive works without one")
    if target is None and (unused := named({"-n": n, "--seed": seed}) | {flag(name): 0 for name in chosen}):
        raise click.UsageError(f"{', '.join(unused)}: needs a RUN or PRESET, whose points the page shows; add one")
    if animate and (target in PRESETS or not Path(target).is_dir()):
        raise click.UsageError("--animate draws the checkpoints of a run; use its directory, like runs/00000-grid")
    if output.suffix.lower() != suffix:
        raise UserError(f"{output}: {MODES[suffix]} the output is a {suffix} file; use {output.stem}{suffix}")
    if target is None:
        save_page(output)
        say(f"the field of charges, for a browser: {output}")
        return
    space, seed = None, seed or 0
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
    if interactive:
        save_page(output, charges_at(checkpoint, dataset, n, seed))
        say(f"the field of {target} at step {checkpoint.state.step:,}, for a browser: {output}")
        return
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
