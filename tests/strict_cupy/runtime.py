"""The few calls of the CUDA runtime that minicoulomb makes: one GPU of compute capability 9.0, CUDA 12.9."""

CUDA_R_32F, CUDA_R_64F = 0, 1  # number types, for cuBLAS
streamCaptureModeGlobal, streamCaptureModeThreadLocal, streamCaptureModeRelaxed = 0, 1, 2


class CUDARuntimeError(RuntimeError):
    """What CuPy raises where CUDA returns an error."""


def getDeviceCount() -> int:
    return 1


def driverGetVersion() -> int:
    return 12090


def runtimeGetVersion() -> int:
    return 12090


def getDevice() -> int:
    return 0


def getDeviceProperties(device: int) -> dict:
    if device != 0:
        raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
    return {
        "name": b"strict stand-in",
        "totalGlobalMem": 2**34,
        "multiProcessorCount": 132,
        "major": 9,
        "minor": 0,
        "warpSize": 32,
        "l2CacheSize": 50 * 2**20,
    }
