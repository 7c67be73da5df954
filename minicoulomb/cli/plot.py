"""`minicoulomb plot`: curves of what runs logged."""

import json
from pathlib import Path

import click

from minicoulomb.cli.common import PATH, run_directory
from minicoulomb.errors import UserError
from minicoulomb.files import atomic_write
from minicoulomb.pictures.metric_curves import FORMATS, figure, write
from minicoulomb.pictures.metric_series import read_metrics

# Runs that differ in more settings than these are other experiments, and go by their names.
SETTINGS = 3


@click.command()
@click.argument("runs", type=PATH, nargs=-1, required=True)
@click.option("-o", "output", type=PATH, default=Path("curves.png"), help="a picture.png, .svg or .pdf  [curves.png]")
def plot(runs, output):
    """Draw what RUNS logged, over each other: losses, squared MMD, D's fit, modes, FID, eps, learning rates, speed.

    A run that is being trained is drawn as far as it is. Takes matplotlib: pip install 'minicoulomb[plot]'.
    """
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"{output}: curves are a {', '.join(FORMATS)} file; use -o {output.stem}.png")
    folders = list(dict.fromkeys(map(run_directory, runs)))
    page = figure({name: read_metrics(folder) for name, folder in zip(_names(folders), folders)})
    with atomic_write(output) as file:
        write(page, file, output.suffix.lower()[1:])
    click.echo(f"curves of {', '.join(map(str, folders))}: {output}")


def _names(folders):
    """The runs' names, or paths where those are alike, each with the few settings in which the runs differ."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = list(map(str, folders))
    configs = list(map(_config, folders))
    differing = [key for key in configs[0] if len({str(config.get(key)) for config in configs}) > 1]
    if len(differing) > SETTINGS:
        return names
    return [
        ", ".join([name, *(f"{key} {config[key]}" for key in differing if key in config)])
        for name, config in zip(names, configs)
    ]


def _config(folder):
    """What config.json says, nothing where it cannot be read."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
