"""What commands begin with: the configuration, the data, the checkpoint of a run, and the backend to compute on."""

import signal
import sys
from pathlib import Path
from typing import Any

import click

from minicoulomb.arrays.backend import Backend, open_backend
from minicoulomb.arrays.threads import set_threads
from minicoulomb.cli.console import showing, tell_skipped
from minicoulomb.config import Config
from minicoulomb.data.dataset import Dataset
from minicoulomb.data.sources import BUILT_IN, Found, find, open_dataset
from minicoulomb.errors import UserError
from minicoulomb.presets import resolve
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.run import find_checkpoint

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
PATH = click.Path(path_type=Path)


def run_directory(path: Path) -> Path:
    """The directory of a run that is given by itself or by one of its checkpoints."""
    return path.parent.parent if path.is_file() else path


def configure(preset: str | None, chosen: dict[str, Any]) -> tuple[Config, Found]:
    """The configuration of a preset with the chosen settings, and its data, which are looked at here and only here.

    Without a preset the data choose it; the eps of "points" follows from their spread.
    """
    found = find(chosen.get("data") or resolve(preset).data.data)
    return resolve(preset, found.kind, found.scale, **chosen | _absolute(chosen)), found


def open_data(config: Config, cache: Path, found: Found | None = None) -> Dataset:
    """The data set of a configuration. Images are decoded into `cache`, and the terminal shows how far that is.

    `found` is what `configure` found; without it the data are looked at here.
    """
    return open_dataset(config, cache, showing("preparing"), tell_skipped, found)


def load(path: Path, chosen: dict[str, Any] | None = None) -> tuple[Backend, Checkpoint]:
    """(backend, checkpoint) of a run directory or checkpoint file, with the chosen settings on top of the run's."""
    checkpoint = checkpoints.load(find_checkpoint(path))
    chosen = chosen or {}
    checkpoint = checkpoint._replace(config=checkpoint.config.replace(**(chosen | _absolute(chosen))))
    backend = compute_on(checkpoint.config)
    return backend, checkpoint.to(backend.xp)


def _absolute(settings):
    """The settings that name files, as paths from the root: a run can go on from any working directory."""
    paths = {name: settings[name] for name in ("data", "inception", "fid_reference") if settings.get(name) is not None}
    return {name: path if path in BUILT_IN else str(Path(path).resolve()) for name, path in paths.items()}


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
