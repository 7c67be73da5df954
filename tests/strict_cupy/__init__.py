"""A strict stand-in for CuPy: what runs on it without an error runs on a GPU without a surprise.

    backend = strict_cupy.backend()                a minicoulomb Backend; its arrays find this module by themselves
    with strict_cupy.recorded() as waits: ...      what made the host wait; waits.uploads, waits.launches
    strict_cupy.compiled                           every ElementwiseKernel that ran, for another compiler

It computes with NumPy on the CPU and refuses what a GPU would do slowly, by luck or not at all: numbers that move
between host and device unasked, NumPy's scalars and arrays among device arrays, writes to elements that overlap, memory
that nobody has written (it holds NaN), names and keywords that CuPy has not. Kernels are CUDA C++ that the host's
compiler compiles; products are cuBLAS's on raw addresses, also by ctypes; asynchronous copies happen as late as they
may; a captured stream's work runs when its graph is launched, on the memory that it was captured with (capture.py).
Where CuPy is more generous than the project's rules (a NumPy scalar times an array), the rules hold.
"""

# ruff: noqa: F401

import sys

from numpy import (
    bool_,
    float32,
    float64,
    inf,
    int8,
    int16,
    int32,
    int64,
    nan,
    newaxis,
    pi,
    uint8,
    uint16,
    uint32,
    uint64,
)

from strict_cupy import compiler, cuda, lib
from strict_cupy.arrays import ndarray
from strict_cupy.compiler import NoCompiler
from strict_cupy.functions import *  # noqa: F403
from strict_cupy.kernels import ElementwiseKernel, compiled
from strict_cupy.record import recorded
from strict_cupy.ufuncs import NAMES, ufunc

globals().update({name: ufunc(name) for name in NAMES})


def backend():
    """A minicoulomb Backend on the stand-in."""
    from minicoulomb.arrays.backend import Backend

    return Backend("cupy", sys.modules[__name__])
