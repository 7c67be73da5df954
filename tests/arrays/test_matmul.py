"""Matrix products on the host, and on a GPU by cuBLAS's own functions (the stand-in's, which are real C functions)."""

import ctypes
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import strict_cupy as xp
from hypothesis import given
from hypothesis import strategies as st

from minicoulomb.arrays import matmul as products
from minicoulomb.arrays.backend import to_host
from minicoulomb.arrays.matmul import batched_matmul, matmul, why_no_capture

FLOATS = st.sampled_from([np.float32, np.float64])


@st.composite
def operands(draw):
    """Two arrays with 1 or 2 axes that fit: sizes 0 to 5, some turned, some with steps, some reversed or repeated."""
    n, k, m = (draw(st.integers(0, 5)) for _ in range(3))
    shapes = [(n, k)[draw(st.integers(0, 1)) :], (k, m)[: draw(st.integers(1, 2))]]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return [draw(view_of(rng, shape, draw(FLOATS))) for shape in shapes]


@st.composite
def view_of(draw, rng, shape, dtype):
    """(base array, function from it to a view of `shape`)."""
    kind = draw(st.sampled_from(["plain", "turned", "stepped", "reversed", "repeated", "windows"]))
    if kind == "turned":
        return rng.standard_normal(shape[::-1]).astype(dtype), lambda a: a.T
    if kind == "stepped":
        whole = tuple(2 * size + 1 for size in shape)
        return rng.standard_normal(whole).astype(dtype), lambda a: a[tuple(slice(1, None, 2) for _ in shape)]
    if kind == "reversed":
        return rng.standard_normal(shape).astype(dtype), lambda a: a[tuple(slice(None, None, -1) for _ in shape)]
    if kind == "repeated":
        row = rng.standard_normal(shape[1:]).astype(dtype)
        return row, lambda a: products.array_module(a).broadcast_to(a, shape)
    if kind == "windows" and len(shape) == 2 and min(shape):
        line = rng.standard_normal(sum(shape)).astype(dtype)
        strides = (line.itemsize,) * 2
        return line, lambda a: products.array_module(a).lib.stride_tricks.as_strided(a, shape, strides)
    return rng.standard_normal(shape).astype(dtype), lambda a: a


@given(operands())
def test_a_product_on_a_gpu_is_numpys_for_all_shapes_strides_and_dtypes(pair):
    left, right = (view(base) for base, view in pair)
    expected = np.asarray(left @ right)
    ours = matmul(*(view(xp.asarray(base)) for base, view in pair))
    assert (ours.shape, ours.dtype) == (expected.shape, expected.dtype)
    accuracy = 10 * np.finfo(expected.dtype).eps
    np.testing.assert_allclose(to_host(ours), expected, rtol=accuracy, atol=accuracy)
    out = xp.full((2, *expected.shape), 7.0, expected.dtype)[1]
    assert matmul(*(view(xp.asarray(base)) for base, view in pair), out=out) is out
    np.testing.assert_array_equal(to_host(out), to_host(ours))


def test_on_the_host_it_is_numpys_product():
    a, b, out = np.ones((2, 3), np.float32), np.ones((3, 4)), np.empty((2, 4))
    assert matmul(a, b, out=out) is out
    assert matmul(a[0], b[:, 0]) == 3
    np.testing.assert_array_equal(matmul(np.ones((5, 2, 3)), b), np.full((5, 2, 4), 3.0))


def test_rows_of_out_may_lie_apart_and_nothing_between_them_is_touched():
    a, b, whole = xp.asarray(np.arange(6.0).reshape(2, 3)), xp.asarray(np.arange(12.0).reshape(3, 4)), xp.zeros((3, 6))
    matmul(a, b, out=whole[:2, 1:5])
    expected = np.zeros((3, 6))
    expected[:2, 1:5] = to_host(a) @ to_host(b)
    np.testing.assert_array_equal(to_host(whole), expected)
    column = xp.zeros((2, 3))
    matmul(a, b[:, 0], out=column[:, 1])
    np.testing.assert_array_equal(to_host(column)[:, 1], expected[:2, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: matmul(a, a), r"\(2, 3\) times \(2, 3\); takes matrices and vectors"),
        (lambda a: matmul(a[None], a.T), "takes matrices and vectors"),
        (lambda a: matmul(a[0, 0], a), "takes matrices and vectors"),
        (lambda a: matmul(a, a.T, out=xp.empty((2, 3), np.float32)), r"out of \(2, 3\), float32 for a product of"),
        (lambda a: matmul(a, a.T, out=xp.empty((2, 2))), "out of .*float64 for a product of .*float32"),
        (lambda a: matmul(a, a.T, out=xp.empty((2, 2), np.float32).T), "its rows must be contiguous"),
    ],
)
def test_a_product_that_cannot_be_raises_before_memory_is_touched(call, message):
    with pytest.raises(ValueError, match=message):
        call(xp.ones((2, 3), np.float32))


def test_sizes_beyond_cublas_are_refused_not_cut_to_32_bits(monkeypatch):
    monkeypatch.setattr(products, "LARGEST", 5)
    a, line = xp.ones((5, 4)), xp.ones(6)
    matmul(a, a.T)
    for product in (lambda: matmul(line, line), lambda: matmul(xp.ones((5, 6))[:, :4], a.T)):
        with pytest.raises(OverflowError, match="cuBLAS takes at most 5"):
            product()


# The library


def library():
    """What matmul.py opens; without a compiler the test skips."""
    xp.cuda.cublas.load_library()
    return products._library(xp.cuda)[0]


def test_cublas_is_the_library_that_is_loaded_already():
    assert library()._handle == xp.cuda.cublas.load_library()._handle
    assert why_no_capture(xp) is None
    with xp.recorded() as waits:
        matmul(xp.ones((2, 3)), xp.ones((3, 2)))
    assert [name for name, _ in waits.launches].count("cublasGemmStridedBatchedEx") == 1


def test_addresses_and_sizes_reach_cublas_whole():
    """ctypes cuts an int to 32 bits where no type is declared. The stand-in's own declarations are NVIDIA's."""
    for name, (_, types) in xp.cuda.cublas._FUNCTIONS.items():
        assert getattr(library(), name).argtypes == types
        assert getattr(library(), name).restype is ctypes.c_int
    handle = products._handle_on_stream(xp.cuda, library())
    assert min(handle.value, xp.cuda.cublas._handles[handle.value].workspace[0]) > 2**32


def test_without_the_library_cupys_own_function_computes_and_the_reason_is_said(monkeypatch):
    monkeypatch.setattr(xp.cuda.cublas, "getVersion", lambda handle: 980_000)
    products._library.cache_clear()
    try:
        assert "libcublas.so.98: cannot open" in why_no_capture(xp)
        with xp.recorded() as waits:
            ours = matmul(xp.ones((2, 3)), xp.ones((3, 2)))
        assert [name for name, _ in waits.launches][-1] == "gemmStridedBatchedEx"
    finally:
        products._library.cache_clear()
    np.testing.assert_array_equal(to_host(ours), np.full((2, 2), 3.0))


def test_an_error_of_cublas_is_raised():
    with pytest.raises(MemoryError, match="outside every live array"):
        batched_matmul([(xp.ones((1, 2, 3)), xp.ones((1, 3, 2)), xp.ones((2, 2, 2)))])


@pytest.mark.parametrize("name", ["null", "new"])
def test_a_product_is_work_of_the_current_stream_with_a_workspace_of_that_stream(name):
    cuda = xp.cuda
    stream = cuda.Stream.null if name == "null" else cuda.Stream(non_blocking=True)
    with stream:
        matmul(xp.ones((2, 3)), xp.ones((3, 2)))
        handle = products._handle_on_stream(cuda, library())
    used = cuda.cublas._handles[handle.value]
    assert used.stream == stream.ptr
    with cuda.Stream(non_blocking=True) as other:
        matmul(xp.ones((2, 3)), xp.ones((3, 2)))
        assert used.stream == other.ptr
        assert used.workspace[0] != products._workspace(cuda, 0, stream).ptr


def test_the_workspace_of_a_stream_that_ended_is_the_next_streams():
    def workspace():
        with xp.cuda.Stream(non_blocking=True) as stream:
            matmul(xp.ones((2, 3)), xp.ones((3, 2)))
            return products._workspace(xp.cuda, 0, stream).ptr

    assert workspace() == workspace()
    with xp.cuda.Stream(non_blocking=True):
        assert workspace() not in [memory.ptr for memory in products._workspaces.values()]


@pytest.mark.parametrize(("tf32", "precision"), [("0", 68), ("1", 77)])
def test_tf32_is_asked_for_in_float32_alone(monkeypatch, tf32, precision):
    monkeypatch.setenv("CUPY_TF32", tf32)
    asked = []
    monkeypatch.setattr(
        xp.cuda.cublas, "_product", lambda name, stream, workspace, *arguments: asked.append(arguments[-2])
    )
    for dtype in (np.float32, np.float64):
        matmul(xp.ones((2, 3), dtype), xp.ones((3, 2), dtype))
    assert asked == [precision, 70]


@pytest.mark.parametrize(
    ("system", "version", "name"),
    [("posix", 120_903, "libcublas.so.12"), ("posix", 130_100, "libcublas.so.13"), ("nt", 130_100, "cublas64_13.dll")],
)
def test_the_library_has_the_name_of_its_system_and_version(monkeypatch, system, version, name):
    asked = []
    monkeypatch.setattr(products, "os", SimpleNamespace(name=system))
    monkeypatch.setattr(products.ctypes, "CDLL", lambda name: asked.append(name) or xp.cuda.cublas.load_library())
    cublas = SimpleNamespace(getVersion=lambda handle: version)
    products._library.__wrapped__(SimpleNamespace(cublas=cublas, Device=xp.cuda.Device))
    assert asked == [name]


def test_threads_have_handles_of_their_own():
    """A thread that sets another stream must not send the products of this one there."""
    handle = lambda: products._handle_on_stream(xp.cuda, library()).value
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(handle).result() != handle() == handle()
