"""Batches of matrix products, of views that need not be contiguous.

    batched_matmul([(a, b, out), ...])          out[k] = a[k] @ b[k]        (k, n, l), (k, l, m), (k, n, m)

On the host each product is one call of BLAS, and threads share the calls. On a GPU each triple is one call of cuBLAS's
strided batched product, which reads transposed operands and separated rows in place; CuPy's matmul would copy them. In
float32 it uses TF32 if the environment variable CUPY_TF32 is 1, as CuPy's products do.
"""

import os
from collections.abc import Iterable

import numpy as np

from minicoulomb.arrays.backend import array_module, on_gpu
from minicoulomb.arrays.threads import for_each


def batched_matmul(products: Iterable[tuple]) -> None:
    """out[k] = a[k] @ b[k] for every (a, b, out) and every k.

    One of the last two axes of each array is contiguous, and the last axis of `out`.
    """
    products = list(products)
    if on_gpu(products[0][0]):
        for a, b, out in products:
            _strided_batched(a, b, out)
    else:
        for_each(
            lambda matrices: np.matmul(matrices[0], matrices[1], out=matrices[2]),
            [matrices for product in products for matrices in zip(*product)],
        )


def _strided_batched(a, b, out):
    """out = a @ b by cuBLAS, whose matrices lie column by column: it computes out^T = b^T a^T."""
    cuda, (count, n, m) = array_module(out).cuda, out.shape
    double, cublas = out.dtype == np.float64, cuda.cublas
    number = cuda.runtime.CUDA_R_64F if double else cuda.runtime.CUDA_R_32F
    if double:
        precision = cublas.CUBLAS_COMPUTE_64F
    elif os.environ.get("CUPY_TF32", "0") == "1":
        precision = cublas.CUBLAS_COMPUTE_32F_FAST_TF32
    else:
        precision = cublas.CUBLAS_COMPUTE_32F
    one, zero = np.ones((), out.dtype), np.zeros((), out.dtype)
    operations, operands = [], []
    for matrix in (b, a):
        transposed, row = _layout(matrix)
        operations.append(cublas.CUBLAS_OP_T if transposed else cublas.CUBLAS_OP_N)
        operands += [matrix.data.ptr, number, row, matrix.strides[0] // matrix.itemsize]
    cublas.gemmStridedBatchedEx(
        *(cuda.Device().cublas_handle, *operations, m, n, a.shape[2], one.ctypes.data),
        *operands,
        *(zero.ctypes.data, out.data.ptr, number, _layout(out)[1], out.strides[0] // out.itemsize),
        *(count, precision, cublas.CUBLAS_GEMM_DEFAULT),
    )


def _layout(matrix) -> tuple[bool, int]:
    """(whether the matrix lies column by column, the distance of its rows, or then of its columns)."""
    (n, m), (row, column) = matrix.shape[1:], (stride // matrix.itemsize for stride in matrix.strides[1:])
    if column == 1 or m == 1:
        return False, max(row, m)
    return True, max(column, n)
