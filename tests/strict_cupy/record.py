"""Who waited for whom: what CuPy would have made the host do, told to a test that asks.

    with recorded() as waits:
        step(...)
    assert waits == []                     nothing made the host wait for the device
    waits.uploads, waits.launches          copies from pageable host memory; kernels, in order

Each entry is (name, place): what it was, and the innermost line outside this folder that did it.
"""

import sys
from contextlib import contextmanager
from pathlib import Path

from strict_cupy import capture

_HERE = str(Path(__file__).parent)
_recorders: list["Calls"] = []


class Calls(list):
    """The calls for which CuPy's host waits for its device; beside them uploads and launches."""

    def __init__(self):
        super().__init__()
        self.uploads: list[tuple[str, str]] = []
        self.launches: list[tuple[str, str]] = []


@contextmanager
def recorded():
    """All that happens within, in any thread."""
    calls = Calls()
    _recorders.append(calls)
    try:
        yield calls
    finally:
        _recorders[:] = [other for other in _recorders if other is not calls]


def waits(name: str) -> None:
    """The host waits for the device, which it cannot while a graph is captured."""
    capture.refuse(name)
    for calls in _recorders:
        calls.append((name, _place()))


def uploads(name: str) -> None:
    """Numbers leave pageable host memory, which takes the host's time and may make it wait. A graph has none."""
    capture.refuse(name)
    for calls in _recorders:
        calls.uploads.append((name, _place()))


def launches(name: str) -> None:
    """The device is given a kernel, for which nobody waits."""
    for calls in _recorders:
        calls.launches.append((name, _place()))


def _place() -> str:
    frame = sys._getframe(2)
    while frame.f_back and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return f"{'/'.join(Path(frame.f_code.co_filename).parts[-2:])}:{frame.f_lineno} in {frame.f_code.co_name}"
