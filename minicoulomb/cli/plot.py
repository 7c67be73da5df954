"""`minicoulomb plot`: curves of the metrics of runs."""

import json
import os
from contextlib import suppress
from pathlib import Path

import click

from minicoulomb.cli.common import OUTPUT, PATH, run_directory
from minicoulomb.cli.console import say
from minicoulomb.errors import UserError, printable
from minicoulomb.files import atomic_write
from minicoulomb.pictures.metric_curves import FORMATS, figure, write
from minicoulomb.pictures.metric_series import read_metrics
from minicoulomb.untrusted import opened

# Runs that differ in more settings than these are different experiments, for which names suffice.
SETTINGS = 3
# Characters of a value in the legend, and bytes of config.json, which has about 1,500.
SHOWN, LONGEST = 40, 2**20


@click.command()
@click.argument("runs", type=PATH, nargs=-1, required=True)
@click.option("-o", "output", type=OUTPUT, default=Path("curves.png"), help="picture.png, .svg or .pdf  [curves.png]")
def plot(runs, output):
    """Draw the metrics of runs over each other.

    RUNS may still be training. Needs matplotlib: pip install 'minicoulomb[plot]'.
    """
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"{output}: curves are written to a {', '.join(FORMATS)} file; use -o {output.stem}.png")
    folders = list(dict.fromkeys(map(run_directory, runs)))
    page = figure({printable(name): read_metrics(folder) for name, folder in zip(_names(folders), folders)})
    with atomic_write(output) as file:
        write(page, file, output.suffix.lower()[1:])
    say(f"curves of {', '.join(map(str, folders))}: {output}")


def _names(folders):
    """The runs' names, or paths if names are equal, each with the few settings in which the runs differ."""
    names = [os.path.basename(os.path.realpath(folder)) for folder in folders]  # no error for a loop of links
    if len(set(names)) < len(names):
        names = list(map(str, folders))
    configs = list(map(_config, folders))
    differing = [key for key in configs[0] if len({str(config.get(key)) for config in configs}) > 1]
    if len(differing) > SETTINGS:
        return names
    return [
        ", ".join([name, *(f"{key} {config[key]!s:.{SHOWN}}" for key in differing if key in config)])
        for name, config in zip(names, configs)
    ]


def _config(folder):
    """The settings in config.json that are plain values; none if it is missing or damaged, for they are only shown."""
    with suppress(Exception), opened(folder / "config.json") as file:
        found = json.loads(file.read(LONGEST)).items()
        return {name: value for name, value in found if value is None or isinstance(value, str | int | float)}
    return {}
