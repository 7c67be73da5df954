"""What commands that take a run begin with: its checkpoint, its directory, and the backend to compute on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from minicoulomb import checkpoint as checkpoints
from minicoulomb.backend import Backend, open_backend
from minicoulomb.checkpoint import Checkpoint
from minicoulomb.config import Config
from minicoulomb.presets import absolute
from minicoulomb.run import find_checkpoint
from minicoulomb.threads import set_threads

PATH = click.Path(path_type=Path)


def run_directory(path: Path) -> Path:
    """The directory of a run that is given by itself or by one of its checkpoints."""
    return path.parent.parent if path.is_file() else path


def load(path: Path, chosen: dict[str, Any] | None = None) -> tuple[Backend, Checkpoint]:
    """(backend, checkpoint) of a run directory or checkpoint file, with the chosen settings on top of the run's."""
    checkpoint = checkpoints.load(find_checkpoint(path))
    chosen = chosen or {}
    checkpoint = checkpoint._replace(config=replace(checkpoint.config, **(chosen | absolute(chosen))))
    backend = compute_on(checkpoint.config)
    return backend, checkpoint.to(backend.xp)


def compute_on(config: Config) -> Backend:
    """The configured backend, with the configured number of threads on the host."""
    set_threads(config.threads)
    return open_backend(config.backend, config.device, config.tf32)
