"""A checkpoint is one .npz: the arrays of the training state, and a JSON text that says what they are.

    theta, w, moments_g, moments_d, statistics       always
    average, average_statistics                      with averaged weights
    about                                            uint8: JSON with format, step, config, space, versions

It is written aside, synced and renamed, so it is whole or not there; equal states give equal bytes. Nothing is
pickled. Loading compares names, shapes, dtypes and sizes with what the configuration calls for before it reads
any array.
"""

import json
import platform
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicoulomb import __version__
from minicoulomb.arrays.backend import to_host
from minicoulomb.arrays.limits import check_memory
from minicoulomb.config import Config
from minicoulomb.errors import UserError, explained
from minicoulomb.files import atomic_write
from minicoulomb.gan import State, initial_state
from minicoulomb.models import SampleSpace, build
from minicoulomb.network import Network

FORMAT = 2
# Exceptions on bytes that are not those of a checkpoint.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, KeyError, TypeError, ValueError)
# The JSON text is about 2 kB; a damaged length must not make us read gigabytes.
LONGEST_ABOUT = 2**20


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
    """Write the checkpoint to `path`; UserError if the disk is full or the folder cannot be written."""
    config, space, G, D, state = checkpoint
    about = {
        "format": FORMAT,
        "step": state.step,
        "config": config.settings(),
        "space": space._asdict(),
        "versions": {"minicoulomb": __version__, "numpy": np.__version__, "python": platform.python_version()},
    }
    arrays: dict[str, Any] = {name: to_host(getattr(state, name)) for name in _shapes(config, G, D)}
    with atomic_write(path) as file:
        np.savez(file, **arrays, about=np.frombuffer(json.dumps(about).encode(), np.uint8))


def load(path: Path) -> Checkpoint:
    """The checkpoint in `path`, on the host; UserError says what is wrong with any other file."""
    with (
        explained(f"{path}: cannot be read", "give a run directory or one of its checkpoints/*.npz"),
        explained(f"{path}: not a whole checkpoint", "use another of the run's checkpoints", DAMAGED),
        zipfile.ZipFile(path) as archive,
    ):
        about = _read_about(path, archive)
        values = about["space"]
        try:
            config = Config.of(**about["config"])
            space = SampleSpace(tuple(values["shape"]), values["scale"], values["bound"])
            G, D = build(config.networks, space)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        arrays = _read_arrays(path, archive, config, G, D)
    return Checkpoint(config, space, G, D, State(about["step"], **arrays))


def versions(path: Path) -> dict[str, str]:
    """The versions of minicoulomb, NumPy and Python that wrote the checkpoint in `path`, which `load` has read."""
    with zipfile.ZipFile(path) as archive:
        return {str(name): str(number) for name, number in _read_about(path, archive).get("versions", {}).items()}


def copy_weights(source: Checkpoint, target: Checkpoint) -> None:
    """Write the source's parameters and statistics over the target's; UserError if their networks differ.

    If only the target averages its weights, its averages start from the source's weights.
    """
    arrays = vars(source.state)
    if source.state.average is None:
        arrays = {**arrays, "average": source.state.theta, "average_statistics": source.state.statistics}
    names = [name for name in _shapes(target.config, target.G, target.D) if not name.startswith("moments")]
    for name in names:
        new, old = arrays[name], getattr(target.state, name)
        if new.shape != old.shape:
            raise UserError(f"{name} has {new.size} numbers: this run's networks have {old.size}; use equal networks")
    for name in names:
        getattr(target.state, name)[...] = arrays[name]


def _shapes(config, G, D):
    """The shape of each array of a state, by name."""
    shapes = {"theta": (G.size,), "w": (D.size,), "moments_g": (2, G.size), "moments_d": (2, D.size)}
    shapes["statistics"] = (G.statistics_size,)
    if config.algorithm.average:
        shapes |= {"average": (G.size,), "average_statistics": (G.statistics_size,)}
    return shapes


def _read_about(path, archive):
    size = archive.getinfo("about.npy").file_size
    if size > LONGEST_ABOUT:
        raise UserError(f"{path}: its description declares {size} bytes: must have about 2000; it is damaged")
    with archive.open("about.npy") as member:
        about = json.loads(np.lib.format.read_array(member, allow_pickle=False).tobytes())
    if about["format"] != FORMAT:
        writer = about.get("versions", {}).get("minicoulomb", "another version")
        raise UserError(
            f"{path}: format {about['format']}, written by minicoulomb {writer}: this version reads format {FORMAT}; "
            "install the version or commit that wrote it, or train again"
        )
    if not isinstance(about["step"], int) or about["step"] < 0:
        raise UserError(f"{path}: step {about['step']!r}: must be an int >= 0; the file is damaged")
    return about


def _read_arrays(path, archive, config, G, D):
    expected = _shapes(config, G, D)
    found = {name.removesuffix(".npy") for name in archive.namelist()} - {"about"}
    if found != set(expected):
        raise UserError(f"{path}: holds {sorted(found)}, its configuration calls for {sorted(expected)}; it is damaged")
    return {name: _read_array(path, archive, name, shape, config.run.dtype) for name, shape in expected.items()}


def _read_array(path, archive, name, shape, dtype):
    with archive.open(f"{name}.npy") as member:
        np.lib.format.read_magic(member)
        found_shape, fortran_order, found_dtype = np.lib.format.read_array_header_1_0(member)
        if found_shape != shape or found_dtype != np.dtype(dtype) or fortran_order:
            found = f"{path}: {name} is {found_dtype} {found_shape}"
            raise UserError(f"{found}, its configuration calls for {dtype} {shape}; it is damaged or of another model")
        size, expected = archive.getinfo(f"{name}.npy").file_size - member.tell(), prod(shape) * found_dtype.itemsize
        if size != expected:
            raise UserError(f"{path}: {name} declares {size} bytes of numbers instead of {expected}; it is damaged")
        return np.frombuffer(member.read(), dtype).reshape(shape).copy()  # zipfile compares the checksum
