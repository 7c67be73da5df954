"""Settings as options of the command line: `lr_g` is --lr-g, a bool is --tf32/--no-tf32."""

import os
import re
from contextlib import suppress
from typing import Any

import click

from minicoulomb.cli.common import UserPath, configure
from minicoulomb.config import FILES, SETTINGS, Config
from minicoulomb.errors import UserError
from minicoulomb.presets import FROM_DATA, PRESETS

# The headings of `train --help` after the first one, each with the first option below it.
HEADINGS = {
    "data": "Data",
    "generator": "Networks",
    "d": "Field",
    "objective": "Algorithm 1",
    "lr_g": "Adam",
    "seed": "Computing",
    "batch_statistics": "Output",
    "fid_every": "FID while training",
}
EXAMPLES = [
    ("minicoulomb train", "25 Gaussians, about two minutes"),
    ("minicoulomb train --preset ring --help", "the settings of another preset"),
    ("minicoulomb train --data points.npy", "points, or images in an array"),
    ("minicoulomb train --data photos/", "images in a folder or archive"),
    ("minicoulomb train --data book.txt", "text, in lines of characters"),
    ("minicoulomb train --resume runs/00000-grid", "go on after Ctrl-C, bit for bit"),
]


class Grouped(click.Command):
    """A command whose help has headings, and in brackets the settings that a run would use."""

    def parse_args(self, ctx, args):
        ctx.obj = self.make_parser(ctx).parse_args(list(args))[0]  # --help prints before options reach their values
        return super().parse_args(ctx, args)

    def format_options(self, ctx, formatter):
        values = settings_of(ctx.obj.get("preset"), ctx.obj.get("data"))
        groups = {"Run": (rows := [])}
        *options, help_option = self.get_params(ctx)
        for option in (help_option, *options):
            if option.name in HEADINGS:
                groups[HEADINGS[option.name]] = rows = []
            names, about = option.get_help_record(ctx)
            rows.append((names, _with_value(about, values.get(option.name))))
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl(rows)
        with formatter.section("Examples"):
            formatter.write_dl(EXAMPLES, col_max=50)


def settings_of(preset: str | None, data: str | None) -> dict[str, Any]:
    """The settings of a run with this preset and these data, or of the preset alone if its data are missing."""
    with suppress(UserError):
        return configure(preset, {"data": os.path.expanduser(data)} if data else {})[0].settings()
    settings = Config.of(**PRESETS.get(preset or "grid", {})).settings() | {"data": data}
    return settings | dict.fromkeys(FROM_DATA.get(preset or "grid", ()), "from the data")


def config_options(*names: str):
    """A decorator that adds an option for each named setting, by default for all of them, in their order."""

    def decorate(command):
        for f in reversed([f for f in SETTINGS.values() if not names or f.name in names]):
            command = _option(f)(command)
        return command

    return decorate


def named(options: dict[str, Any]) -> dict[str, Any]:
    """The options that the command line names."""
    return {name: value for name, value in options.items() if value is not None}


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _option(f):
    about = f.metadata["help"]
    if f.type is bool:
        return click.option(f"{flag(f.name)}/--no-{flag(f.name)[2:]}", f.name, default=None, help=about)
    if f.metadata["choices"]:
        return click.option(flag(f.name), f.name, type=click.Choice(f.metadata["choices"]), help=about)
    if f.name in FILES:
        return click.option(flag(f.name), f.name, type=UserPath(), help=about)
    scalar = next(kind for kind in (str, int, float) if kind in (f.type, *getattr(f.type, "__args__", ())))
    return click.option(flag(f.name), f.name, type=scalar, help=about)


def _with_value(about, value):
    """The help text of an option with a run's value in brackets, in place of what it says of None."""
    if value is None:
        return about
    value = ("off", "on")[value] if isinstance(value, bool) else value
    return re.sub(r"  \[.*\]$", "", about) + f"  [{value}]"
