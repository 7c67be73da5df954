"""Versions, the host, and the GPU or the reason why it cannot be used.

Nothing here raises because something is missing: users read this, and send it along, when something does not work.
"""

import os
import platform
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from minicoulomb import __version__
from minicoulomb.arrays import backend as backends
from minicoulomb.arrays.threads import available_cores

GIB = 2**30


def describe(backend: str = "auto", device: int = 0, tf32: bool = False) -> dict[str, str | int]:
    """Names and values of the host and, unless `backend` is "numpy", of CuPy, NVIDIA's libraries and the GPU."""
    if backend == "numpy":
        return {**_host(), "backend": backends.open_backend(backend, device, tf32).name}
    try:
        cupy = backends.open_backend("cupy", device, tf32).xp
    except backends.NoGPU as error:
        chosen = "numpy, the choice of auto" if backend == "auto" else "cupy, which does not work here"
        found = getattr(sys.modules.get("cupy"), "__version__", "not usable")
        about = {"CuPy": found, "GPU": f"none: {error.reason}", "remedy": error.remedy, "backend": chosen}
        return {**_host(), **about}
    return {**_host(), **_gpu(cupy, device, tf32), "backend": "cupy" + ", the choice of auto" * (backend == "auto")}


def processor() -> str:
    """The processor's name, by Linux or else by Python."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def numpy_version() -> str:
    """The versions of NumPy and its BLAS and, if threadpoolctl is installed, the number of BLAS threads."""
    return f"{version('numpy')} ({backends.blas()}{_blas_threads()})"


def system() -> str:
    return f"{platform.system()} {platform.machine()}"


def _blas_threads():
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return ""
    threads = max((pool["num_threads"] for pool in threadpool_info() if "numpy" in pool["filepath"]), default=0)
    return f" on {threads} thread{'s' * (threads > 1)}" if threads else ""


def _host():
    return {
        "minicoulomb": __version__,
        "Python": platform.python_version(),
        "NumPy": numpy_version(),
        "Pillow": version("pillow"),
        "click": version("click"),
        "system": system(),
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "threads": available_cores(),
        "memory": _memory(),
    }


def _memory():
    with suppress(AttributeError, ValueError, OSError):
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / GIB:.1f} GiB"
    return "unknown"


def _gpu(cupy, device, tf32):
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(device)
    free, total = cupy.cuda.Device(device).mem_info
    cublas = cupy.cuda.cublas.getVersion(cupy.cuda.get_cublas_handle())
    capability = backends.compute_capability(cupy, device)
    without = "off" if capability >= backends.TF32_SINCE else "none on this GPU"
    return {
        "CuPy": cupy.__version__,
        "CUDA driver": backends.cuda_version(runtime.driverGetVersion()),
        "CUDA runtime": backends.cuda_version(runtime.runtimeGetVersion()),
        "NVRTC": ".".join(map(str, cupy.cuda.nvrtc.getVersion())),
        "cuBLAS": f"{cublas // 10000}.{cublas // 100 % 100}.{cublas % 100}",
        "GPU": f"{device} of {runtime.getDeviceCount()}: {backends.device_name(cupy, device)}",
        "compute capability": str(capability),
        "multiprocessors": properties["multiProcessorCount"],
        "GPU memory": f"{free / GIB:.1f} of {total / GIB:.1f} GiB free",
        "TF32": "on" if tf32 else without,
    }
