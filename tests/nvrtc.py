"""NVIDIA's run-time compiler NVRTC on the source that CuPy makes of a kernel, as CuPy would call it.

    call = Call("scale", "T x, T factor", "T y", "y = factor * x", "", (Array("float32"), "float32", Array("float32")))
    built = build(call, "90")                  for sm_90
    built.registers, built.stack, built.spilled

The compiler is a library of its own: it needs neither a GPU nor a driver, nor CUDA's other libraries. The generator of
the code, the headers and the options are the installed CuPy's own; only which architecture the device has, which CuPy
asks the driver, is the caller's choice here.
"""

import io
import re
import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

_NDARRAY, _INDEXER, _SCALAR = 1, 2, 3  # CuPy's kinds of arguments, in _core/_kernel.pxd


@dataclass(frozen=True)
class Array:
    """An argument that is an array; of a number there is the dtype alone."""

    dtype: str
    ndim: int = 1
    is_contiguous: bool = True


@dataclass(frozen=True)
class Call:
    """A kernel as cupy.ElementwiseKernel takes it, and what it was given for each parameter, inputs first."""

    name: str
    inputs: str
    outputs: str
    operation: str
    preamble: str
    arguments: tuple[Array | str, ...]
    ndim: int = 1  # of the loop

    @property
    def dtypes(self) -> set[str]:
        return {argument.dtype if isinstance(argument, Array) else argument for argument in self.arguments}

    def __str__(self):
        layouts = (f"{a.dtype}[{a.ndim}d]" if isinstance(a, Array) else a for a in self.arguments)
        return f"{self.name}({', '.join(layouts)})"


@dataclass(frozen=True)
class Built:
    """What the assembler says of a kernel: its registers, and the bytes of a thread that are in slow memory instead."""

    registers: int
    stack: int
    spilled: int


class Rejected(Exception):
    """The compiler's errors or warnings, and the source."""


def require() -> None:
    """Skip the test unless CuPy, NVRTC and CUDA's headers are there."""
    pytest.importorskip("cupy", reason="CuPy is not installed: pip install cupy-cuda12x, no GPU needed")
    from cupy_backends.cuda.libs import nvrtc

    try:
        nvrtc.getVersion()
        _options()
    except RuntimeError as error:
        packages = "pip install nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12, no GPU needed"
        pytest.skip(f"NVRTC or CUDA's headers are not installed: {packages} ({str(error).splitlines()[0]})")


def as_called(kernel) -> Call:
    """A kernel that the stand-in ran (strict_cupy.Compiled), with its axes reduced as CuPy would.

    CuPy broadcasts arrays that are not raw to the loop's shape, and loops over one axis where all are contiguous.
    """
    dimensions = {ndim for kind, _, ndim, _ in kernel.arguments if kind == "array"}
    ndim = max(dimensions, default=1)
    is_flat = len(dimensions) <= 1 and all(contiguous for kind, _, _, contiguous in kernel.arguments if kind == "array")
    ndim = 1 if is_flat else ndim
    arguments = []
    for kind, dtype, own, is_contiguous in kernel.arguments:
        if kind == "array":
            arguments.append(Array(dtype, ndim, is_flat or (is_contiguous and own == ndim)))
        else:
            arguments.append(dtype if kind == "number" else Array(dtype, own, is_contiguous))
    definition = kernel.name, kernel.in_params, kernel.out_params, kernel.operation, kernel.preamble
    return Call(*definition, tuple(arguments), ndim)


@cache
def build(call: Call, architecture: str, small: bool = True) -> Built:
    """The kernel compiled for sm_{architecture}; for arrays of 2^31 bytes or more, unless they are `small`."""
    options = f"-arch=sm_{architecture}", "--ptxas-options=-v"
    log = _compile(source_of(call, small), options, "cubin")[1]
    numbers = lambda pattern: sum(int(number) for number in re.findall(pattern, log))
    spilled = numbers(r"(\d+) bytes spill stores") + numbers(r"(\d+) bytes spill loads")
    return Built(numbers(r"Used (\d+) registers"), numbers(r"(\d+) bytes stack frame"), spilled)


def double_instructions(call: Call, architecture: str) -> list[str]:
    """The kernel's arithmetic on float64 numbers, in PTX: a GPU has few units for it, some have hardly any."""
    code, _ = _compile(source_of(call), (f"-arch=compute_{architecture}",), "ptx")
    instructions = re.findall(r"^\s*(?:@\S+\s+)?([a-z][\w.]*\.f64[\w.]*)", code.decode(), re.MULTILINE)
    return [each for each in instructions if not each.startswith(("ld.", "st.", "mov."))]


def source_of(call: Call, small: bool = True) -> str:
    """CUDA C++ as CuPy generates it."""
    import cupy
    from cupy._core import _carray, _kernel, _scalar, core

    def info(argument, dtype):
        if isinstance(argument, Array):
            layout = argument.ndim, argument.is_contiguous, small
            return _kernel._ArgInfo(_NDARRAY, cupy.ndarray, np.dtype(dtype), *layout)
        return _kernel._ArgInfo(_SCALAR, _scalar.CScalar, np.dtype(dtype), 0, True, True)

    kernel = cupy.ElementwiseKernel(call.inputs, call.outputs, call.operation, call.name, preamble=call.preamble)
    known = tuple(np.dtype(argument.dtype) if isinstance(argument, Array) else None for argument in call.arguments)
    in_types, out_types, type_map = kernel._decide_params_type(known[: kernel.nin], known[kernel.nin :])
    indexer = _kernel._ArgInfo(_INDEXER, _carray.Indexer, None, call.ndim, True, small)
    infos = *map(info, call.arguments, in_types + out_types), indexer
    definition = kernel.params, kernel.operation, kernel.name, kernel.preamble
    code = _kernel._get_elementwise_kernel_code(infos, type_map, *definition)
    return "".join(f"#include <{header}>\n" for header in core._cupy_header_list) + code


def _options():
    from cupy._core import core

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where a library is looked for and not found
        return core.assemble_cupy_compiler_options(())


def _compile(source, options, method):
    from cupy.cuda import compiler

    log = io.StringIO()
    program = compiler._NVRTCProgram(source, "kernel.cu", method=method)
    # As compiler.py adds them; the first makes every float32 number below 1e-38 a 0.
    options = (*_options(), "-ftz=true", "--device-as-default-execution-space", *options)
    try:
        code, _ = program.compile(options, log)
    except compiler.CompileException as error:
        raise Rejected(f"{error}\n{source}") from None
    if "warning" in log.getvalue():
        raise Rejected(f"{log.getvalue()}\n{source}")
    return code, log.getvalue()
