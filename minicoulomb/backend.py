"""Which array library holds the numbers: NumPy on the host, or CuPy on a GPU, with the same code for both.

A function asks its argument: `xp = array_module(x)`, then calls `xp.matmul`, `xp.empty`, ... This file alone
imports CuPy, and only when a CuPy backend is asked for; it never falls back to NumPy silently.
"""

import sys
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from minicoulomb.errors import UserError

INSTALL_LINE = "pip install cupy-cuda12x (or cupy-cuda13x, as nvidia-smi's CUDA version says)"


def array_module(array) -> ModuleType:
    """numpy for a NumPy array, cupy for a CuPy array."""
    if isinstance(array, np.ndarray):
        return np
    return sys.modules[type(array).__module__.partition(".")[0]]


def on_gpu(array) -> bool:
    """Whether the array is one of a GPU's, where a fused kernel may take the place of plain operations."""
    return not isinstance(array, np.ndarray)


@dataclass(frozen=True)
class Backend:
    """An array library and, for CuPy, one of its devices.

    name   "numpy" or "cupy"
    xp     the module whose functions make and transform arrays
    """

    name: str
    xp: ModuleType

    def to_device(self, array: np.ndarray, dtype=None):
        """The host array on the backend's device, as `dtype` if given."""
        return self.xp.asarray(array, dtype=dtype)

    def synchronize(self) -> None:
        """Wait until the device has done what it was given; on the host nothing is ever pending."""
        if self.name == "cupy":
            self.xp.cuda.get_current_stream().synchronize()


def to_host(array) -> np.ndarray:
    """A NumPy array with the same numbers; waits for the device."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.get())


def open_backend(name: str = "numpy", device: int = 0) -> Backend:
    """The backend called "numpy" or "cupy"; "auto" is CuPy where a GPU works and NumPy elsewhere.

    Raises UserError with the reason when CuPy is asked for and cannot compute.
    """
    if name == "auto":
        try:
            return open_backend("cupy", device)
        except UserError:
            return open_backend("numpy")
    if name == "numpy":
        return Backend("numpy", np)
    if name != "cupy":
        raise UserError(f"backend {name!r}: must be numpy, cupy or auto")
    try:
        import cupy
    except ImportError as error:
        raise UserError(
            f"backend cupy: CuPy does not import ({error}); {INSTALL_LINE}, or use --backend numpy"
        ) from None
    try:
        cupy.cuda.Device(device).use()
        float((cupy.ones((2, 2)) @ cupy.ones((2, 2)))[0, 0])  # a real matrix product is the only proof that it works
    except Exception as error:  # CuPy raises a different class for each missing piece: driver, device, library
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"backend cupy, device {device}: no GPU that computes ({reason}); use --backend numpy"
        ) from None
    return Backend("cupy", cupy)
