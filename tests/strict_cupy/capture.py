"""Capture of a stream's work into a CUDA graph: what is recorded, and what is refused.

While a stream is captured nothing runs: each kernel is recorded with the addresses of its arrays and the values of its
numbers. A launch of the graph runs them all, in order, on what lies at these addresses then; an array whose memory has
been freed is found out. What CUDA and CuPy refuse in the meantime is refused with their errors, and so is what they let
pass though no launch would repeat it: work of the same thread on another stream.
"""

from threading import local
from weakref import ref

import numpy as np

from strict_cupy import memory
from strict_cupy.runtime import CUDARuntimeError

ILLEGAL_STATE = "cudaErrorIllegalState: the operation cannot be performed in the present state"
INVALIDATED = "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture"
ISOLATION = "cudaErrorStreamCaptureIsolation: dependency created on uncaptured work in another stream"
CAPTURED_EVENT = "cudaErrorCapturedEvent: operation not permitted on an event last recorded in a capturing stream"
UNSUPPORTED = "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"

_local = local()


class Capture:
    """The work that one thread has given to a stream since begin_capture."""

    def __init__(self, stream):
        if active():
            raise CUDARuntimeError(ILLEGAL_STATE)
        self.stream, self.calls, self.broken = ref(stream), [], False
        _local.capture = self

    def add(self, name, function, operands) -> None:
        self.calls.append((name, function, [Address(a) if isinstance(a, np.ndarray) else a for a in operands]))

    def end(self) -> None:
        """CUDARuntimeError where an error has broken it."""
        if active() is not self:
            raise CUDARuntimeError(ILLEGAL_STATE)
        _local.capture = None
        if self.broken:
            raise CUDARuntimeError(INVALIDATED)


class Address:
    """An array as a graph knows it: it keeps no memory alive."""

    def __init__(self, array: np.ndarray):
        root = memory.root(array)
        self.root, self._start = ref(root), memory.address(array) - memory.address(root)
        self._layout = array.shape, array.strides, array.dtype

    def array(self, name: str) -> np.ndarray:
        """What lies there now."""
        root, (shape, strides, dtype) = self.root(), self._layout
        if root is None:
            raise MemoryError(f"{name} in a graph, on an array {shape}, {dtype}: its memory has been freed meanwhile")
        return np.ndarray(shape, dtype, root.reshape(-1).view(np.uint8), self._start, strides)


def active() -> Capture | None:
    """That of the calling thread; a stream that nobody has any more ends its own."""
    capture = getattr(_local, "capture", None)
    return capture if capture and capture.stream() else None


def refuse(what: str, error: str = UNSUPPORTED) -> None:
    """Break the calling thread's capture, if there is one."""
    if active():
        active().broken = True
        raise CUDARuntimeError(f"{error} ({what})")


def refuse_cublas() -> None:
    """CuPy's veto, which breaks nothing."""
    if active():
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
