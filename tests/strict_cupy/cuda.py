"""cupy.cuda: streams and events, the device, pinned memory, and what CuPy passes on of CUDA's libraries."""

import ctypes
import sys
from contextlib import suppress
from weakref import WeakValueDictionary

from strict_cupy import cublas, nccl, runtime
from strict_cupy.compiler import NoCompiler
from strict_cupy.memory import GARBAGE
from strict_cupy.pool import Memory, MemoryPool, using_allocator
from strict_cupy.streams import Event, Graph, Stream, get_current_stream, synchronize_all

__all__ = [
    "Device",
    "Event",
    "Graph",
    "Memory",
    "MemoryPool",
    "Stream",
    "alloc_pinned_memory",
    "cublas",
    "get_current_stream",
    "runtime",
    "using_allocator",
]

sys.modules[f"{__name__}.nccl"] = nccl  # as in CuPy, it is there for those who import it

_pinned: WeakValueDictionary = WeakValueDictionary()


class Device:
    """The only GPU there is, number 0."""

    compute_capability = "90"
    mem_info = (2**33, 2**34)  # free, total

    def __init__(self, device=None):
        self.id = 0 if device is None else int(device)

    def __int__(self):
        return self.id

    def __enter__(self):
        return self.use()

    def __exit__(self, *_):
        pass

    def use(self) -> "Device":
        if self.id:
            raise runtime.CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        return self

    @property
    def cublas_handle(self) -> int:
        with suppress(NoCompiler):
            cublas.load_library()
        return cublas.HANDLE

    @property
    def attributes(self) -> dict:
        return {"MultiProcessorCount": 132, "L2CacheSize": 50 * 2**20}

    def synchronize(self) -> None:
        synchronize_all()


def alloc_pinned_memory(size: int):
    """Host memory for asynchronous copies, for numpy.frombuffer; garbage at first."""
    kind = type("PinnedMemoryPointer", (ctypes.c_char * size,), {"ptr": property(ctypes.addressof)})
    memory = kind()
    ctypes.memset(memory, GARBAGE, size)
    _pinned[memory.ptr] = memory
    return memory


def is_pinned(address: int, size: int) -> bool:
    """Whether all of that host memory is pinned."""
    return any(start <= address and address + size <= start + len(memory) for start, memory in list(_pinned.items()))
