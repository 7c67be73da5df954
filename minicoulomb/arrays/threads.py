"""A small pool of threads for work that splits into fixed parts.

    for_each(function, parts)      function(part) for each part, on the threads that `set_threads` asked for
    go_on()                        called within a long part: ends it if for_each no longer waits
    watching(progress)             a context in which for_each calls progress(done, total) after each part

NumPy releases the interpreter while it computes, so parts run side by side. The parts do not depend on the number
of threads and none reads what another writes. So the result does not depend on the number of threads either, to the
last bit. The caller is one of the threads, and each takes the next part when it is done with one: they wait little for
each other and for the interpreter.

BLAS must use a single thread beside these: two pools on the same cores hinder each other. The command line limits it
before NumPy is imported (__main__.py). Elsewhere `set_threads` does so, where threadpoolctl is installed
(`pip install 'minicoulomb[threads]'`). Otherwise set OPENBLAS_NUM_THREADS=1, or MKL_NUM_THREADS=1 for a NumPy built
on MKL, before NumPy is imported.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from threading import Event, current_thread

_pool: ThreadPoolExecutor | None = None
_helpers = 0
_watcher: ContextVar[Callable[[int, int], object] | None] = ContextVar("watcher", default=None)
_stopped: ContextVar[Event | None] = ContextVar("stopped", default=None)


def set_threads(n: int | None = None) -> int:
    """Let `for_each` use n threads, by default one for each core of this process, and return n.

    Where threadpoolctl is installed, BLAS uses one thread in each of them, whatever n is.
    """
    global _pool, _helpers
    n = n or available_cores()
    if _pool is not None:
        _pool.shutdown()
    _helpers = n - 1  # the caller of for_each is the n-th
    _pool = ThreadPoolExecutor(_helpers, "minicoulomb", initializer=_limit_blas) if n > 1 else None
    _limit_blas()
    return n


def _limit_blas():
    """Limit BLAS to one thread: in the process, or in the calling thread where BLAS is built on OpenMP."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    threadpool_limits(1, user_api="blas")


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def for_each(function: Callable, parts: Iterable) -> None:
    """Call function(part) for every part and wait; an exception of any call is raised.

    Each call sees the caller's context: what an `np.errstate` ignores there is ignored in all threads. A part that
    calls this computes its parts itself: the other threads may wait for it.
    """
    parts, progress, stopped = list(parts), _watcher.get(), Event()
    remaining, done, told, errors = iter(parts), [], [], []

    def work():
        try:
            for part in remaining:
                if stopped.is_set():
                    return
                function(part)
                done.append(part)
                tell()
        except BaseException as error:
            errors.append(error)
            stopped.set()

    def tell():
        while progress and current_thread() is caller and len(told) < len(done):
            told.append(None)
            progress(len(told), len(parts))

    caller, helpers, context = current_thread(), [], copy_context()
    try:
        if _pool is not None and len(parts) > 1 and not _stopped.get():
            context.run(_stopped.set, stopped)
            helpers = [_pool.submit(context.copy().run, work) for _ in range(min(_helpers, len(parts) - 1))]
        context.run(work)
        for helper in helpers:
            if not errors and not helper.cancel():  # one that has not begun finds nothing to do
                helper.result()
                tell()
    except BaseException:
        stopped.set()
        raise
    if errors:
        raise errors.pop(0)


def go_on() -> None:
    """End the part that calls this if its `for_each` no longer waits, as after Ctrl-C: the process ends after it."""
    if (stopped := _stopped.get()) and stopped.is_set():
        raise InterruptedError("nobody waits for this part")


@contextmanager
def watching(progress: Callable[[int, int], object] | None) -> Iterator[None]:
    """A context in which `for_each` calls progress(done, total), if any, in the caller's thread after each part."""
    token = _watcher.set(progress)
    try:
        yield
    finally:
        _watcher.reset(token)
