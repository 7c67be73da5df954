"""Files as torch.save writes them, without torch: pickles put together from their opcodes."""

import pickle
import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np

from minicoulomb.fid.torch_file import MAGIC_NUMBER, PROTOCOL_VERSION


class Global(NamedTuple):
    """What a pickle names: a module and something in it."""

    module: str
    name: str


class Call(NamedTuple):
    """A function that the reader is to call."""

    function: Global
    arguments: tuple


class Persistent(NamedTuple):
    """A persistent id."""

    identity: Any


def dumps(value) -> bytes:
    """A pickle of protocol 2 of numbers, strings, tuples, lists, dicts, and the three above."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value):
    match value:
        case Global(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments):
            return _opcodes(function) + _opcodes(tuple(arguments)) + b"R"
        case Persistent(identity):
            return _opcodes(identity) + b"Q"
        case tuple():
            return b"(" + b"".join(map(_opcodes, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_opcodes, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_opcodes(key) + _opcodes(item) for key, item in value.items()) + b"u"
    return pickle.dumps(value, 2)[2:-1]


def storage(key, numbers, kind="FloatStorage", legacy=False):
    identity = ("storage", Global("torch", kind), key, "cpu", numbers)
    return Persistent((*identity, None) if legacy else identity)


def tensor(storage, offset, size, stride):
    none = Call(Global("collections", "OrderedDict"), ())
    return Call(
        Global("torch._utils", "_rebuild_tensor_v2"), (storage, offset, tuple(size), tuple(stride), False, none)
    )


def state_dict(arrays, legacy=False):
    """What stands for float32 arrays by name, each in a storage of its own, in C order."""
    strides = lambda a: tuple(step // a.itemsize for step in a.strides)
    return {
        name: tensor(storage(str(i), a.size, legacy=legacy), 0, a.shape, strides(a))
        for i, (name, a) in enumerate(arrays.items())
    }


def write_zip(path, arrays, state=None):
    """torch 1.6's format; with `state`, that in the place of the arrays' own description."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", dumps(state_dict(arrays) if state is None else state))
        archive.writestr("weights/byteorder", "little")
        for i, array in enumerate(arrays.values()):
            archive.writestr(f"weights/data/{i}", np.ascontiguousarray(array).tobytes())
        archive.writestr("weights/version", "3\n")


def write_legacy(path, arrays, state=None, version=PROTOCOL_VERSION):
    """The format before."""
    with path.open("wb") as file:
        for value in (MAGIC_NUMBER, version, {"little_endian": True}):
            file.write(dumps(value))
        file.write(dumps(state_dict(arrays, legacy=True) if state is None else state))
        file.write(dumps([str(i) for i in range(len(arrays))]))
        for array in arrays.values():
            file.write(struct.pack("<q", array.size) + np.ascontiguousarray(array).tobytes())
