"""Memory that outlives its arrays: cupy.cuda.Memory, MemoryPool and using_allocator."""

from collections import defaultdict
from contextlib import contextmanager
from weakref import finalize, ref

from strict_cupy import capture, memory
from strict_cupy.memory import ALIGNMENT, MemoryPointer
from strict_cupy.streams import get_current_stream, used_by_a_graph


class Memory:
    """Bytes of the device from no pool, freed with the object."""

    def __init__(self, size: int):
        capture.refuse(f"cudaMalloc of {size} bytes from no pool")
        self._buffer = memory.fresh(size)
        self.ptr, self.size = memory.address(self._buffer), size


class MemoryPool:
    """What was freed is kept, and lent to the next who asks for as much on the same stream.

    Memory of a living graph is refused to others. CuPy would lend it, and a launch would write over it.
    """

    def __init__(self):
        self._free, self._used = defaultdict(list), {}

    def malloc(self, size: int) -> MemoryPointer:
        rounded = -(-size // ALIGNMENT) * ALIGNMENT
        key = get_current_stream().ptr, rounded
        free = self._free[key]
        block = free.pop() if free else memory.fresh(rounded)
        if used_by_a_graph(block):
            free.append(block)
            raise RuntimeError(f"MemoryPool.malloc({size}): lends memory of a graph that may be launched again")
        self._used[memory.address(block)] = rounded
        buffer = memory.lent(block[:size])
        finalize(buffer, _give_back, ref(self), key, block).atexit = False
        return MemoryPointer(buffer, buffer)

    def free_all_blocks(self, stream=None) -> None:
        """Free all that is not lent, or that of one stream."""
        for (pointer, _), free in self._free.items():
            if stream is None or stream.ptr == pointer:
                free.clear()

    def used_bytes(self) -> int:
        return sum(self._used.values())

    def free_bytes(self) -> int:
        return sum(block.nbytes for free in self._free.values() for block in free)

    def total_bytes(self) -> int:
        return self.used_bytes() + self.free_bytes()

    def n_free_blocks(self) -> int:
        return sum(map(len, self._free.values()))


def _give_back(pool, key, block):
    if pool() is not None:
        del pool()._used[memory.address(block)]
        pool()._free[key].append(block)


@contextmanager
def using_allocator(allocator=None):
    """The calling thread's arrays lie where allocator(size) says, or in no pool."""
    before = getattr(memory.thread, "allocator", None)
    memory.thread.allocator = allocator
    try:
        yield
    finally:
        memory.thread.allocator = before
