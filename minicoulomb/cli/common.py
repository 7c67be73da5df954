"""The beginning of most commands: configuration, data, checkpoint and backend; and how errors are printed."""

import signal
import sys
from pathlib import Path
from typing import Any

import click

from minicoulomb.arrays.backend import Backend, open_backend
from minicoulomb.arrays.threads import set_threads
from minicoulomb.cli.console import printable, showing, skipped, warn
from minicoulomb.config import Config
from minicoulomb.data.dataset import Dataset
from minicoulomb.data.sources import BUILT_IN, Found, find, open_dataset
from minicoulomb.errors import UserError
from minicoulomb.files import check_place
from minicoulomb.gan import Diverged
from minicoulomb.presets import resolve
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.run import find_checkpoint

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
PATH = click.Path(path_type=Path)


class Output(click.Path):
    """A path to write: if it has a suffix, it is that of a file, and its place is checked before the computation."""

    def convert(self, value, param, ctx):
        path = Path(super().convert(value, param, ctx))
        if path.suffix:
            check_place(path)
        elif not path.name:
            raise UserError(f"{str(value)!r}: is no name of a file; choose one")
        return path


OUTPUT = Output(path_type=Path)
SMALLER = "use a smaller --batch-size, -n or --size, or smaller networks"


def run_directory(path: Path) -> Path:
    """The run directory `path`, or that of the checkpoint `path`."""
    return path.parent.parent if path.is_file() else path


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
    checkpoint = checkpoints.load(find_checkpoint(path))
    checkpoint = checkpoint._replace(config=checkpoint.config.replace(**(chosen | _absolute(chosen))))
    backend = compute_on(checkpoint.config)
    return backend, checkpoint.to(backend.xp)


def _absolute(settings):
    """The settings that name files, as absolute paths: a run can continue from any working directory."""
    paths = {name: settings[name] for name in ("data", "inception", "fid_reference") if settings.get(name) is not None}
    return {name: path if path in BUILT_IN else str(Path(path).resolve()) for name, path in paths.items()}


def compute_on(config: Config) -> Backend:
    """The configured backend, with a remark on the choice of `auto`; the host gets the configured number of threads."""
    set_threads(config.run.threads)
    backend = open_backend(config.run.backend, config.run.device, config.run.tf32)
    warn(backend.choice)
    return backend


class PrintsErrors:
    """A command that prints a UserError in one line, with a remedy in terms of options, and exits with status 1."""

    def invoke(self, ctx):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            return super().invoke(ctx)
        except UserError as error:
            remedy = "; lower --lr-g or --lr-d, or use a larger --eps" * isinstance(error, Diverged)
            raise click.ClickException(printable(f"{error}{remedy}")) from None
        except click.ClickException as error:
            error.message = printable(error.message)
            raise
        except MemoryError as error:  # NumPy's and CuPy's say how much they wanted
            reason = f"{error}".rstrip(".") or "the memory is full"
            raise click.ClickException(printable(f"{reason}; {SMALLER}")) from None
        except OSError as error:
            if not (error.filename or isinstance(error, FileNotFoundError)):
                raise
            place = error.filename or "the working directory"
            remedy = "choose another place, or change its permissions"
            raise click.ClickException(printable(f"{place}: {error.strerror}; {remedy}")) from None
        except KeyboardInterrupt:
            click.echo("\nstopped", err=True)
            sys.exit(128 + signal.SIGINT)


class Command(PrintsErrors, click.Command):
    """A program with one command."""
