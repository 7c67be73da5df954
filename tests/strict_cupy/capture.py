"""Capture of a stream's work into a CUDA graph, and the graph.

While a stream is captured nothing runs: each kernel is recorded with the addresses of its arrays and the values of its
numbers. A launch runs them all, in order, on what lies at these addresses then; so an array whose memory is gone is
found out. What CUDA refuses in the meantime is refused, and so is what it would let pass at each launch alone: work of
the same thread on another stream, which no launch would repeat.
"""

from threading import local
from weakref import WeakSet, ref

import numpy as np

from strict_cupy import memory
from strict_cupy.runtime import CUDARuntimeError

_local = local()
_graphs: WeakSet = WeakSet()


class Capture:
    """The work of a stream since begin_capture, which one thread gives to it."""

    def __init__(self, stream):
        self.stream, self.calls, self.broken = stream, [], False

    def add(self, name, function, operands):
        self.calls.append((name, function, [_frozen(value) for value in operands]))

    def graph(self) -> "Graph":
        graph = object.__new__(Graph)
        graph._calls = self.calls
        addresses = [value for *_, operands in self.calls for value in operands if type(value) is Address]
        graph._roots = {id(address.root()): address.root for address in addresses}
        _graphs.add(graph)
        return graph


class Graph:
    """cupy.cuda.Graph, which end_capture makes."""

    def __init__(self, *_, **__):
        raise NotImplementedError("currently this class cannot be initiated by the user: use stream capture")

    def launch(self, stream=None) -> None:
        """Run all that was captured, in order, after the stream's earlier work."""
        from strict_cupy.streams import run

        refuse("Graph.launch")
        run("Graph.launch", self._run, stream=stream)

    def upload(self, stream=None) -> None:
        """Send the graph to the device ahead of its first launch."""
        refuse("Graph.upload")

    def _run(self):
        for name, function, operands in self._calls:
            values = [value.array(name) if type(value) is Address else value for value in operands]
            function(*values)

    def uses(self, root: np.ndarray) -> bool:
        """Whether the memory is among what it reads and writes."""
        return id(root) in self._roots and self._roots[id(root)]() is root


class Address:
    """An array as a graph knows it: it keeps no memory alive."""

    def __init__(self, array: np.ndarray):
        self.root = ref(memory.root(array))
        self._start = memory.address(array) - memory.address(self.root())
        self._layout = array.shape, array.strides, array.dtype

    def array(self, name: str) -> np.ndarray:
        """What lies there now."""
        root, (shape, strides, dtype) = self.root(), self._layout
        if root is None:
            raise MemoryError(f"{name} in a graph, of an array {shape}, {dtype}: its memory has been freed meanwhile")
        return np.ndarray(shape, dtype, root.reshape(-1).view(np.uint8), self._start, strides)


def _frozen(value):
    return Address(value) if isinstance(value, np.ndarray) else value


def active() -> Capture | None:
    """That of the calling thread."""
    return getattr(_local, "capture", None)


def begin(stream) -> None:
    if stream.ptr in (0, 1):
        raise RuntimeError("cannot capture on the default (legacy) stream")
    if active():
        raise CUDARuntimeError("cudaErrorIllegalState: the operation cannot be performed in the present state")
    _local.capture = Capture(stream)


def end(stream) -> Graph:
    """The graph; an error within the capture has broken it."""
    capture = active()
    if capture is None or capture.stream is not stream:
        raise CUDARuntimeError("cudaErrorIllegalState: the operation cannot be performed in the present state")
    _local.capture = None
    if capture.broken:
        raise CUDARuntimeError(
            "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture"
        )
    return capture.graph()


def refuse(
    what: str, error: str = "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"
):
    """Break the calling thread's capture, if there is one."""
    if active():
        active().broken = True
        raise CUDARuntimeError(f"{error} ({what})")


def refuse_cublas() -> None:
    """CuPy's veto, which breaks nothing."""
    if active():
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")


def used_by_a_graph(root: np.ndarray) -> bool:
    """Whether a living graph was captured with that memory."""
    return any(graph.uses(root) for graph in list(_graphs))
