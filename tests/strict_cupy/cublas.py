"""cuBLAS's strided batched product on raw addresses, with the checks that cuBLAS makes and some that it does not.

    C[l] = alpha op(A[l]) op(B[l]) + beta C[l]          op(A) (m, k), op(B) (k, n), C (m, n), l = 0 .. batchCount - 1

Matrices lie column by column, columns `ld` apart, matrices `stride` apart. C is read only where beta is not 0.

`load_library` loads a shared library with the names of cuBLAS's functions and their C types, as CuPy loads
cuBLAS. Whoever opens it by its name calls the functions here; what they raise, `check_status` raises.
"""

import ctypes
from ctypes import CFUNCTYPE, c_int, c_longlong, c_size_t, c_void_p
from functools import cache

import numpy as np

from strict_cupy import capture, compiler, memory
from strict_cupy.runtime import CUDA_R_32F, CUDA_R_64F
from strict_cupy.streams import Stream, run, stream_at

CUBLAS_OP_N, CUBLAS_OP_T = 0, 1
CUBLAS_GEMM_DEFAULT = -1
CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_64F = 68, 77, 70
HANDLE = 0xC0B1A5
_MAJOR = 99

_NUMBERS = {CUDA_R_32F: (np.float32, ctypes.c_float), CUDA_R_64F: (np.float64, ctypes.c_double)}
_PRECISIONS = {CUDA_R_32F: (CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32), CUDA_R_64F: (CUBLAS_COMPUTE_64F,)}


class CUBLASError(RuntimeError):
    """A status other than success."""


def gemmStridedBatchedEx(
    handle: int,
    transa: int,
    transb: int,
    m: int,
    n: int,
    k: int,
    alpha: int,
    A: int,
    Atype: int,
    lda: int,
    strideA: int,
    B: int,
    Btype: int,
    ldb: int,
    strideB: int,
    beta: int,
    C: int,
    Ctype: int,
    ldc: int,
    strideC: int,
    batchCount: int,
    computeType: int,
    algo: int,
) -> None:
    """alpha and beta are addresses on the host, A, B and C on the device; strides and `ld` count numbers."""
    if handle != HANDLE:
        raise CUBLASError("CUBLAS_STATUS_NOT_INITIALIZED: the handle is not Device().cublas_handle")
    capture.refuse_cublas()
    _product(
        *(
            "gemmStridedBatchedEx",
            None,
            (),
            transa,
            transb,
            m,
            n,
            k,
            alpha,
            A,
            Atype,
            lda,
            strideA,
            B,
            Btype,
            ldb,
            strideB,
        ),
        *(beta, C, Ctype, ldc, strideC, batchCount, computeType, algo),
    )


def getVersion(handle: int) -> int:
    """One that NVIDIA has not: the name of the library holds it, and cuBLAS itself may be loaded too."""
    return 10_000 * _MAJOR


def check_status(status: int) -> None:
    """Raise what went wrong in a function of the library."""
    if status:
        raise _errors.pop() if _errors else CUBLASError(f"status {status}")


def _product(
    name,
    stream: Stream | None,
    workspace,
    transa,
    transb,
    m,
    n,
    k,
    alpha,
    A,
    Atype,
    lda,
    strideA,
    B,
    Btype,
    ldb,
    strideB,
    beta,
    C,
    Ctype,
    ldc,
    strideC,
    batchCount,
    computeType,
    algo,
):
    if not Atype == Btype == Ctype or computeType not in _PRECISIONS.get(Ctype, ()):
        raise CUBLASError(f"CUBLAS_STATUS_NOT_SUPPORTED: types {Atype}, {Btype}, {Ctype} computed as {computeType}")
    if algo != CUBLAS_GEMM_DEFAULT or not {transa, transb} <= {CUBLAS_OP_N, CUBLAS_OP_T}:
        raise CUBLASError(f"CUBLAS_STATUS_NOT_SUPPORTED: operations {transa}, {transb}, algorithm {algo}")
    dtype, number = _NUMBERS[Ctype]
    a = _operand("A", A, (m, k), transa, lda, strideA, batchCount, dtype)
    b = _operand("B", B, (k, n), transb, ldb, strideB, batchCount, dtype)
    c = _operand("C", C, (m, n), CUBLAS_OP_N, ldc, strideC, batchCount, dtype)
    if not c.size:
        return
    if not k:
        raise CUBLASError("a product of no terms: what cuBLAS leaves in C is not documented")
    memory.check_target(c)
    for factor, matrix in (("A", a), ("B", b)):
        memory.check_apart(c, matrix, factor)
    alpha, beta = (number.from_address(address).value for address in (alpha, beta))

    def multiply(c, a, b, *_):
        product = alpha * np.matmul(a, b)
        c[...] = product.astype(dtype, copy=False) if beta == 0 else (product + beta * c).astype(dtype, copy=False)

    run(name, multiply, c, a, b, *workspace, stream=stream)


def _operand(name, pointer, shape, operation, ld, stride, count, dtype):
    """op(X), (count, *shape), of the matrices at an address."""
    rows, columns = shape if operation == CUBLAS_OP_N else shape[::-1]
    if min(rows, columns, count) < 0 or ld < max(1, rows):
        raise CUBLASError(
            f"CUBLAS_STATUS_INVALID_VALUE: {count} matrices {name} of {rows} rows and {columns} columns, ld {ld}"
        )
    if not rows * columns * count:
        return np.zeros((count, *shape), dtype)
    size = np.dtype(dtype).itemsize
    matrices = memory.at(pointer, (count, rows, columns), (stride * size, size, ld * size), dtype)
    return matrices if operation == CUBLAS_OP_N else matrices.swapaxes(1, 2)


# The library


class _Handle:
    """What cublasCreate_v2 makes: the address of the stream that products go to, and the memory that they may use."""

    def __init__(self):
        self.stream, self.workspace = 0, None


_handles: dict[int, _Handle] = {}
_errors: list[Exception] = []
_alive: list = []


def _create(place):
    capture.refuse("cublasCreate_v2, which takes memory")
    address = 0xC0B1_A500_0000 + len(_handles)
    _handles[address] = _Handle()
    c_void_p.from_address(place).value = address


def _set_stream(handle, stream):
    _handles[handle].stream, _handles[handle].workspace = stream or 0, None


def _set_workspace(handle, pointer, size):
    if pointer % 256:
        raise CUBLASError("CUBLAS_STATUS_INVALID_VALUE: a workspace starts at a multiple of 256")
    _handles[handle].workspace = pointer, size


def _gemm(handle, *arguments):
    handle = _handles[handle]
    if handle.workspace is None:
        raise CUBLASError("no workspace: cublasSetStream_v2 takes away what was set before it")
    pointer, size = handle.workspace
    workspace = memory.at(pointer, (size,), (1,), np.uint8)
    _product("cublasGemmStridedBatchedEx", stream_at(handle.stream), (workspace,), *arguments)


_MATRICES = (c_void_p, c_int, c_int, c_longlong)
_FUNCTIONS = {
    "cublasCreate_v2": (_create, (c_void_p,)),
    "cublasSetStream_v2": (_set_stream, (c_void_p, c_void_p)),
    "cublasSetWorkspace_v2": (_set_workspace, (c_void_p, c_void_p, c_size_t)),
    "cublasGemmStridedBatchedEx": (
        _gemm,
        (c_void_p, *[c_int] * 5, c_void_p, *_MATRICES, *_MATRICES, c_void_p, *_MATRICES, c_int, c_int, c_int),
    ),
}
_C_NAMES = {c_void_p: "void *", c_int: "int", c_longlong: "long long", c_size_t: "__SIZE_TYPE__"}


@cache
def load_library():
    """The library, which lives as long as the process; NoCompiler where nothing compiles it."""
    code = ""
    for name, (_, types) in _FUNCTIONS.items():
        declared = ", ".join(f"{_C_NAMES[kind]} a{k}" for k, kind in enumerate(types))
        passed = ", ".join(f"a{k}" for k in range(len(types)))
        code += f"""
            extern "C" {{
            int (*{name}_in_python)({declared});
            int {name}({declared}) {{ return {name}_in_python({passed}); }}
            }}"""
    path, _ = compiler.compiled(code, f"-Wl,-soname,libcublas.so.{_MAJOR}")
    library = ctypes.CDLL(str(path))
    for name, (function, types) in _FUNCTIONS.items():
        pointer = CFUNCTYPE(c_int, *types)(_reporting(function))
        c_void_p.in_dll(library, f"{name}_in_python").value = ctypes.cast(pointer, c_void_p).value
        _alive.append(pointer)
    return library


def _reporting(function):
    """It as C sees it: a status, since no exception passes through C."""

    def call(*arguments):
        try:
            function(*arguments)
        except Exception as error:
            _errors.append(error)
            return 14  # CUBLAS_STATUS_INTERNAL_ERROR
        return 0

    return call
