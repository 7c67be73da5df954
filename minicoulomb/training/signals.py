"""Ctrl-C and SIGTERM ask a run to stop after the step; a second one ends it at once."""

import os
import signal
from types import FrameType


class StopRequest:
    """A context in which the first SIGINT or SIGTERM only sets `signal`, its number."""

    def __enter__(self) -> "StopRequest":
        self.signal = 0
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            os._exit(128 + number)  # files appear by renaming, so nothing half-written is left under its name
        self.signal = number

    def __bool__(self) -> bool:
        return bool(self.signal)
