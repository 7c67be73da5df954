"""`minicoulomb plot`: curves of what runs logged."""

from pathlib import Path

import click

from minicoulomb.commands.opening import PATH, run_directory
from minicoulomb.curves import FORMATS, figure, read_metrics, write
from minicoulomb.errors import UserError
from minicoulomb.files import written_aside


@click.command()
@click.argument("runs", type=PATH, nargs=-1, required=True)
@click.option("-o", "output", type=PATH, default=Path("curves.png"), help="a picture.png, .svg or .pdf  [curves.png]")
def plot(runs, output):
    """Draw what RUNS logged, over each other: losses, squared MMD, D's fit, modes, FID, eps, learning rates, speed.

    A run that is being trained is drawn as far as it is. Takes matplotlib: pip install 'minicoulomb[plot]'.
    """
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"{output}: curves are a {', '.join(FORMATS)} file; use -o {output.stem}.png")
    page = figure({name: read_metrics(run) for name, run in _named(runs).items()})
    with written_aside(output) as file:
        write(page, file, output.suffix.lower()[1:])
    click.echo(f"curves of {', '.join(_named(runs))}: {output}")


def _named(runs):
    """The run directories by their names, or by the paths given where names are alike."""
    folders = list(dict.fromkeys(map(run_directory, runs)))
    names = [folder.resolve().name for folder in folders]
    return dict(zip(names if len(set(names)) == len(names) else map(str, folders), folders))
