"""Ctrl-C, SIGTERM and SIGHUP (a closed terminal) ask a run to stop after the step; a second one ends it at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType


class StopRequest(ExitStack):
    """A context in which the first SIGINT, SIGTERM or SIGHUP only sets `signal`, its number."""

    signal = 0

    def __enter__(self) -> "StopRequest":
        self.enter_context(handling(self._handle, "SIGINT", "SIGTERM", "SIGHUP"))
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            os._exit(128 + number)  # files appear by renaming, so nothing half-written is left under its name
        self.signal = number

    def __bool__(self) -> bool:
        return bool(self.signal)


@contextmanager
def handling(handler: Callable[[int, FrameType | None], object], *names: str) -> Iterator[None]:
    """A context in which `handler` receives these signals, in the main thread and where the system has them.

    SIGHUP stays ignored under nohup.
    """
    before = {}
    for name in names if threading.current_thread() is threading.main_thread() else ():
        number = getattr(signal, name, None)
        if number and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old or signal.SIG_DFL)
