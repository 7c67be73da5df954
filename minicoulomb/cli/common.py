"""The beginning of most commands: configuration, data, checkpoint and backend; and how errors are printed."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from minicoulomb.arrays.backend import Backend, open_backend
from minicoulomb.arrays.threads import set_threads
from minicoulomb.cli.console import showing, skipped, warn
from minicoulomb.config import Config
from minicoulomb.data.dataset import Dataset
from minicoulomb.data.sources import BUILT_IN, Found, find, open_dataset
from minicoulomb.errors import UserError
from minicoulomb.gan import Diverged
from minicoulomb.presets import resolve
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.run import load as load_checkpoint
from minicoulomb.training.signals import handling

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


class UserPath(click.Path):
    """A path, in which `~` is the user's home: a shell leaves it to the program in --out=~/runs."""

    def convert(self, value, param, ctx):
        return super().convert(os.path.expanduser(value), param, ctx)


PATH = UserPath(path_type=Path)
# The settings that name files.
FILES = ("data", "inception", "fid_reference")


def run_directory(path: Path) -> Path:
    """The run directory `path`, or that of the checkpoint `path`."""
    return (path if path.parts[1:] else path.absolute()).parent.parent if path.is_file() else path


def configure(preset: str | None, chosen: dict[str, Any]) -> tuple[Config, Found]:
    """The configuration of a preset with the chosen settings, and what `find` says of its data.

    Without a preset the kind of the data determines it; the eps of "points" follows from their spread.
    """
    found = find(chosen.get("data") or resolve(preset).data.data)
    return resolve(preset, found.kind, found.scale, **chosen | _absolute(chosen)), found


def open_data(config: Config, cache: Path, found: Found | None = None) -> Dataset:
    """The data set of a configuration; images are decoded into `cache`, with a progress bar on a terminal.

    found   from `configure`, which looks at the data only once
    """
    return open_dataset(config, cache, showing("preparing"), skipped, found)


def load(path: Path, chosen: dict[str, Any]) -> tuple[Backend, Checkpoint]:
    """(backend, checkpoint) of a run directory or checkpoint file, with `chosen` in place of the run's settings."""
    checkpoint = load_checkpoint(path)
    checkpoint = checkpoint._replace(config=checkpoint.config.replace(**(chosen | _absolute(chosen))))
    backend = compute_on(checkpoint.config)
    return backend, checkpoint.to(backend.xp)


def _absolute(settings):
    """The settings that name files, as absolute paths: a run can continue from any working directory."""
    paths = {name: settings[name] for name in FILES if settings.get(name) is not None}
    return {name: path if path in BUILT_IN else str(Path(path).resolve()) for name, path in paths.items()}


def compute_on(config: Config) -> Backend:
    """The configured backend, with a remark on the choice of `auto`; the host gets the configured number of threads."""
    set_threads(config.run.threads)
    backend = open_backend(config.run.backend, config.run.device, config.run.tf32)
    warn(backend.choice)
    return backend


class PrintsErrors:
    """A command that prints a UserError in one line, with a remedy in terms of options, and exits with status 1.

    So it does if its output cannot be written; a closed pipe, as of `| head`, needs no words.
    """

    def main(self, *args, **kwargs):
        try:
            return super().main(*args, **kwargs)
        except OSError as error:  # all files are opened where it is explained
            what = f"{error.filename or 'output'}: cannot be written ({error.strerror})"
            with suppress(OSError):
                click.echo(f"Error: {what}; send it elsewhere", err=True)
            sys.exit(1)
        finally:
            _silence()

    def invoke(self, ctx):
        try:
            with handling(lambda number, _: sys.exit(128 + number), "SIGTERM", "SIGHUP"):
                return super().invoke(ctx)
        except UserError as error:
            remedy = "; lower --lr-g or --lr-d, or use a larger --eps" * isinstance(error, Diverged)
            raise click.ClickException(f"{error}{remedy}") from None
        except KeyboardInterrupt:
            click.echo("\nstopped", err=True)
            sys.exit(128 + signal.SIGINT)


def _silence():
    """Send what cannot be written nowhere, so that Python does not try to write it again at its end."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Command(PrintsErrors, click.Command):
    """A program with one command."""
