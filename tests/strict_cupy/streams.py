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

from strict_cupy import record

_streams: WeakSet = WeakSet()
_addresses = count(0x57E4_0000_0000, 64)  # of streams, longer than 32 bits
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
        self._work = []

    @property
    def done(self) -> bool:
        """It is, once somebody asks."""
        self._reach()
        return True

    def record(self, stream=None) -> None:
        self._work = list((stream or get_current_stream())._pending)

    def synchronize(self) -> None:
        record.waits("Event.synchronize")
        self._reach()

    def _reach(self):
        for work in self._work:
            work()


class Stream:
    """A queue of work."""

    null: "Stream"

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.is_non_blocking, self._pending, self._outer = non_blocking, [], []
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

    @property
    def done(self) -> bool:
        """It is, once somebody asks."""
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


def get_current_stream(device_id=-1) -> Stream:
    return getattr(_current, "stream", Stream.null)


def stream_at(pointer: int) -> Stream:
    """The living stream of that address; KeyError where there is none."""
    for stream in list(_streams):
        if stream.ptr == pointer:
            return stream
    raise KeyError(f"stream {pointer:#x}")


def later(function, stream: Stream | None = None) -> None:
    """Give the stream a copy."""
    (stream or get_current_stream())._pending.append(_Work(function))


def launch(name: str, stream: Stream | None = None) -> None:
    """A kernel starts: what its stream was given before has happened."""
    record.launches(name)
    (stream or get_current_stream())._reach()


def synchronize_all() -> None:
    """Wait for the whole device."""
    record.waits("Device.synchronize")
    for stream in list(_streams):
        stream._finish()
