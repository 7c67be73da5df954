"""The beginning of most commands: configuration, data, checkpoint and backend; and how errors are printed."""

import errno
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np

from minicoulomb.arrays.backend import Backend, open_backend
from minicoulomb.arrays.threads import set_threads
from minicoulomb.cli.console import PATIENCE, showing, skipped, warn
from minicoulomb.config import FILES, Config
from minicoulomb.data.dataset import Dataset, check_shape
from minicoulomb.data.sources import BUILT_IN, Found, find, open_dataset, suit
from minicoulomb.diagnostics import Diverged
from minicoulomb.errors import UserError, printable
from minicoulomb.files import check_place
from minicoulomb.models import SampleSpace
from minicoulomb.presets import PRESETS, resolve
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.run import load as load_checkpoint
from minicoulomb.training.signals import handling
from minicoulomb.untrusted import opened
from minicoulomb.world.launch import current

# Data whose location and scale differ by less, in units of the scale, are the same.
ROUNDING = 1e-6
# Bytes of config.json that are read; it has about 1,500.
LONGEST = 2**20
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


class UserPath(click.Path):
    """A path that is not empty, which would mean the working directory. `~` is the home folder, as in --out=~/runs."""

    def convert(self, value, param, ctx):
        if not str(value).strip():
            self.fail("must not be empty; use . for the working directory", param, ctx)
        value = os.path.expanduser(value)
        try:
            os.lstat(value)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                self.fail("must be shorter: the system has no such long names", param, ctx)
        return super().convert(value, param, ctx)


PATH = UserPath(path_type=Path)


class Output(UserPath):
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
    return (path if path.parts[1:] else path.absolute()).parent.parent if path.is_file() else path


def configure(preset: str | None, chosen: dict[str, Any]) -> tuple[Config, Found]:
    """The configuration of a preset with the chosen settings, and what `find` says of its data.

    Without a preset the kind of the data determines it; the settings of "points" follow from their distances,
    and the size and channels of "images" from a look at a few.
    """
    as_text = bool(chosen.get("length") or PRESETS.get(preset or "", {}).get("length"))
    found = find(chosen.get("data") or resolve(preset).data.data, as_text)
    if preset in (None, "images") and found.kind in ("images", "array"):
        found, chosen = suit(found, chosen)
    return resolve(preset, found.kind, found.dataset, **chosen | _absolute(chosen)), found


def open_data(
    config: Config, cache: Path, found: Found | None = None, space: SampleSpace | None = None, same: bool = False
) -> Dataset:
    """The data set of a configuration; images are decoded into `cache`, with a progress bar on a terminal.

    found   from `configure`, which looks at the data only once
    space   that of a run which meets the data. Files of images are decoded to the size of its samples, and its location
            is subtracted from points. UserError for data of another shape, before they are decoded
    same    the data must be those that the run started with
    """
    found = found or find(config.data.data, config.data.length is not None)
    alphabet = space.alphabet if space else ""
    if space and not (alphabet and found.kind == "text"):
        decoded = found.kind in ("images", "array") and len(space.shape) == 3
        size, _, channels = space.shape if decoded else (None, None, None)
        cut = {"crop": config.data.crop, "pad": config.data.pad} if decoded else {"crop": None, "pad": False}
        config = config.replace(size=size, channels=channels, **cut)
        check_shape(config.data.data, found.shape(config), space.shape)
    progress = showing("reading", "MB", PATIENCE) if found.kind == "text" else showing("preparing")
    dataset = open_dataset(config, cache, progress, skipped, found, alphabet)
    warn(dataset.remark)
    if space and same:
        _check_same(config.data.data, SampleSpace.of(dataset), space)
    return dataset.in_space(space) if space else dataset


def open_reference(config: Config, cache: Path, found: Found, space: SampleSpace) -> Dataset:
    """The data of a reference, with a remark if they have another shape than the run's samples.

    FID and KID allow that: Inception resizes all images.
    """
    dataset = open_data(config, cache, found)
    if dataset.shape != space.shape:
        warn(f"reference {config.data.data}: has shape {dataset.shape}, the run's samples have {space.shape}")
    return dataset


def _check_same(data, own, run):
    """UserError if points have another scale or location than those of the run, by more than rounding."""
    moved = np.abs(np.subtract(own.location, run.location)).max() if run.location else 0.0  # old runs have none
    if max(moved, abs(own.scale - run.scale)) > ROUNDING * run.scale:
        found, wanted = (f"scale {space.scale:.6g} and location {space.location}" for space in (own, run))
        raise UserError(f"data {data}: {found}: must be the run's {wanted}; use --data, or --init-from for a new run")


def load(path: Path, chosen: dict[str, Any]) -> tuple[Backend, Checkpoint]:
    """(backend, checkpoint) of a run directory or checkpoint file, with `chosen` in place of the run's settings."""
    checkpoint = load_checkpoint(path)
    if path.is_dir():
        warn(_edited(path / "config.json", checkpoint.config.settings(), chosen))
    checkpoint = checkpoint._replace(config=checkpoint.config.replace(**(chosen | _absolute(chosen))))
    backend = compute_on(checkpoint.config)
    return backend, checkpoint.to(backend.xp)


def _edited(path, settings, chosen):
    """A remark if a run's config.json does not have the settings of its last checkpoint, which decide."""
    rule = "the checkpoint's settings are used; use options to change them"
    try:
        with opened(path) as file:
            found = dict(json.loads(file.read(LONGEST)))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        return f"{path}: cannot be read ({error!s:.200}): {rule}"
    other = {name for name, value in found.items() if name not in settings or value != settings[name]} - set(chosen)
    values = ", ".join(f"{name} {found[name]!r:.80} (there {settings.get(name)!r})" for name in sorted(other))
    return f"{path}: differs from the run's last checkpoint in {values:.1000}: {rule}" if other else None


def _absolute(settings):
    """The settings that name files, as absolute paths: a run can continue from any working directory."""
    paths = {name: settings[name] for name in FILES if settings.get(name) is not None}
    return {name: path if path in BUILT_IN else os.path.realpath(path) for name, path in paths.items()}


def compute_on(config: Config) -> Backend:
    """The configured backend, with a remark on the choice of `auto`; the host gets the configured number of threads."""
    if (world := current()) is not None:
        backend = world.open_backend(config)
    else:
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


def _silence():
    """Send what cannot be written nowhere, so that Python does not try to write it again at its end."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Command(PrintsErrors, click.Command):
    """A program with one command."""
