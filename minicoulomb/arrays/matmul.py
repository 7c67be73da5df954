"""Matrix products, also of views that need not be contiguous.

    matmul(a, b, out=None)                      a @ b, of matrices and vectors
    batched_matmul([(a, b, out), ...])          out[k] = a[k] @ b[k]        (k, n, l), (k, l, m), (k, n, m)

On the host each product is one call of BLAS, and threads share the calls of a batch. On a GPU each product or batch is
one call of cuBLAS's strided batched product, which reads transposed operands and separated rows in place. In float32
it uses TF32 if the environment variable CUPY_TF32 is 1, as CuPy's products do.

CuPy refuses cuBLAS while a CUDA graph is captured; cuBLAS itself does not. So this file calls by ctypes the library
that CuPy has loaded, on a handle and with a workspace of its own. (nvmath-python binds the same four functions: one
more package to install and to keep in step with CuPy's.) Where the library does not open, CuPy calls it.
"""

import ctypes
import os
from collections import defaultdict
from collections.abc import Iterable
from ctypes import c_double, c_float, c_int, c_longlong, c_size_t, c_void_p
from functools import cache
from threading import get_ident
from weakref import finalize

import numpy as np

from minicoulomb.arrays.backend import array_module, on_gpu
from minicoulomb.arrays.threads import for_each

# Bytes on the device that cuBLAS may use, as much as NVIDIA advises for its largest GPUs.
WORKSPACE = 32 * 2**20
# cuBLAS's sizes have 32 bits.
LARGEST = 2**31 - 1
# alpha and beta, which cuBLAS reads on the host.
_NUMBERS = {np.dtype("float32"): c_float, np.dtype("float64"): c_double}
_ONE, _ZERO = ({dtype: kind(value) for dtype, kind in _NUMBERS.items()} for value in (1, 0))


def matmul(a, b, out=None):
    """a @ b for two matrices, a matrix and a vector, or two vectors of float32 or float64.

    On a GPU the product of two vectors has the shape (). There `out` has the product's dtype, shares no memory with a
    and b, and its last axis is contiguous.
    """
    if not on_gpu(a):
        return np.matmul(a, b, out=out)
    if not {a.ndim, b.ndim} <= {1, 2} or a.shape[-1] != b.shape[0]:
        raise ValueError(f"matmul: {a.shape} times {b.shape}; takes matrices and vectors, (.., k) and (k, ..)")
    shape, dtype = a.shape[:-1] + b.shape[1:], np.promote_types(a.dtype, b.dtype)
    out = array_module(a).empty(shape, dtype) if out is None else out
    if (out.shape, out.dtype) != (shape, dtype):
        raise ValueError(f"matmul: out of {out.shape}, {out.dtype} for a product of {shape}, {dtype}")
    rows, columns = (None if array.ndim == 1 else slice(None) for array in (a, b))
    a, b = a.astype(dtype, copy=False)[None, rows], b.astype(dtype, copy=False)[None, :, columns]
    _strided_batched(a, b, out[None, rows, columns])
    return out


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


def why_no_capture(xp) -> str | None:
    """Why products cannot be captured into a CUDA graph, in a few words; None where they can."""
    return _library(xp.cuda)[1]


def _strided_batched(a, b, out):
    """out = a @ b by cuBLAS, whose matrices lie column by column: it computes out^T = b^T a^T."""
    xp, (count, n, m), dtype = array_module(out), out.shape, out.dtype
    k = a.shape[2]
    if not out.size or not k:
        out[...] = 0
        return
    cuda, cublas = xp.cuda, xp.cuda.cublas
    if dtype == np.float64:
        number, precision = cuda.runtime.CUDA_R_64F, cublas.CUBLAS_COMPUTE_64F
    elif os.environ.get("CUPY_TF32", "0") == "1":
        number, precision = cuda.runtime.CUDA_R_32F, cublas.CUBLAS_COMPUTE_32F_FAST_TF32
    else:
        number, precision = cuda.runtime.CUDA_R_32F, cublas.CUBLAS_COMPUTE_32F
    a, b = (matrix if _layout(matrix) else xp.ascontiguousarray(matrix) for matrix in (a, b))
    (turned_a, row_a), (turned_b, row_b), (turned, row) = (_layout(matrix) or (True, 0) for matrix in (a, b, out))
    if turned:
        raise ValueError(f"matmul: out of shape {out.shape}, strides {out.strides}; its rows must be contiguous")
    if max(n, m, k, row_a, row_b, row) > LARGEST:
        raise OverflowError(
            f"matmul: {a.shape} times {b.shape}, rows {max(row_a, row_b, row)} apart; cuBLAS takes at most {LARGEST}"
        )
    operand = lambda matrix, row: (matrix.data.ptr, number, row, matrix.strides[0] // matrix.itemsize)
    operation = lambda turned: cublas.CUBLAS_OP_T if turned else cublas.CUBLAS_OP_N
    arguments = (
        *(operation(turned_b), operation(turned_a), m, n, k, ctypes.addressof(_ONE[dtype])),
        *(*operand(b, row_b), *operand(a, row_a), ctypes.addressof(_ZERO[dtype]), *operand(out, row)),
        *(count, precision, cublas.CUBLAS_GEMM_DEFAULT),
    )
    library, _ = _library(cuda)
    if library is None:
        cublas.gemmStridedBatchedEx(cuda.Device().cublas_handle, *arguments)
    else:
        library.cublasGemmStridedBatchedEx(_handle_on_stream(cuda, library), *arguments)


def _layout(matrix) -> tuple[bool, int] | None:
    """(whether the matrix lies column by column, the distance of its rows, or then of its columns).

    None where cuBLAS cannot read it: neither rows nor columns are contiguous and apart.
    """
    (n, m), (row, column) = matrix.shape[1:], (stride // matrix.itemsize for stride in matrix.strides[1:])
    if (column == 1 or m == 1) and (row >= m or n == 1):
        return False, max(row, m)
    if (row == 1 or n == 1) and column >= n:
        return True, max(column, n)
    return None


# The library

# address, type of the numbers, distances of rows and of matrices
_MATRICES = (c_void_p, c_int, c_int, c_longlong)
# The types of the arguments: without them ctypes would cut an address to 32 bits.
_FUNCTIONS = {
    "cublasCreate_v2": (c_void_p,),
    "cublasSetStream_v2": (c_void_p, c_void_p),
    "cublasSetWorkspace_v2": (c_void_p, c_void_p, c_size_t),
    "cublasGemmStridedBatchedEx": (
        *(c_void_p, c_int, c_int, c_int, c_int, c_int, c_void_p),
        *(*_MATRICES, *_MATRICES, c_void_p, *_MATRICES, c_int, c_int, c_int),
    ),
}


@cache
def _library(cuda):
    """(cuBLAS, None), or (None, why it does not open).

    CuPy has loaded it, from wherever it lies. The system gives a library that is loaded already to everybody who asks
    for it by its name alone.
    """
    major = cuda.cublas.getVersion(cuda.Device().cublas_handle) // 10_000
    try:
        library = ctypes.CDLL(f"cublas64_{major}.dll" if os.name == "nt" else f"libcublas.so.{major}")
        for name, types in _FUNCTIONS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = types, c_int
            function.errcheck = lambda status, *_: cuda.cublas.check_status(status)
    except (OSError, AttributeError) as error:
        return None, f"cuBLAS does not open ({error})"
    return library, None


def _handle_on_stream(cuda, library):
    """cuBLAS's handle on the current stream, which no other thread uses, with a workspace that no other stream uses."""
    device, stream = cuda.runtime.getDevice(), cuda.get_current_stream()
    handle, workspace = _handle(library, get_ident(), device), _workspace(cuda, device, stream)
    library.cublasSetStream_v2(handle, stream.ptr)
    library.cublasSetWorkspace_v2(handle, workspace.ptr, WORKSPACE)  # setting the stream has taken it away
    return handle


@cache
def _handle(library, thread, device):
    handle = c_void_p()
    library.cublasCreate_v2(ctypes.byref(handle))
    return handle


# Memory from no pool, for a pool may be freed before a CUDA graph that uses it: of streams, and of streams that ended.
_workspaces: dict = {}
_free_workspaces: dict = defaultdict(list)


def _workspace(cuda, device, stream):
    """The stream's memory, as long as it lives; then another's."""
    key, free = (cuda, device, stream.ptr), _free_workspaces[cuda, device]
    if key not in _workspaces:
        _workspaces[key] = free.pop() if free else cuda.Memory(WORKSPACE)
        finalize(stream, lambda: free.append(_workspaces.pop(key)))
    return _workspaces[key]
