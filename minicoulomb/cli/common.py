"""What commands that take a run begin with: its checkpoint, its directory, and the backend to compute on."""

import signal
import sys
from pathlib import Path
from typing import Any

import click

from minicoulomb.arrays.backend import Backend, open_backend
from minicoulomb.arrays.threads import set_threads
from minicoulomb.config import Config
from minicoulomb.errors import UserError
from minicoulomb.presets import absolute
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.run import find_checkpoint

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
PATH = click.Path(path_type=Path)


def run_directory(path: Path) -> Path:
    """The directory of a run that is given by itself or by one of its checkpoints."""
    return path.parent.parent if path.is_file() else path


def load(path: Path, chosen: dict[str, Any] | None = None) -> tuple[Backend, Checkpoint]:
    """(backend, checkpoint) of a run directory or checkpoint file, with the chosen settings on top of the run's."""
    checkpoint = checkpoints.load(find_checkpoint(path))
    chosen = chosen or {}
    checkpoint = checkpoint._replace(config=checkpoint.config.replace(**(chosen | absolute(chosen))))
    backend = compute_on(checkpoint.config)
    return backend, checkpoint.to(backend.xp)


def compute_on(config: Config) -> Backend:
    """The configured backend, with the configured number of threads on the host."""
    set_threads(config.run.threads)
    return open_backend(config.run.backend, config.run.device, config.run.tf32)


class _TellsErrors:
    """A command that prints a UserError in one line, without a traceback, and exits with status 1."""

    def invoke(self, ctx):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            click.echo("\nstopped", err=True)
            sys.exit(128 + signal.SIGINT)


class Command(_TellsErrors, click.Command):
    """A program of one command."""


class Commands(_TellsErrors, click.Group):
    """A program of several commands."""
