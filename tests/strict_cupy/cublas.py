"""cuBLAS's strided batched product on raw addresses, with the checks that cuBLAS makes and some that it does not.

    C[l] = alpha op(A[l]) op(B[l]) + beta C[l]          op(A) (m, k), op(B) (k, n), C (m, n), l = 0 .. batchCount - 1

Matrices lie column by column, columns `ld` apart, matrices `stride` apart. C is read only where beta is not 0.
"""

import ctypes

import numpy as np

from strict_cupy import memory
from strict_cupy.runtime import CUDA_R_32F, CUDA_R_64F
from strict_cupy.streams import launch

CUBLAS_OP_N, CUBLAS_OP_T = 0, 1
CUBLAS_GEMM_DEFAULT = -1
CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_64F = 68, 77, 70
HANDLE = 0xC0B1A5

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
    if not Atype == Btype == Ctype or computeType not in _PRECISIONS.get(Ctype, ()):
        raise CUBLASError(f"CUBLAS_STATUS_NOT_SUPPORTED: types {Atype}, {Btype}, {Ctype} computed as {computeType}")
    if algo != CUBLAS_GEMM_DEFAULT or not {transa, transb} <= {CUBLAS_OP_N, CUBLAS_OP_T}:
        raise CUBLASError(f"CUBLAS_STATUS_NOT_SUPPORTED: operations {transa}, {transb}, algorithm {algo}")
    dtype, number = _NUMBERS[Ctype]
    a = _operand("A", A, (m, k), transa, lda, strideA, batchCount, dtype)
    b = _operand("B", B, (k, n), transb, ldb, strideB, batchCount, dtype)
    c = _operand("C", C, (m, n), CUBLAS_OP_N, ldc, strideC, batchCount, dtype)
    launch("gemmStridedBatchedEx")
    if not c.size:
        return
    memory.check_target(c)
    for name, matrix in (("A", a), ("B", b)):
        memory.check_apart(c, matrix, name)
    alpha, beta = (number.from_address(address).value for address in (alpha, beta))
    with np.errstate(all="ignore"):
        product = alpha * np.matmul(a, b)
        c[...] = product.astype(dtype, copy=False) if beta == 0 else (product + beta * c).astype(dtype, copy=False)


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
