"""Settings as options of the command line: `lr_g` is --lr-g, a bool is --tf32/--no-tf32."""

from typing import Any

import click

from minicoulomb.cli.common import FILES, UserPath
from minicoulomb.config import SETTINGS


def config_options(*names: str):
    """A decorator that adds an option for each named setting, by default for all of them, in their order.

    The help names the defaults of the whole set only, because named settings change those of a run.
    """

    def decorate(command):
        for f in reversed([f for f in SETTINGS.values() if not names or f.name in names]):
            command = _option(f, with_default=not names)(command)
        return command

    return decorate


def named(options: dict[str, Any]) -> dict[str, Any]:
    """The options that the command line names."""
    return {name: value for name, value in options.items() if value is not None}


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _option(f, with_default):
    about = f.metadata["help"] + (f"  [{f.default}]" if with_default and f.default is not None else "")
    if f.type is bool:
        return click.option(f"{flag(f.name)}/--no-{flag(f.name)[2:]}", f.name, default=None, help=about)
    if f.metadata["choices"]:
        return click.option(flag(f.name), f.name, type=click.Choice(f.metadata["choices"]), help=about)
    if f.name in FILES:
        return click.option(flag(f.name), f.name, type=UserPath(), help=about)
    scalar = next(kind for kind in (str, int, float) if kind in (f.type, *getattr(f.type, "__args__", ())))
    return click.option(flag(f.name), f.name, type=scalar, help=about)
