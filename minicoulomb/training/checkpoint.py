"""A checkpoint is one .npz: the arrays of the training state, and a JSON text that says what they are.

    theta, w, moments_g, moments_d, statistics       always
    average, average_statistics                      with averaged weights
    about                                            uint8: JSON with format, step, config, space, versions

It is written aside, synced and renamed, so it is whole or not there; equal states give equal bytes. Nothing is
pickled. Nobody needs to trust one: loading compares names, shapes, dtypes and sizes with what the configuration calls
for before it reads any array, and whatever is wrong is one UserError.
"""

import json
import platform
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicoulomb import __version__
from minicoulomb.arrays.backend import to_host
from minicoulomb.arrays.limits import check_memory
from minicoulomb.config import Config
from minicoulomb.diagnostics import Diverged
from minicoulomb.errors import UserError, explained
from minicoulomb.files import atomic_write
from minicoulomb.gan import State, initial_state
from minicoulomb.models import SampleSpace, build
from minicoulomb.network import Network
from minicoulomb.untrusted import array_in, opened, opened_zip

FORMAT, READ = 3, (2, 3)  # format 2 has no location
# The JSON text is about 2 kB; a damaged length must not make us read gigabytes.
LONGEST_ABOUT = 2**20
# Bytes of a file for each layer that its configuration may have; a layer of one unit has 24 with Adam's moments.
LAYER_BYTES = 8
# float64 and JSON hold every step up to here.
LAST_STEP = 2**53


class Checkpoint(NamedTuple):
    """A training state with all that it takes to go on from it, or to sample from it."""

    config: Config
    space: SampleSpace
    G: Network
    D: Network
    state: State

    def to(self, xp) -> "Checkpoint":
        """The same with its arrays in the array library `xp`."""
        arrays = {name: xp.asarray(getattr(self.state, name)) for name in _shapes(self.config, self.G, self.D)}
        return self._replace(state=State(self.state.step, **arrays))


def initial(config: Config, space: SampleSpace, xp=np) -> Checkpoint:
    """Step 0 of a run: the configured networks with fresh parameters, as arrays of `xp`."""
    G, D = build(config.networks, space)
    _check_batch(config, G, D, xp)
    return Checkpoint(
        config, space, G, D, initial_state(G, D, config.run.seed, config.run.dtype, config.algorithm.average > 0, xp)
    )


def _check_batch(config, G, D, xp):
    """UserError if the outputs of the layers with parameters, for x and for y, and the draws do not fit."""
    numbers = [sum(prod(shape) for _, shape, size in network.summary() if size) for network in (G, D)]
    n, updates, drawn = config.algorithm.batch_size, config.algorithm.d_steps, prod(D.input_shape)
    drawn = G.input_shape[0] + drawn * (3 if config.algorithm.noise else 1)
    wanted = n * (numbers[0] + 2 * numbers[1] + updates * drawn) * np.dtype(config.run.dtype).itemsize
    what = f"batch_size {n:,}" + f" with d_steps {updates:,}" * (updates > 1)
    check_memory(what, wanted, "use a smaller --batch-size, or smaller networks", xp)


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint to `path`.

    Diverged if a number of the state is not finite; UserError if the disk is full or the folder cannot be written.
    """
    config, space, G, D, state = checkpoint
    about = {
        "format": FORMAT,
        "step": state.step,
        "config": config.settings(),
        "space": space._asdict(),
        "versions": {"minicoulomb": __version__, "numpy": np.__version__, "python": platform.python_version()},
    }
    arrays: dict[str, Any] = {name: to_host(getattr(state, name)) for name in _shapes(config, G, D)}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise Diverged(name)
    with atomic_write(path) as file:
        np.savez(file, **arrays, about=np.frombuffer(json.dumps(about).encode(), np.uint8))


def load(path: Path) -> Checkpoint:
    """The checkpoint in `path`, on the host; UserError says what is wrong with any other file."""
    with _opened(path) as (archive, about):
        try:
            config, space = Config.of(**about["config"]), _space(about["space"])
            _check_layers(config.networks, path.stat().st_size)
            G, D = build(config.networks, space)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        arrays = _read_arrays(path, archive, config, G, D)
    return Checkpoint(config, space, G, D, State(about["step"], **arrays))


def versions(path: Path) -> dict[str, str]:
    """The versions of minicoulomb, NumPy and Python that wrote the checkpoint in `path`."""
    with _opened(path) as (_, about):
        return {str(name): str(number) for name, number in about.get("versions", {}).items()}


def copy_weights(source: Checkpoint, target: Checkpoint, name: str = "the source") -> None:
    """Write the source's parameters and statistics over the target's; UserError with its name if their networks differ.

    If only the target averages its weights, its averages start from the source's weights.
    """
    arrays = vars(source.state)
    if source.state.average is None:
        arrays = {**arrays, "average": source.state.theta, "average_statistics": source.state.statistics}
    if source.space.alphabet != target.space.alphabet:
        rule = f"{len(source.space.alphabet):,} characters, not this run's {len(target.space.alphabet):,}, or others"
        raise UserError(f"{name}: has an alphabet of {rule}; use the data that it was trained on")
    if _layout(source) != _layout(target):
        found, wanted = (f"G {model.G.size:,} and D {model.D.size:,}" for model in (source, target))
        rule = f"must be networks like this run's, {wanted}, layer by layer"
        raise UserError(f"{name}: networks of {found} parameters: {rule}; use the options that it was trained with")
    for array in _shapes(target.config, target.G, target.D):
        if not array.startswith("moments"):
            getattr(target.state, array)[...] = arrays[array]


def _layout(checkpoint):
    """The name and shape of each parameter, and the numbers of statistics."""
    _, _, G, D, state = checkpoint
    views = [*G.named_views(state.theta).items(), *D.named_views(state.w).items()]
    return [(name, view.shape) for name, view in views], G.statistics_size, D.statistics_size


def _shapes(config, G, D):
    """The shape of each array of a state, by name."""
    shapes = {"theta": (G.size,), "w": (D.size,), "moments_g": (2, G.size), "moments_d": (2, D.size)}
    shapes["statistics"] = (G.statistics_size,)
    if config.algorithm.average:
        shapes |= {"average": (G.size,), "average_statistics": (G.statistics_size,)}
    return shapes


@contextmanager
def _opened(path) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    """The archive and the description of what it holds, within which every exception becomes a UserError."""
    with (
        explained(f"{path}: cannot be read", "give a run directory or one of its checkpoints/*.npz"),
        opened(path) as file,
        explained(f"{path}: not a whole checkpoint", "use another of the run's checkpoints", Exception),
        opened_zip(file) as archive,
    ):
        yield archive, _read_about(path, archive)


def _read_about(path, archive):
    def check(name, shape, dtype):
        if dtype != np.uint8 or len(shape) != 1 or shape[0] > LONGEST_ABOUT:
            found = f"its description declares {dtype} {shape}"
            raise UserError(f"{path}: {found}: must be about 2000 bytes; it is damaged")

    about = json.loads(array_in(archive, "about", check).tobytes())
    if about["format"] not in READ:
        writer = about.get("versions", {}).get("minicoulomb", "another version")
        raise UserError(
            f"{path}: format {about['format']!s:.20}, written by minicoulomb {writer!s:.20}: this version reads format "
            f"{FORMAT}; install the version or commit that wrote it, or train again"
        )
    step = about["step"]
    if type(step) is not int or not 0 <= step <= LAST_STEP:
        raise UserError(f"{path}: step {step!r:.20}: must be an int from 0 to 2**53; the file is damaged")
    return about


def _space(values):
    """The space of samples from its entries; UserError names one that no data set has."""
    _check_alphabet(values)
    for name in {*SampleSpace._fields[:3], *values} - {"alphabet"}:  # later fields have defaults
        numbers = values.get(name)
        numbers = numbers if isinstance(numbers, list) else [numbers]
        whole = all(type(n) in (int, float) and abs(n) <= sys.float_info.max for n in numbers)
        if name == "shape":
            whole = whole and 1 <= len(numbers) <= 3 and all(type(n) is int and n >= 1 for n in numbers)
        elif name in ("scale", "bound"):
            whole = whole and len(numbers) == 1 and numbers[0] > 0
        elif isinstance(values[name], list):  # the location of points has a number for each coordinate
            whole = whole and [len(numbers)] == values["shape"]
        if not whole or name not in SampleSpace._fields:
            raise UserError(f"space {name!s:.20} {values.get(name)!r:.40}: no data have it; the file is damaged")
    return SampleSpace(**{name: tuple(n) if isinstance(n, list) else n for name, n in values.items()})


def _check_alphabet(values):
    """UserError unless there are as many characters as samples have, but one, or no text."""
    alphabet, shape = values.get("alphabet", ""), values.get("shape")
    of_text = isinstance(alphabet, str) and (not alphabet or (len(shape) == 2 and shape[1] == len(alphabet) + 1))
    if not of_text or len(set(alphabet)) < len(alphabet) or any("\ud800" <= c <= "\udfff" for c in alphabet):
        raise UserError(f"space alphabet {alphabet!r:.40}: no text has it; the file is damaged")


def _check_layers(networks, size):
    """UserError if a file of so many bytes cannot hold networks of so many layers, before they are built."""
    layers = networks.g_depth + networks.d_depth + 2 * networks.extra_layers
    if layers * LAYER_BYTES > size:
        raise UserError(f"networks of {layers:,} layers in a file of {size:,} bytes: each takes more; it is damaged")


def _read_arrays(path, archive, config, G, D):
    expected, dtype = _shapes(config, G, D), np.dtype(config.run.dtype)
    found = {name.removesuffix(".npy") for name in archive.namelist()} - {"about"}
    if found != set(expected):
        names = f"{sorted(found)!s:.200}"
        raise UserError(f"{path}: holds {names}, its configuration calls for {sorted(expected)}; it is damaged")

    def check(name, shape, found_dtype):
        if shape != expected[name] or found_dtype != dtype:
            found = f"{path}: {name} is {found_dtype} {shape}"
            raise UserError(
                f"{found}, its configuration calls for {dtype} {expected[name]}; it is damaged or of another model"
            )

    arrays = {name: array_in(archive, name, check) for name in expected}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {name} holds NaN or infinity, of a run that diverged; use an earlier checkpoint")
    return arrays
