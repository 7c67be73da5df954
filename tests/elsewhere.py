"""pytest --on strict | cupy: the tests of the numerics, unchanged, on another array library.

The tests are written for NumPy. With this option every public function of the numerics that a test calls, and every
method of a network, is wrapped: NumPy arrays among its arguments move to the device, the function computes there, and
the arrays in its result move back. What it changed in place is changed on the host too. Calls from within pass through.

    pytest --on strict        the stand-in for CuPy (strict_cupy), on any machine
    pytest --on cupy          CuPy on a GPU

Arrays keep their strides on the way there. Containers (tuples, lists, dicts, dataclasses) are moved through, an object
of another class stays as it is, with what it refers to. Tests of what the host alone does are marked `host`.
"""

import copy
import dataclasses
import functools
import importlib
from types import FunctionType

import numpy as np
import strict_cupy

from minicoulomb.arrays import backend

# The tests that compute something worth computing elsewhere.
FILES = {f"test_{name}.py" for name in "conv winograd layers coulomb optim network baselines gan".split()}

# Modules whose functions tests call.
HOMES = "conv.im2col conv.winograd conv.correlation conv coulomb.formulas coulomb optim layers baselines gan".split()
METHODS = {
    "network.Network": "prepare forward input_gradient param_gradient gradients update_statistics",
    "conv.winograd.Kernel": "__init__",
}
# These make arrays on the host, or tell sizes.
HOST = {
    "initial_state",
    "output_size",
    "transposed_size",
    "normalize_geometry",
    "direct_cost",
    "winograd_cost",
    "choose",
}


def library(name: str):
    """The array library called "strict" or "cupy"; UserError without a GPU that computes."""
    return strict_cupy if name == "strict" else backend.open_backend("cupy").xp


def move(xp) -> None:
    """Wrap the package's functions, before test modules import them. What imported them earlier has them unwrapped."""
    modules = {name: importlib.import_module(f"minicoulomb.{name}") for name in [*HOMES, "network"]}
    trip = RoundTrip(xp)
    for home in HOMES:
        for name, value in list(vars(modules[home]).items()):
            own = isinstance(value, FunctionType) and value.__module__.startswith(modules[home].__name__)
            if own and not name.startswith("_") and name not in HOST:
                setattr(modules[home], name, Moved(value, trip))
    for path, names in METHODS.items():
        module, _, name = path.rpartition(".")
        cls = getattr(modules[module], name)
        for method in names.split():
            setattr(cls, method, _method(vars(cls)[method], trip))


class Moved:
    """A function that computes elsewhere; as a key, the function itself."""

    def __init__(self, function, trip):
        functools.update_wrapper(self, function)
        self._trip = trip

    def __call__(self, *args, **kwargs):
        return self._trip(self.__wrapped__, args, kwargs)

    def __eq__(self, other):
        return self.__wrapped__ is getattr(other, "__wrapped__", other)

    def __hash__(self):
        return hash(self.__wrapped__)


def _method(function, trip):
    @functools.wraps(function)
    def method(self, *args, **kwargs):
        return trip(functools.partial(function, self), args, kwargs)

    return method


class RoundTrip:
    """There and back for the arrays of one call."""

    def __init__(self, xp):
        self._xp, self._inside = xp, False

    def __call__(self, function, args, kwargs):
        if self._inside:
            return function(*args, **kwargs)
        there = _There(self._xp)
        args, kwargs = there(args), there(kwargs)
        self._inside = True
        try:
            result = function(*args, **kwargs)
        finally:
            self._inside = False
            there.bring_changes_back()
        return _Back(self._xp, there)(result)


class _Walk:
    """A copy of nested containers in which `leaf` has replaced arrays; what occurs twice, occurs twice in the copy."""

    def __init__(self):
        self._seen = {}  # id: (what it was, so that the id stays taken; what takes its place)

    def __call__(self, value):
        if id(value) not in self._seen:
            self._seen[id(value)] = value, self._copy(value)
        return self._seen[id(value)][1]

    def _copy(self, value):
        if isinstance(value, tuple | list):
            parts = [self(part) for part in value]
            if all(part is own for part, own in zip(parts, value, strict=True)):
                return value
            return value._make(parts) if hasattr(value, "_make") else type(value)(parts)
        if isinstance(value, dict):
            return {key: self(part) for key, part in value.items()}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._copy_dataclass(value)
        return self.leaf(value)

    def _copy_dataclass(self, value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        changed = {name: self(part) for name, part in fields.items() if self(part) is not part}
        if not changed:
            return value
        moved = copy.copy(value)
        vars(moved).update(changed)
        return moved


class _There(_Walk):
    """From the host to the device."""

    def __init__(self, xp):
        super().__init__()
        self._xp = xp

    def leaf(self, value):
        if isinstance(value, np.ndarray):
            return as_laid_out(value, self._xp)
        return self._xp.asarray(value) if isinstance(value, np.generic) else value

    def bring_changes_back(self):
        """Into the arrays and objects that were given."""
        back = _Back(self._xp, self)
        for host, device in list(self._seen.values()):
            if isinstance(host, np.ndarray):
                numbers = device.get()
                if host.flags.writeable:
                    np.copyto(host, numbers)
                else:
                    np.testing.assert_array_equal(host, numbers, "a read-only argument was changed")
            elif host is not device and dataclasses.is_dataclass(host):
                vars(host).update({field.name: back(getattr(device, field.name)) for field in dataclasses.fields(host)})


class _Back(_Walk):
    """From the device to the host; what came from there becomes what it was."""

    def __init__(self, xp, there):
        super().__init__()
        self._array = xp.ndarray
        self._seen.update((id(device), (device, host)) for host, device in there._seen.values() if host is not device)

    def leaf(self, value):
        return value.get()[()] if isinstance(value, self._array) else value


def as_laid_out(array, xp):
    """The array on the device, in the same strides."""
    if array.flags.c_contiguous:
        return xp.asarray(array)
    low, high = np.lib.array_utils.byte_bounds(array)
    offset, size = array.ctypes.data - low, array.itemsize
    memory = np.zeros((high - low) // size, array.dtype)
    np.ndarray(array.shape, array.dtype, memory, offset, array.strides)[...] = array
    return xp.lib.stride_tricks.as_strided(xp.asarray(memory)[offset // size :], array.shape, array.strides)
