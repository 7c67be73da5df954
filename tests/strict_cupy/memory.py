"""The device's memory: which addresses live arrays own, and whether the elements of a view meet in one of them.

On a GPU, threads write in no order: where two elements of a target share an address, or a target meets an operand
elsewhere than in the same element, the result depends on luck. Here that raises.
"""

from collections import defaultdict
from contextlib import contextmanager
from math import prod
from threading import local
from weakref import WeakValueDictionary, finalize, ref

import numpy as np

ALIGNMENT = 512  # bytes, as CuPy's allocator
GARBAGE = 0xA5  # in every byte of fresh memory that holds no floats, which are NaN
_thread = local()
_live: WeakValueDictionary = WeakValueDictionary()


class MemoryPointer:
    """Where an array's numbers lie, `array.data`."""

    device_id = 0

    def __init__(self, array: np.ndarray, buffer: np.ndarray):
        self.ptr, self._buffer = address(array), buffer


class Memory:
    """cupy.cuda.Memory(size): bytes of the device from no pool, freed with the object."""

    def __init__(self, size: int):
        self._buffer = _fresh(size)
        self.ptr, self.size = address(self._buffer), size


class MemoryPool:
    """cupy.cuda.MemoryPool: what was freed is kept, and given to the next who asks for as much on the same stream.

    Memory of a living graph is refused to others; CuPy would give it to them, and a launch would write over it.
    """

    def __init__(self):
        self._free, self._used = defaultdict(list), {}

    def malloc(self, size: int) -> MemoryPointer:
        from strict_cupy import capture
        from strict_cupy.streams import get_current_stream

        size_of_block = -(-size // ALIGNMENT) * ALIGNMENT
        free = self._free[get_current_stream().ptr, size_of_block]
        block = free.pop() if free else _fresh(size_of_block)
        if capture.used_by_a_graph(root(block)):
            raise RuntimeError(f"MemoryPool.malloc({size}): gives away memory of a graph that may be launched again")
        buffer = block[:size]
        self._used[address(block)] = size_of_block
        finalize(buffer, _give_back, ref(self), free, block).atexit = False
        return MemoryPointer(buffer, buffer)

    def free_all_blocks(self, stream=None) -> None:
        for key, free in self._free.items():
            if stream is None or stream.ptr == key[0]:
                free.clear()

    def used_bytes(self) -> int:
        return sum(self._used.values())

    def free_bytes(self) -> int:
        return sum(block.nbytes for free in self._free.values() for block in free)

    def total_bytes(self) -> int:
        return self.used_bytes() + self.free_bytes()

    def n_free_blocks(self) -> int:
        return sum(map(len, self._free.values()))


def _give_back(pool, free, block):
    if pool() is not None:
        del pool()._used[address(block)]
        free.append(block)


@contextmanager
def using_allocator(allocator=None):
    """The calling thread's arrays come from allocator(size), or from no pool."""
    before = getattr(_thread, "allocator", None)
    _thread.allocator = allocator
    try:
        yield
    finally:
        _thread.allocator = before


def _fresh(size):
    """Bytes that start at a multiple of ALIGNMENT."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -address(memory) % ALIGNMENT
    buffer = memory[start : start + size]
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
    allocator = getattr(_thread, "allocator", None)
    buffer = allocator(size)._buffer if allocator and size else _fresh(size)
    _live[address(buffer)] = buffer
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
    if getattr(_thread, "allocator", None):
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
