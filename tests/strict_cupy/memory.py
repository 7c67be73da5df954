"""The device's memory: which addresses live arrays own, and whether the elements of a view meet in one of them.

On a GPU, threads write in no order: where two elements of a target share an address, or a target meets an operand
elsewhere than in the same element, the result depends on luck. Here that raises.
"""

from math import prod
from threading import local
from weakref import WeakValueDictionary

import numpy as np

ALIGNMENT = 512  # bytes, as CuPy's allocator
GARBAGE = 0xA5  # in every byte of fresh memory that holds no floats, which are NaN
thread = local()  # .allocator, of using_allocator
_live: WeakValueDictionary = WeakValueDictionary()


class MemoryPointer:
    """Where an array's numbers lie, `array.data`."""

    device_id = 0

    def __init__(self, array: np.ndarray, buffer: np.ndarray):
        self.ptr, self._buffer = address(array), buffer


def fresh(size):
    """Bytes that start at a multiple of ALIGNMENT."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -address(memory) % ALIGNMENT
    return lent(memory[start : start + size])


def lent(buffer):
    """The bytes, found by their address from now on, for as long as they live."""
    _live[address(buffer)] = buffer
    return buffer


def allocate(shape, dtype, order: str = "C"):
    """(array, buffer): fresh memory with garbage in it, as an array and as the bytes that own it."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise TypeError(f"dtype {dtype}: the stand-in has bool, integers and floats")
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)
    if min(shape, default=0) < 0:
        raise ValueError(f"shape {shape}: negative dimensions are not allowed")
    size = prod(shape) * dtype.itemsize
    allocator = getattr(thread, "allocator", None)
    buffer = allocator(size)._buffer if allocator and size else fresh(size)
    array = buffer.view(dtype).reshape(shape, order=order)
    if dtype.kind == "b":
        array[...] = True
    elif dtype.kind == "f":
        array[...] = np.nan
    else:
        buffer[...] = GARBAGE
    return array, buffer


def adopt(array: np.ndarray):
    """(array, buffer) of what NumPy computed, C-contiguous as CuPy's results are."""
    array = array if array.flags.c_contiguous else array.copy(order="C")
    if getattr(thread, "allocator", None):
        fresh, buffer = allocate(array.shape, array.dtype)
        fresh[...] = array
        return fresh, buffer
    buffer = array.reshape(-1).view(np.uint8)
    _live[address(buffer)] = buffer
    return array, buffer


def root(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def at(pointer: int, shape, strides, dtype) -> np.ndarray:
    """The array at a raw address, strides in bytes; MemoryError unless one live array's memory holds all of it."""
    dtype = np.dtype(dtype)
    if not prod(shape):
        return np.empty(shape, dtype)
    reaches = [(n - 1) * stride for n, stride in zip(shape, strides, strict=True)]
    first = pointer + sum(min(reach, 0) for reach in reaches)
    last = pointer + sum(max(reach, 0) for reach in reaches) + dtype.itemsize
    for start, buffer in list(_live.items()):
        if start <= first and last <= start + buffer.nbytes:
            return np.ndarray(shape, dtype, buffer, pointer - start, strides)
    raise MemoryError(f"{dtype} array of shape {shape}, strides {strides}: reaches outside every live array's memory")


def overlaps_itself(array: np.ndarray) -> bool:
    """Whether two elements share an address."""
    extent = array.itemsize
    for stride, n in sorted((abs(stride), n) for stride, n in zip(array.strides, array.shape) if n != 1):
        if stride < extent:
            return _addresses_meet(array)
        extent += stride * (n - 1)
    return False


def _addresses_meet(array):
    addresses = np.zeros((), np.int64)
    for stride, n in zip(array.strides, array.shape):
        addresses = np.add.outer(addresses, stride * np.arange(n))
    return bool((np.diff(np.sort(addresses, axis=None)) < array.itemsize).any())


def check_target(array: np.ndarray) -> None:
    """Refuse to write into a view whose elements meet."""
    if overlaps_itself(array):
        raise ValueError(f"target of shape {array.shape}, strides {array.strides}: elements overlap in memory")


def check_apart(target: np.ndarray, operand: np.ndarray, what: str) -> None:
    """Refuse an operand that shares memory with a target, unless element for element."""
    layout = lambda array: (address(array), array.shape, array.strides, array.dtype)
    if layout(target) != layout(operand) and np.shares_memory(target, operand):
        raise ValueError(f"{what}: overlaps the target in memory, and not element for element")
