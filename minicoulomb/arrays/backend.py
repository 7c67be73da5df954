"""Which array library holds the numbers: NumPy on the host, or CuPy on a GPU, with the same code for both.

A function looks at its argument: `xp = array_module(x)`, then calls `xp.matmul`, `xp.empty`, ... This file alone
imports CuPy, and only for a CuPy backend; it never falls back to NumPy silently.

CuPy also imports without a driver, a GPU, or NVIDIA's libraries. So `open_backend` looks for each of them in turn,
names the first that is missing with its remedy, and then compares a computation on the GPU with a known result.
"""

import os
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from math import log
from types import ModuleType
from typing import Any

import numpy as np
from numpy import ndarray

from minicoulomb.errors import UserError

# A NumPy or CuPy array, in type hints.
Array = Any

# The dtypes of all numbers that layers and networks compute with, in the machine's byte order.
FLOATS = frozenset(map(np.dtype, ("float32", "float64")))
# The natural logarithms of their largest numbers.
LOG_MAX = {dtype.name: log(np.finfo(dtype).max) for dtype in FLOATS}

# The names of the extras in pyproject.toml; their [ctk] brings NVRTC, cuBLAS and the headers, which CuPy's wheels lack.
INSTALL_LINE = "pip install 'minicoulomb[cupy-cuda12x]' (or cupy-cuda13x, as nvidia-smi's CUDA version says)"

SEE_NVIDIA_SMI = "see whether nvidia-smi reports a fault"

# The version of CuPy whose functions this package calls.
CUPY_SINCE = 14

# The compute capability of the first GPUs with TF32.
TF32_SINCE = 8.0


class NoGPU(UserError):
    """CuPy cannot compute here: `reason` says why, and `remedy` what helps, each in a few words."""

    def __init__(self, reason: str, remedy: str):
        super().__init__(f"backend cupy: {reason}; {remedy}, or use --backend numpy")
        self.reason, self.remedy = reason, remedy


@dataclass(frozen=True)
class Backend:
    """An array library and, for CuPy, one of its devices.

    name     "numpy" or "cupy"
    xp       the module whose functions make and transform arrays
    device   which GPU
    tf32     whether its float32 matrix products may round their factors to 10 bits of mantissa
    choice   what "auto" chose and why, in a line; None where the name was not "auto"
    """

    name: str
    xp: ModuleType
    device: int = 0
    tf32: bool = False
    choice: str | None = None

    def to_device(self, array: np.ndarray, dtype=None):
        """The host array on the backend's device, as `dtype` if given."""
        return self.xp.asarray(array, dtype=dtype)

    def synchronize(self) -> None:
        """Wait until the device has finished its work; on the host nothing is ever pending."""
        if self.name == "cupy":
            self.xp.cuda.get_current_stream().synchronize()


def floats(*arrays: Array) -> ModuleType:
    """numpy or cupy, whose arrays these are; UserError unless all are float32 or float64 and have an axis.

    Any strides will do. It looks at types alone, not at numbers, so it waits for no device.

    >>> floats([1.0, 2.0])
    Traceback (most recent call last):
    minicoulomb.errors.UserError: list: must be an array of float32 or float64 with an axis; use numpy.asarray(x, float)
    """
    for array in arrays:
        if type(array) is ndarray and array.dtype in FLOATS and array.ndim:
            continue  # at once: a step of training comes here 100 times
        if not (is_array(array) and array.dtype in FLOATS and array.ndim):
            what = f"{type(array).__name__}{f' of {array.dtype}' if hasattr(array, 'dtype') else ''}"
            remedy = "fill its gaps first" if what.startswith("Mask") else "use numpy.asarray(x, float)"
            raise UserError(f"{what}: must be an array of float32 or float64 with an axis; {remedy}")
    return np if type(array) is ndarray else array_module(array)


def changing(*arrays: Array) -> ModuleType:
    """`floats` for arrays that are about to change in place: UserError where one is read-only, on the host."""
    xp = floats(*arrays)
    for array in arrays if xp is np else ():
        if not array.flags.writeable:
            raise UserError(f"array of shape {array.shape}: is read-only, and would change in place; pass a copy of it")
    return xp


def is_array(array) -> bool:
    """Whether it is a plain array of NumPy (mapped to a file, perhaps) or CuPy: no masked array, matrix or scalar."""
    return type(array).__name__ in ("ndarray", "memmap")


def array_module(array) -> ModuleType:
    """numpy for a NumPy array, cupy for a CuPy array."""
    if isinstance(array, np.ndarray):
        return np
    return sys.modules[type(array).__module__.partition(".")[0]]


def on_gpu(array) -> bool:
    """Whether the array is on a GPU, where a fused kernel may replace plain operations."""
    return not isinstance(array, np.ndarray)


def to_host(array) -> np.ndarray:
    """A NumPy array with the same numbers; waits for the device."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.get())


def open_backend(name: str = "numpy", device: int = 0, tf32: bool = False) -> Backend:
    """The backend called "numpy" or "cupy"; "auto" is CuPy where a GPU works and NumPy elsewhere, and says so.

    device   which GPU becomes the current one
    tf32     let matrix products of float32 on it use TF32

    Raises NoGPU, a UserError, with the reason where CuPy cannot compute, and UserError for TF32 on hardware without it.
    """
    if name == "auto":
        return _choose(device, tf32)
    if name == "numpy":
        if tf32:
            raise UserError("tf32: NumPy has no such matrix products; use --no-tf32, or --backend cupy")
        return Backend("numpy", np)
    if name != "cupy":
        raise UserError(f"backend {name!r}: must be numpy, cupy or auto")
    cupy = load_cupy()
    _select(cupy, device)
    _set_tf32(cupy, device, tf32)
    _prove(cupy, tf32)
    return Backend("cupy", cupy, device, tf32)


def load_cupy() -> ModuleType:
    """CuPy, perhaps unable to compute; NoGPU where it is not installed, does not import, or is too old."""
    if "cupy" not in sys.modules and find_spec("cupy") is None:
        raise NoGPU("CuPy is not installed", INSTALL_LINE)
    try:
        import cupy
    except Exception as error:  # a library or another package that it needs may raise anything
        raise NoGPU(
            f"CuPy is installed but does not import ({in_a_line(error)})", f"reinstall it: {INSTALL_LINE}"
        ) from None
    if int(cupy.__version__.partition(".")[0]) < CUPY_SINCE:
        raise NoGPU(f"CuPy {cupy.__version__} is too old: it must be {CUPY_SINCE} or later", INSTALL_LINE)
    return cupy


def blas() -> str:
    """The library that computes NumPy's matrix products, with its version."""
    about = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{about['name']} {about['version']}"


def device_name(cupy: ModuleType, device: int) -> str:
    """NVIDIA's name of the GPU."""
    return cupy.cuda.runtime.getDeviceProperties(device)["name"].decode()


def compute_capability(cupy: ModuleType, device: int) -> float:
    """The GPU's compute capability: 8.0 for an A100, 9.0 for an H100."""
    return int(cupy.cuda.Device(device).compute_capability) / 10  # CuPy says "80"


def cuda_version(number: int) -> str:
    """A version as people write it: 12.9 for CUDA's 12090."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _choose(device, tf32):
    try:
        backend = open_backend("cupy", device, tf32)
    except NoGPU as error:
        unused = "; --tf32 has no effect" if tf32 else ""
        return Backend("numpy", np, choice=f"auto: numpy, because {error.reason}{unused}")
    return Backend("cupy", backend.xp, device, tf32, f"auto: cupy, {device_name(backend.xp, device)}")


def _select(cupy, device):
    """Make the GPU the current one; NoGPU where the driver, any GPU, or this one is missing."""
    runtime = cupy.cuda.runtime
    driver, built_for = runtime.driverGetVersion(), cuda_version(runtime.runtimeGetVersion())
    if not driver:
        raise NoGPU(
            "there is no NVIDIA driver", "install one, until nvidia-smi lists the GPU (a container wants --gpus all)"
        )
    try:
        n = runtime.getDeviceCount()
        if 0 < n <= device:
            count = f"there are {n} GPUs" if n > 1 else "there is 1 GPU"
            raise NoGPU(f"device {device}: {count}{_visible()}", f"use --device {n - 1} or less")
        cupy.cuda.Device(device).use()
    except runtime.CUDARuntimeError as error:
        if "cudaErrorInsufficientDriver" in str(error):
            raise NoGPU(
                f"the NVIDIA driver is too old: it is for CUDA {cuda_version(driver)}, and CuPy {cupy.__version__} "
                f"for CUDA {built_for}",
                f"update the driver, or install the CuPy of its CUDA version: {INSTALL_LINE}",
            ) from None
        if "cudaErrorNoDevice" in str(error):
            hidden = _visible()
            remedy = "unset that, or choose one that nvidia-smi lists" if hidden else "see whether nvidia-smi lists one"
            raise NoGPU(f"the driver finds no GPU{hidden}", remedy) from None
        raise NoGPU(f"CUDA does not start ({in_a_line(error)})", SEE_NVIDIA_SMI) from None


def _set_tf32(cupy, device, tf32):
    """Set CUPY_TF32, which matmul.py reads at each call and CuPy once in a process, and CuPy's variable."""
    capability = compute_capability(cupy, device)
    if tf32 and capability < TF32_SINCE:
        raise UserError(
            f"tf32: {device_name(cupy, device)} has compute capability {capability}, TF32 came with {TF32_SINCE}; "
            "use --no-tf32"
        )
    os.environ["CUPY_TF32"] = "1" if tf32 else "0"
    linalg = cupy._core._routines_linalg  # docs.cupy.dev has the variable CUPY_TF32 alone
    linalg.set_compute_type(np.float32, linalg.COMPUTE_TYPE_TF32 if tf32 else linalg.COMPUTE_TYPE_DEFAULT)


def _prove(cupy, tf32):
    """Compare a kernel's and a matrix product's numbers with the host's; NoGPU where they differ or fail.

    The kernel needs NVRTC and the headers, the product cuBLAS. Every number in both, and every partial sum, is a
    multiple of 2^-12 below 2^8, which float32 holds exactly. TF32 keeps 10 bits of 1 + k / 2^12: its error is at most
    2^-10.
    """
    n = 64
    i, j = np.indices((n, n))
    a = (1 + (37 * i + 11 * j) % 17 / 4096).astype(np.float32)
    b = ((5 * i + 3 * j) % 5 - 2).astype(np.float32)  # -2 .. 2
    try:
        doubled = to_host(cupy.asarray(a) * 2 - 1)
        product = to_host(cupy.matmul(cupy.asarray(a), cupy.asarray(b)))
    except Exception as error:  # each missing library has its own class: DynamicLibNotFoundError, ImportError, ...
        raise _failure(cupy, error) from None
    if (doubled != a * 2 - 1).any():
        raise NoGPU("the GPU computes 2 x - 1 wrong", SEE_NVIDIA_SMI)
    deviation = np.abs(product - a.astype(np.float64) @ b).max()
    if not deviation <= (n * 2 * 2**-10 if tf32 else 0):  # so that a NaN is an error
        raise NoGPU(
            f"a matrix product on the GPU is off by {deviation:.1e}",
            f"{SEE_NVIDIA_SMI}, and unset NVIDIA_TF32_OVERRIDE",
        )


def _failure(cupy, error):
    """NoGPU with the reason: a missing library of the CUDA toolkit, or CUDA's message."""
    text = str(error)
    missing = re.search(r"lib[\w-]+(?=\.so)", text)
    if missing or "CUDA headers" in text:
        major = cupy.cuda.runtime.runtimeGetVersion() // 1000
        return NoGPU(
            f"CuPy finds no {missing[0] if missing else 'CUDA headers'}, a part of the CUDA toolkit",
            f"pip install 'cupy-cuda{major}x[ctk]'",
        )
    return NoGPU(f"the GPU does not compute ({in_a_line(error)})", SEE_NVIDIA_SMI)


def _visible():
    """A hint where the environment hides GPUs."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if value is None else f" (CUDA_VISIBLE_DEVICES is {value!r})"


def in_a_line(error):
    """The class and the first informative line; CuPy puts the cause of a failed import last, below a frame."""
    lines = [line.strip() for line in str(error).partition("Original error:")[2].splitlines()]
    lines += [line.strip() for line in str(error).splitlines()]
    informative = next((line for line in lines if line.strip("=")), "")
    name = type(error).__name__
    return informative if informative.startswith(name) else f"{name}: {informative}".rstrip(": ")
