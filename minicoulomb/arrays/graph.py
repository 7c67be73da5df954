"""A function of device arrays, captured once as a CUDA graph and launched as one from then on.

    with own_stream(backend):
        graph = Graph(backend.xp)
        for ...:
            result = graph(function)       runs function() at first, later launches what it did

A launch costs the host 20 to 60 microseconds, and a step has hundreds: the host could not feed a GPU. A graph holds the
CUDA kernels of a call in their order, with their arguments. So whatever changes between two calls must lie in arrays
at fixed addresses: the batch and the numbers of schedules (upload.py), the state that the function changes in place.
The function must not wait for the device, copy from the host, or look at an array's numbers, and its products must
come from matmul.py. The numbers are those of the eager call, to the last bit, for they come from the same kernels.

Memory that the graph uses must be lent to nobody else. So calls before the capture fill a memory pool, the capture
allocates from it, and nothing else does; it is freed with the Graph. Where a capture fails, as it may on an old driver,
the function goes on to be called, and `refusal` says why.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from minicoulomb.arrays.backend import Backend, in_a_line

# Calls before the capture: they compile kernels, make handles and fill the pool.
WARM_UP = 2


class Graph:
    """Calls functions that do the same on the device at each call, from the third on as one launch.

    refusal   why calls are not captured, in a line, or None
    """

    def __init__(self, xp, refusal: str | None = None):
        self.refusal = refusal
        self._xp, self._calls, self._graph = xp, 0, None
        self._pool: Any = xp.cuda.MemoryPool() if refusal is None else None

    def __call__(self, function: Callable):
        """function(), an array; later its numbers at the same address, which the next call replaces."""
        if self.refusal is None and self._graph is None and self._calls == WARM_UP:
            self._capture(function)
        self._calls += 1
        if self.refusal is not None:
            return function()
        if self._graph is not None:
            self._graph.launch()
            return self._result
        with self._xp.cuda.using_allocator(self._pool.malloc):
            return function()

    def _capture(self, function):
        stream = self._xp.cuda.get_current_stream()
        try:
            with self._xp.cuda.using_allocator(self._pool.malloc):
                stream.begin_capture()
                try:
                    self._result = function()
                except BaseException:
                    with suppress(Exception):  # of the capture that the first error made invalid
                        stream.end_capture()
                    raise
                self._graph = stream.end_capture()
        except Exception as error:  # CuPy, CUDA and its libraries have classes of their own
            self.refusal, self._pool = in_a_line(error), None


@contextmanager
def own_stream(backend: Backend) -> Iterator[None]:
    """A context in which a GPU works on a stream that can be captured; its work is done at the end."""
    if backend.name == "numpy":
        yield
        return
    backend.synchronize()
    with backend.xp.cuda.Stream(non_blocking=True) as stream:
        try:
            yield
        finally:
            stream.synchronize()
