"""A small pool of threads for work that splits into fixed parts.

    for_each(function, parts)      function(part) for each part, on several threads where that was asked for
    blocks(n, length, array)       the parts of an elementwise operation: slices of range(n) that stay in the cache

NumPy releases the interpreter while it computes, so parts run side by side. The parts do not depend on the number
of threads and none reads what another writes, so neither does the result, to the last bit. BLAS is to use one
thread of its own beside these (__main__.py sees to that): two pools for the same cores hinder each other.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_pool: ThreadPoolExecutor | None = None


def set_threads(n: int | None = None) -> int:
    """Let `for_each` use n threads, by default one for each core this process may use; returns how many."""
    global _pool
    n = n or available_cores()
    if _pool is not None:
        _pool.shutdown()
    _pool = ThreadPoolExecutor(n, "minicoulomb") if n > 1 else None
    return n


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def for_each(function: Callable, parts: Iterable) -> None:
    """Call function(part) for every part and wait; an exception of any call is raised."""
    parts = list(parts)
    if _pool is None or len(parts) == 1:
        for part in parts:
            function(part)
    else:
        for _ in _pool.map(function, parts):
            pass


def blocks(n: int, length: int, array) -> list[slice]:
    """Slices of `length` that cover range(n); a single one where `array` is on a GPU, which takes all at once."""
    length = max(1, length) if isinstance(array, np.ndarray) else n
    return [slice(start, start + length) for start in range(0, n, length)]
