"""A stand-in for CuPy that tells what machine it runs on, with any piece of it missing; its arrays are NumPy's."""

from types import SimpleNamespace

import numpy as np


class CUDARuntimeError(RuntimeError):
    """As in cupy.cuda.runtime."""


class Linalg:
    """Where CuPy keeps how float32 matrix products are computed; the numbers are its own."""

    COMPUTE_TYPE_DEFAULT, COMPUTE_TYPE_TF32 = 1, 7
    chosen = None

    def set_compute_type(self, dtype, compute_type):
        assert dtype == np.float32
        self.chosen = compute_type

    def get_compute_type(self, dtype):
        assert dtype == np.float32
        return self.chosen


def fake_cupy(version="14.2.0", driver=12080, n=2, capability="90", asarray=np.asarray, matmul=np.matmul):
    """As much of CuPy as `open_backend` and `info` ask, on GPUs like an H100.

    n   how many of them, or the exception that is raised instead
    """

    def count():
        if isinstance(n, Exception):
            raise n
        return n

    runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: 12090,
        getDeviceCount=count,
        getDeviceProperties=lambda device: {"name": b"NVIDIA H100 80GB HBM3", "multiProcessorCount": 132},
    )
    used = []
    device = lambda number: SimpleNamespace(
        compute_capability=capability, use=lambda: used.append(number), mem_info=(78 * 2**30, 80 * 2**30)
    )
    cuda = SimpleNamespace(
        runtime=runtime,
        Device=device,
        nvrtc=SimpleNamespace(getVersion=lambda: (12, 9)),
        cublas=SimpleNamespace(getVersion=lambda handle: 120901),
        get_cublas_handle=lambda: 1,
    )
    return SimpleNamespace(
        __name__="cupy",
        __version__=version,
        used=used,
        cuda=cuda,
        _core=SimpleNamespace(_routines_linalg=Linalg()),
        asarray=asarray,
        matmul=matmul,
    )
