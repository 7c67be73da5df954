"""The beginning of most commands: a run's checkpoint and directory, the backend, and how errors are printed."""

import signal
import sys
from pathlib import Path
from typing import Any

import click

from minicoulomb.arrays.backend import Backend, open_backend
from minicoulomb.arrays.threads import set_threads
from minicoulomb.config import Config
from minicoulomb.errors import UserError
from minicoulomb.gan import Diverged
from minicoulomb.presets import absolute
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.run import find_checkpoint

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
PATH = click.Path(path_type=Path)
# Remedies in terms of options, for errors that name none.
REMEDIES = {Diverged: ["lower --lr-g or --lr-d, or use a larger --eps"]}


def run_directory(path: Path) -> Path:
    """The run directory `path`, or that of the checkpoint `path`."""
    return path.parent.parent if path.is_file() else path


def load(path: Path, chosen: dict[str, Any] | None = None) -> tuple[Backend, Checkpoint]:
    """(backend, checkpoint) of a run directory or checkpoint file, with `chosen` in place of the run's settings."""
    checkpoint = checkpoints.load(find_checkpoint(path))
    chosen = chosen or {}
    checkpoint = checkpoint._replace(config=checkpoint.config.replace(**(chosen | absolute(chosen))))
    backend = compute_on(checkpoint.config)
    return backend, checkpoint.to(backend.xp)


def compute_on(config: Config) -> Backend:
    """The configured backend; the host gets the configured number of threads."""
    set_threads(config.run.threads)
    return open_backend(config.run.backend, config.run.device, config.run.tf32)


class _PrintsErrors:
    """A command that prints a UserError in one line, with a remedy in terms of options, and exits with status 1."""

    def invoke(self, ctx):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException("; ".join([str(error), *REMEDIES.get(type(error), [])])) from None
        except KeyboardInterrupt:
            click.echo("\nstopped", err=True)
            sys.exit(128 + signal.SIGINT)


class Command(_PrintsErrors, click.Command):
    """A program with one command."""


class Commands(_PrintsErrors, click.Group):
    """A program with several commands."""
