"""Streams and events, with copies that happen as late as they may.

An asynchronous copy on a stream happens no later than the next kernel of that stream, or than whoever waits for it:
`stream.synchronize()`, `event.synchronize()`, a kernel of a stream that was told to `wait_event(event)`. Until then a
device array that is being filled holds NaN, and what is written into pinned memory meanwhile is what arrives. So a
reader on another stream that forgot to wait computes NaN, and a writer who reuses a buffer too early is found out.

Kernels themselves run at once. As in CUDA the null stream and the others wait for each other, unless they were made
with non_blocking=True.
"""

from itertools import count
from threading import local
from weakref import WeakSet

import numpy as np

from strict_cupy import capture, memory, record
from strict_cupy.runtime import CUDARuntimeError, streamCaptureModeRelaxed

_streams: WeakSet = WeakSet()
_addresses = count(0x57E4_0000_0000, 64)  # of streams, longer than 32 bits
_graphs: WeakSet = WeakSet()
_current = local()


class _Work:
    """A copy that is to happen once."""

    def __init__(self, function):
        self._function = function

    def __call__(self):
        function, self._function = self._function, None
        if function is not None:
            function()


class Event:
    """A point in a stream's work."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self._work, self._capture = [], None

    @property
    def done(self) -> bool:
        """It is, once somebody asks."""
        self._not_captured("Event.done")
        self._reach()
        return True

    def record(self, stream=None) -> None:
        stream = stream or get_current_stream()
        self._work, self._capture = list(stream._pending), stream._capture

    def synchronize(self) -> None:
        record.waits("Event.synchronize")
        self._not_captured("Event.synchronize")
        self._reach()

    def _not_captured(self, what):
        """An event that was recorded while its stream was captured is a part of the graph, and no point in time."""
        if self._capture:
            capture.refuse(what, capture.CAPTURED_EVENT)
            raise CUDARuntimeError(f"{capture.CAPTURED_EVENT} ({what})")

    def _reach(self):
        for work in self._work:
            work()


class Stream:
    """A queue of work."""

    null: "Stream"

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.is_non_blocking, self._pending, self._outer = non_blocking, [], []
        self._capture = None
        self.ptr = 0 if null else next(_addresses)
        _streams.add(self)

    def __enter__(self):
        self._outer.append(get_current_stream())
        return self.use()

    def __exit__(self, *_):
        self._outer.pop().use()

    def use(self) -> "Stream":
        _current.stream = self
        return self

    def begin_capture(self, mode=None) -> None:
        """From now on its work is recorded. Only relaxed mode, CuPy's default, lets the pool take memory meanwhile."""
        if mode not in (None, streamCaptureModeRelaxed):
            raise TypeError("begin_capture: the stand-in has streamCaptureModeRelaxed alone")
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self._capture = capture.Capture(self)

    def end_capture(self) -> "Graph":
        ended, self._capture = self._capture, None
        if ended is None:
            raise CUDARuntimeError(capture.ILLEGAL_STATE)
        ended.end()
        return Graph._of(ended.calls)

    def is_capturing(self) -> bool:
        if self._capture and self._capture.broken:
            raise RuntimeError("the stream was capturing, but an error has invalidated the capture sequence")
        return self._capture is not None

    @property
    def done(self) -> bool:
        """It is, once somebody asks."""
        if self.is_capturing():
            capture.refuse("Stream.done")
        self._reach()
        return True

    def synchronize(self) -> None:
        record.waits("Stream.synchronize")
        self._reach()

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        if self.is_capturing():
            if event._capture is not self._capture:
                capture.refuse("wait_event", capture.ISOLATION)
            return
        event._not_captured("wait_event")
        self._pending.append(_Work(event._reach))

    def _reach(self):
        """Do what the next kernel of this stream waits for."""
        others = list(_streams) if self is Stream.null else [Stream.null]
        for stream in (self, *([] if self.is_non_blocking else others)):
            if stream is self or not stream.is_non_blocking:
                stream._finish()

    def _finish(self):
        while self._pending:
            self._pending.pop(0)()


Stream.null = Stream(null=True)


class Graph:
    """cupy.cuda.Graph, which end_capture makes."""

    def __init__(self, *_, **__):
        raise NotImplementedError("currently this class cannot be initiated by the user: use stream capture")

    @classmethod
    def _of(cls, calls):
        graph = object.__new__(cls)
        graph._calls = calls
        addresses = [value for *_, operands in calls for value in operands if type(value) is capture.Address]
        graph._roots = {id(address.root()): address.root for address in addresses}
        _graphs.add(graph)
        return graph

    def launch(self, stream: Stream | None = None) -> None:
        """Run all that was captured, in order, after the stream's earlier work."""
        capture.refuse("Graph.launch")
        run("Graph.launch", self._run, stream=stream)

    def upload(self, stream: Stream | None = None) -> None:
        """Send the graph to the device ahead of its first launch."""
        capture.refuse("Graph.upload")

    def _run(self):
        for name, function, operands in self._calls:
            function(*(value.array(name) if type(value) is capture.Address else value for value in operands))


def used_by_a_graph(array: np.ndarray) -> bool:
    """Whether a living graph reads or writes memory with the same owner."""
    root = memory.root(array)
    return any(graph._roots.get(id(root), lambda: None)() is root for graph in list(_graphs))


def get_current_stream(device_id=-1) -> Stream:
    return getattr(_current, "stream", Stream.null)


def stream_at(pointer: int) -> Stream:
    """The living stream of that address; KeyError where there is none."""
    for stream in list(_streams):
        if stream.ptr == pointer:
            return stream
    raise KeyError(f"stream {pointer:#x}")


def later(function, stream: Stream | None = None) -> None:
    """Give the stream a copy between host and device, whose memory on the host a graph would need for ever."""
    capture.refuse("a copy between host and device")
    (stream or get_current_stream())._pending.append(_Work(function))


def run(name: str, function, *operands, stream: Stream | None = None):
    """A kernel, function(*operands) of NumPy's arrays: now, after its stream's work, or at each launch of a graph."""
    record.launches(name)
    stream = stream or get_current_stream()
    if stream.is_capturing():
        stream._capture.add(name, _quiet(function), operands)
        return None
    capture.refuse(f"{name} on another stream, which no launch of the graph would repeat")
    stream._reach()
    return _quiet(function)(*operands)


def _quiet(function):
    """It without NumPy's warnings."""

    def call(*operands):
        with np.errstate(all="ignore"):
            return function(*operands)

    return call


def wait(name: str, stream: Stream | None = None) -> None:
    """The host waits for all that the stream was given."""
    record.waits(name)
    run(name, lambda: None, stream=stream)


def synchronize_all() -> None:
    """Wait for the whole device."""
    record.waits("Device.synchronize")
    for stream in list(_streams):
        stream._finish()
