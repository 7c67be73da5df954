"""On what this program runs: versions, the host, and the GPU or why there is none.

What is not there is told, never raised: this is what to read, and to send along, when something does not work.
"""

import os
import platform
from importlib.metadata import version
from pathlib import Path

from minicoulomb import __version__
from minicoulomb.arrays.backend import (
    TF32_SINCE,
    NoGPU,
    blas,
    compute_capability,
    cuda_version,
    device_name,
    load_cupy,
    open_backend,
    tf32_is_on,
)
from minicoulomb.arrays.threads import available_cores

GIB = 2**30


def describe(backend: str = "auto", device: int = 0, tf32: bool = False) -> dict[str, str | int]:
    """Names and values: of the host, and unless `backend` is "numpy" of CuPy, NVIDIA's libraries, and the GPU."""
    if backend == "numpy":
        return {**_host(), "backend": open_backend(backend, device, tf32).name}
    try:
        found = _libraries(load_cupy())
    except NoGPU:
        found = {"CuPy": "none usable"}
    try:
        cupy = open_backend("cupy", device, tf32).xp
    except NoGPU as error:
        chosen = "numpy, the choice of auto" if backend == "auto" else "cupy, which cannot compute here"
        return {**_host(), **found, "GPU": f"none: {error.reason}", "remedy": error.remedy, "backend": chosen}
    chosen = "cupy, the choice of auto" if backend == "auto" else "cupy"
    return {**_host(), **found, **_gpu(cupy, device), "backend": chosen}


def lines(values: dict[str, str | int]) -> list[str]:
    """One for each value, in two columns."""
    width = max(map(len, values)) + 2
    return [f"{name:<{width}}{value}" for name, value in values.items()]


def processor() -> str:
    """The processor's name, as Linux tells it, or what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def numpy_version() -> str:
    """NumPy's and its BLAS's, and how many threads BLAS uses beside ours, where threadpoolctl can tell."""
    return f"{version('numpy')} ({blas()}{_blas_threads()})"


def system() -> str:
    return f"{platform.system()} {platform.machine()}"


def _blas_threads():
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return ""
    threads = {pool["num_threads"] for pool in threadpool_info() if "numpy" in pool["filepath"]}
    return f" on {max(threads)} thread{'s' * (max(threads) > 1)}" if threads else ""


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
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / GIB:.1f} GiB"
    except (AttributeError, ValueError, OSError):
        return "unknown"


def _libraries(cupy):
    """Versions of CuPy and of what it needs; cuBLAS tells its own only where there is a GPU."""
    runtime = cupy.cuda.runtime
    return {
        "CuPy": cupy.__version__,
        "CUDA driver": _found(lambda: _or_none(runtime.driverGetVersion())),
        "CUDA runtime": _found(lambda: _or_none(runtime.runtimeGetVersion())),
        "NVRTC": _found(lambda: ".".join(map(str, cupy.cuda.nvrtc.getVersion()))),
        "cuBLAS": _found(lambda: "found" if cupy.cuda.cublas else "none"),
    }


def _found(version):
    try:
        return version()
    except Exception:  # each library's absence has a class of its own
        return "not found"


def _or_none(number):
    return cuda_version(number) if number else "none"


def _gpu(cupy, device):
    properties = cupy.cuda.runtime.getDeviceProperties(device)
    free, total = cupy.cuda.Device(device).mem_info
    cublas = cupy.cuda.cublas.getVersion(cupy.cuda.get_cublas_handle())
    capability = compute_capability(cupy, device)
    return {
        "cuBLAS": f"{cublas // 10000}.{cublas // 100 % 100}.{cublas % 100}",
        "GPU": f"{device} of {cupy.cuda.runtime.getDeviceCount()}: {device_name(cupy, device)}",
        "compute capability": str(capability),
        "multiprocessors": properties["multiProcessorCount"],
        "GPU memory": f"{free / GIB:.1f} of {total / GIB:.1f} GiB free",
        "TF32": "on" if tf32_is_on(cupy) else "off" if capability >= TF32_SINCE else "none on this GPU",
    }
