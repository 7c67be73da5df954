"""Tensors from a file that torch.save wrote, without torch and without running what the file says.

    zip format (torch 1.6 and later)      NAME/data.pkl, NAME/data/0, NAME/data/1, ...
    legacy format (before; pytorch-fid's) five pickles: magic number, version, system, object, keys of the storages;
                                          then for each key 8 bytes of length and the numbers

The object is a pickle of an OrderedDict from names to calls _rebuild_tensor_v2(storage, offset, size, stride, ...),
where a storage is a persistent id ("storage", class, key, location, numbers). A pickle may name only these three: the
dict is built, a tensor becomes a description (`Tensor`), a storage class its dtype. Any other name, such as os.system,
is refused (untrusted.py). Sizes are checked before numbers are read.
"""

import io
import struct
import zipfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicoulomb.errors import UserError, explained
from minicoulomb.untrusted import content, dict_of, member_in, opened, opened_zip, unpickled

MAGIC_NUMBER, PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001
# A network of a hundred layers describes itself in about 100 kB.
LONGEST_PICKLE = 2**24
DAMAGED = "it is damaged: download it again"
STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8"}
STORAGES |= {"IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?"}


class Storage(NamedTuple):
    """The numbers of a dtype that the file holds under a key."""

    key: str
    dtype: np.dtype
    numbers: int


class Tensor(NamedTuple):
    """A view of a storage; offset and stride count numbers."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_torch(path: Path, wanted: Callable[[str, tuple], bool] = lambda name, shape: True) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name, only those that are wanted by name and shape.

    UserError if the file is of another kind, is damaged, or names anything that a state dict does not need.
    """
    remedy = "download it again, or write it with torch.save(network.state_dict(), path)"
    # Damaged pickles and archives raise nearly anything.
    with explained(f"{path}: not a whole file of torch.save's", remedy, Exception), opened(path) as file:
        if not zipfile.is_zipfile(file):
            return _read_legacy(path, file, wanted)
        with opened_zip(file) as archive:
            return _read_zip(path, archive, wanted)


def _read_zip(path, archive, wanted):
    names = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(names) != 1:
        raise UserError(f"{path}: a zip without one NAME/data.pkl, which torch.save writes; give a .pth file")
    folder = names[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist() and _read(archive, order, archive.getinfo(order).file_size) != b"little":
        raise UserError(f"{path}: written on a big-endian machine; save it again on another")
    size = archive.getinfo(names[0]).file_size
    if size > LONGEST_PICKLE:
        raise UserError(f"{path}: its pickle is longer than {LONGEST_PICKLE} bytes: not a state dict; use another file")
    state = _load(path, io.BytesIO(_read(archive, names[0], size)))

    def numbers(storage):
        entry = archive.getinfo(f"{folder}data/{storage.key}")
        if entry.file_size != storage.numbers * storage.dtype.itemsize:
            raise UserError(f"{path}: {entry.filename} is not {storage.numbers} x {storage.dtype}; {DAMAGED}")
        return np.frombuffer(_read(archive, entry.filename, entry.file_size), storage.dtype)

    tensors = _tensors(path, state)
    return {name: _view(path, name, tensor, numbers) for name, tensor in tensors if wanted(name, tensor.size)}


def _read(archive, name, size):
    with member_in(archive, name) as member:
        return content(member, size)


def _read_legacy(path, file, wanted):
    file.seek(0)
    start = io.BytesIO(file.read(LONGEST_PICKLE))
    load = lambda: _load(path, start)
    magic, version, _ = load(), load(), load()
    if (magic, version) != (MAGIC_NUMBER, PROTOCOL_VERSION):
        raise UserError(
            f"{path}: version {version!r:.20} of torch's old format: must be {PROTOCOL_VERSION}; save it again"
        )
    tensors = dict(_tensors(path, load()))
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    keys, places, size = load(), {}, path.stat().st_size
    file.seek(start.tell())
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None or count != storage.numbers or file.tell() + count * storage.dtype.itemsize > size:
            raise UserError(f"{path}: storage {key!r:.20} of {count} numbers: must fit the tensors; {DAMAGED}")
        places[key] = file.tell()
        file.seek(count * storage.dtype.itemsize, io.SEEK_CUR)

    def numbers(storage):
        file.seek(places[storage.key])
        return np.frombuffer(file.read(storage.numbers * storage.dtype.itemsize), storage.dtype)

    tensors = tensors.items()
    return {name: _view(path, name, tensor, numbers) for name, tensor in tensors if wanted(name, tensor.size)}


def _load(path, file):
    """The next pickle of the file."""
    try:
        return unpickled(file, NAMES, _storage)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _storage(identity):
    """The storage of a persistent id."""
    kind, dtype, key, _, numbers, *view = identity
    if kind != "storage" or dtype not in STORAGES.values() or not isinstance(key, str) or any(view):
        raise UserError("its pickle refers to something else, not to a storage; save network.state_dict()")
    if not isinstance(numbers, int) or numbers < 0:
        raise UserError(f"its pickle has a storage of {numbers!r} numbers; {DAMAGED}")
    return Storage(key, np.dtype(dtype), numbers)


def _describe(storage, offset, size, stride, *_):
    """Stands in for torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, ...)."""
    return Tensor(storage, offset, tuple(size), tuple(stride))


# What stands for each name that a state dict's pickle may ask for.
NAMES: dict[str, Any] = {"collections.OrderedDict": dict_of, "torch._utils._rebuild_tensor_v2": _describe}
NAMES |= {f"torch.{name}": dtype for name, dtype in STORAGES.items()}


def _tensors(path, state):
    """(name, Tensor) of all entries of a state dict; other entries are refused."""
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a dict of tensors; save network.state_dict()")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or not isinstance(tensor.storage, Storage):
            raise UserError(f"{path}: its entry {name!r:.60} is not a tensor; save network.state_dict() alone")
        yield name, tensor


def _view(path, name, tensor, numbers):
    """The tensor's numbers, (*size); UserError if they do not lie in its storage."""
    storage, offset, size, stride = tensor
    whole = all(isinstance(value, int) and value >= 0 for value in (offset, *size, *stride))
    last = offset + sum((n - 1) * step for n, step in zip(size, stride)) if whole and prod(size) else 0
    if not whole or len(size) != len(stride) or last >= max(1, storage.numbers) or prod(size) > storage.numbers:
        raise UserError(f"{path}: {name} reaches outside its storage of {storage.numbers} numbers; {DAMAGED}")
    flat = numbers(storage)
    strides = tuple(step * flat.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(flat[offset:], size, strides, writeable=False).copy()
