"""The stand-in captures CUDA graphs: what it refuses meanwhile, what a launch runs, whose memory it still has."""

from collections import defaultdict

import numpy as np
import pytest
import strict_cupy as xp
from strict_cupy import capture, cuda

from minicoulomb.arrays import matmul as products
from minicoulomb.arrays.cuda import ElementwiseKernel, column_sums
from minicoulomb.arrays.matmul import batched_matmul, matmul


class Captured:
    """`function`, run twice on a stream and then captured, with the results of the capture and the memory it took."""

    def __init__(self, function):
        cuda.cublas.load_library()  # or skip
        self.pool, self.stream = cuda.MemoryPool(), cuda.Stream(non_blocking=True)
        with self.stream, cuda.using_allocator(self.pool.malloc):
            for _ in range(2):
                function()
            self.stream.begin_capture(cuda.runtime.streamCaptureModeRelaxed)
            try:
                self.result = function()
            finally:
                self.graph = self.stream.end_capture()

    def launch(self):
        self.graph.launch(self.stream)
        return self.result.get()


@pytest.fixture(autouse=True)
def no_capture_is_left():
    yield
    capture._local.capture = None  # of a test that failed


@pytest.fixture
def x():
    return xp.asarray(np.arange(12, dtype=np.float32).reshape(3, 4), blocking=True)  # for streams that do not block


SCALE = ElementwiseKernel("T x, number T a", "T z", "z = a * x + T(1)", "scale")
FUNCTIONS = {
    "elementwise": lambda m, x: (x * 2 - m.sqrt(x)) / (1 + x * x),
    "reductions": lambda m, x: x.sum(axis=0) + x.mean() + m.max(x, axis=0, keepdims=True),
    "product": lambda m, x: matmul(x, x.T),
    "vectors": lambda m, x: matmul(x[0], x[1]) * x,
    "copies": lambda m, x: m.ascontiguousarray(x.T).reshape(2, 6).astype(np.float64).T.copy(),
    "where": lambda m, x: m.where(x > 3, x, 0.5) + m.arange(4),
    "pad": lambda m, x: m.pad(x, 1) + m.full((5, 6), 2.0, np.float32),
    "views": lambda m, x: m.broadcast_to(x[1:, None], (2, 5, 4)).swapaxes(0, 2).reshape(-1),
}


@pytest.mark.parametrize("compute", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_launch_computes_what_the_host_does_from_what_lies_there_then(x, compute):
    captured = Captured(lambda: compute(xp, x))
    assert np.isnan(captured.result.get()).all()
    for _ in range(3):
        x += 1
        np.testing.assert_allclose(captured.launch(), compute(np, x.get()), rtol=1e-6)
    assert captured.pool.total_bytes() > 0


def test_a_launch_changes_in_place_and_kernels_keep_their_numbers(x):
    rate = xp.full((), 3.0, np.float32)
    y, number = xp.zeros((3, 4), np.float32), 2.0

    def step():
        y[...] = SCALE(x, rate)
        y[1:] += SCALE(x[1:], number)
        xp.ElementwiseKernel("raw T x, int32 n", "raw T y", "y[i] += x[i / n]")(x, 4, y, size=12)
        return column_sums(y)

    captured = Captured(step)
    expected = 3 * x.get() + 1
    expected[1:] += 2 * x.get()[1:] + 1
    expected += x.get().reshape(-1)[:3, None]
    np.testing.assert_array_equal(captured.launch(), expected.sum(axis=0))
    number = 7.0  # it was a number of the capture
    rate.fill(4.0)  # its memory is read
    np.testing.assert_array_equal(captured.launch(), expected.sum(axis=0) + x.get().sum(axis=0))


def test_indices_are_read_at_each_launch(x):
    rows = xp.asarray(np.array([2, 0]), blocking=True)
    y = xp.zeros((3, 4), np.float32)
    cuda.Device().synchronize()

    def step():
        y[rows] += x[rows] * 2
        return y[rows, rows + 1]

    captured = Captured(step)  # which ran it twice
    expected = np.zeros((3, 4), np.float32)
    expected[[2, 0]] = 6 * x.get()[[2, 0]]
    np.testing.assert_array_equal(captured.launch(), expected[[2, 0], [3, 1]])
    rows[...] = xp.arange(2)
    cuda.Device().synchronize()
    expected[:2] += 2 * x.get()[:2]
    np.testing.assert_array_equal(captured.launch(), expected[[0, 1], [1, 2]])
    rows.fill(1)
    cuda.Device().synchronize()
    with pytest.raises(ValueError, match="duplicates"):
        captured.launch()


def test_products_by_cublas_itself_are_captured_with_their_workspace():
    a, b, out = xp.ones((2, 3, 4)), xp.ones((2, 4, 5)), xp.zeros((2, 3, 5))

    def step():
        batched_matmul([(a, b, out)])
        return out

    captured = Captured(step)
    out[...] = 0
    with xp.recorded() as waits:
        np.testing.assert_array_equal(captured.launch(), np.full((2, 3, 5), 4.0))
    assert [name for name, _ in waits.launches] == ["Graph.launch", "get"]


def test_the_workspace_of_a_captured_product_must_live_and_be_set_after_the_stream(x):
    captured = Captured(lambda: matmul(x, x.T))
    captured.launch()
    with captured.stream:
        library, _ = products._library(cuda)
        handle = products._handle_on_stream(cuda, library)
        library.cublasSetStream_v2(handle, captured.stream.ptr)
        one = products.ctypes.addressof(products._ONE[np.dtype("float32")])
        matrix = (x.data.ptr, 0, 1, 1)
        with pytest.raises(cuda.cublas.CUBLASError, match="takes away what was set before"):
            library.cublasGemmStridedBatchedEx(handle, 0, 0, 1, 1, 1, one, *matrix, *matrix, one, *matrix, 1, 68, -1)
    products._workspaces[cuda, 0, captured.stream.ptr] = cuda.Memory(products.WORKSPACE)
    with pytest.raises(MemoryError, match=r"cublasGemm.* \(33554432,\), uint8: its memory has been freed"):
        captured.launch()


def test_nothing_runs_while_a_graph_is_captured(x):
    before = x.get()
    captured = Captured(lambda: x.__iadd__(0) * 1)
    with captured.stream:
        captured.stream.begin_capture()
        x += 1
        x[0] = 7
        captured.stream.end_capture()
    np.testing.assert_array_equal(x.get(), before)


# What is refused


def pinned_copy(x):
    host = np.frombuffer(cuda.alloc_pinned_memory(x.nbytes), x.dtype, x.size).reshape(x.shape)
    x.set(host)


UNSUPPORTED = "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"
ELSEWHERE = cuda.Stream(non_blocking=True)


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("get", lambda x: x.get()),
        ("item", lambda x: x[0, 0].item()),
        ("float", lambda x: float(x[0, 0])),
        ("bool", lambda x: bool(x.any())),
        ("repr", lambda x: repr(x)),
        ("nonzero", lambda x: xp.nonzero(x)),
        ("unique", lambda x: xp.unique(x)),
        (r"x\[mask\]", lambda x: x[x > 0]),
        (r"x\[mask\] = ", lambda x: x.__setitem__(x > 0, 1)),
        ("Stream.synchronize", lambda x: cuda.get_current_stream().synchronize()),
        ("Stream.done", lambda x: cuda.get_current_stream().done),
        ("Event.synchronize", lambda x: cuda.Event().synchronize()),
        ("Device.synchronize", lambda x: cuda.Device().synchronize()),
        ("asarray", lambda x: xp.asarray(np.ones(3))),
        ("asarray", lambda x: xp.array([1.0, 2.0])),
        ("set", lambda x: x.set(np.ones((3, 4), np.float32))),
        ("a copy between host and device", pinned_copy),
        ("a copy between host and device", lambda x: x.get(out=np.empty((3, 4), np.float32), blocking=False)),
        ("concatenate: of many arrays CuPy sends a table of addresses", lambda x: xp.concatenate((x, x))),
        ("stack: of many arrays CuPy sends a table of addresses", lambda x: xp.stack((x, x))),
        ("cudaMalloc of 512 bytes", lambda x: cuda.Memory(512)),
        ("add on another stream", lambda x: ELSEWHERE.use() and x + 1),
        ("add on another stream", lambda x: cuda.Stream.null.use() and x + 1),
        ("ones on another stream", lambda x: xp.ElementwiseKernel("T x", "T y", "y = 1", "ones")(x, stream=ELSEWHERE)),
    ],
)
def test_what_cuda_refuses_in_capture_raises_and_breaks_the_graph(x, name, operation):
    with cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        with pytest.raises(cuda.runtime.CUDARuntimeError, match=f"{UNSUPPORTED} .{name}"):
            operation(x)
        with pytest.raises(RuntimeError, match="an error has invalidated the capture sequence"):
            stream.is_capturing()
        with pytest.raises(cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureInvalidated"):
            stream.end_capture()
        assert not stream.is_capturing()
        operation(xp.ones((3, 4), np.float32))  # and again it does what it did


@pytest.mark.parametrize(
    "product",
    [
        lambda x: x @ x.T,
        lambda x: xp.matmul(x, x.T),
        lambda x: x.dot(x.T),
        lambda x: xp.dot(x[0], x[1]),
        lambda x: xp.einsum("ij,kj->ik", x, x),
    ],
)
def test_cupys_products_are_refused_and_the_capture_goes_on(x, product):
    with cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        with pytest.raises(NotImplementedError, match="calling cuBLAS API during stream capture"):
            product(x)
        total = xp.einsum("ij->j", x)
        stream.end_capture().launch()
    np.testing.assert_array_equal(total.get(), x.get().sum(axis=0))


def test_without_cublas_by_ctypes_a_product_meets_cupys_veto(x, monkeypatch):
    monkeypatch.setattr(cuda.cublas, "getVersion", lambda handle: 980_000)
    products._library.cache_clear()
    try:
        with pytest.raises(NotImplementedError, match="calling cuBLAS API during stream capture"):
            Captured(lambda: matmul(x, x.T))
    finally:
        products._library.cache_clear()


def test_the_first_product_of_a_stream_takes_memory_and_cannot_be_captured(x, monkeypatch):
    cuda.cublas.load_library()  # or skip
    monkeypatch.setattr(products, "_free_workspaces", defaultdict(list))
    matmul(x, x.T)  # makes the handle
    with cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        with pytest.raises(cuda.runtime.CUDARuntimeError, match="cudaMalloc of 33554432 bytes"):
            matmul(x, x.T)
        with pytest.raises(cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureInvalidated"):
            stream.end_capture()


def test_captures_begin_and_end_on_a_stream_that_is_not_the_default():
    illegal = pytest.raises(cuda.runtime.CUDARuntimeError, match="cudaErrorIllegalState")
    with pytest.raises(RuntimeError, match="cannot capture on the default"):
        cuda.Stream.null.begin_capture()
    stream = cuda.Stream(non_blocking=True)
    with illegal:
        stream.end_capture()
    assert not stream.is_capturing()
    stream.begin_capture()
    assert stream.is_capturing()
    with illegal:
        ELSEWHERE.begin_capture()
    with illegal:
        stream.begin_capture()
    stream.end_capture()
    with pytest.raises(NotImplementedError, match="use stream capture"):
        cuda.Graph()


def test_events_of_a_capture_are_part_of_the_graph_and_others_are_not_reached():
    outside, inside = ELSEWHERE.record(), cuda.Event()
    stream = cuda.Stream(non_blocking=True)
    stream.begin_capture()
    stream.record(inside)
    stream.wait_event(inside)
    stream.end_capture()
    for use in (inside.synchronize, lambda: inside.done, lambda: ELSEWHERE.wait_event(inside)):
        with pytest.raises(cuda.runtime.CUDARuntimeError, match="cudaErrorCapturedEvent"):
            use()
    stream.begin_capture()
    with pytest.raises(cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureIsolation"):
        stream.wait_event(outside)
    with pytest.raises(cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureInvalidated"):
        stream.end_capture()
    stream.record(inside)
    inside.synchronize()


def test_a_graph_is_launched_after_earlier_copies_and_not_within_a_capture(x):
    captured = Captured(lambda: x + 1)
    host = np.frombuffer(cuda.alloc_pinned_memory(48), np.float32, 12).reshape(3, 4)
    host[...] = 5
    x.set(host, stream=captured.stream)
    assert captured.launch().max() == 6
    with captured.stream:
        captured.stream.begin_capture()
        with pytest.raises(cuda.runtime.CUDARuntimeError, match="Graph.launch"):
            captured.graph.launch()
        with pytest.raises(cuda.runtime.CUDARuntimeError, match="cudaErrorStreamCaptureInvalidated"):
            captured.stream.end_capture()
        captured.graph.upload()


# Whose memory it is


def test_memory_that_a_graph_reads_or_writes_must_still_be_there():
    for number in range(2):
        arrays = [xp.ones(3), xp.zeros(3)]
        captured = Captured(lambda arrays=arrays: arrays[0].__iadd__(arrays[1]) + 1)
        assert captured.launch().max() == 2
        del arrays[number]
        with pytest.raises(MemoryError, match="its memory has been freed meanwhile"):
            captured.graph.launch(captured.stream)


def test_a_result_outside_the_pool_that_was_dropped_is_found_out(x):
    stream = cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        kept = (x + 1) * 2  # the sum is freed, and no pool keeps it
        graph = stream.end_capture()
    with pytest.raises(MemoryError, match=r"add in a graph, on an array \(3, 4\), float32: its memory has been freed"):
        graph.launch(stream)
    assert np.isnan(kept.get()).all()


@pytest.mark.parametrize("end", ["free_all_blocks", "drop"])
def test_the_pool_of_a_graph_keeps_its_temporary_arrays_until_it_is_freed(x, end):
    captured = Captured(lambda: (x + 1) * 2)
    for _ in range(2):
        np.testing.assert_array_equal(captured.launch(), (x.get() + 1) * 2)
    assert captured.pool.free_bytes() == captured.pool.used_bytes() == 512
    if end == "drop":
        captured.pool = None
    else:
        captured.pool.free_all_blocks()
    with pytest.raises(MemoryError, match="freed"):
        captured.graph.launch(captured.stream)


def test_a_pool_lends_no_memory_of_a_living_graph(x):
    captured = Captured(lambda: (x + 1) * 2)
    with captured.stream, cuda.using_allocator(captured.pool.malloc):
        xp.empty(1000)  # more than the graph has: fresh
        with pytest.raises(RuntimeError, match="lends memory of a graph that may be launched again"):
            x + 1
        captured.launch()
        captured.graph = None
        x + 1


def test_a_pool_lends_again_what_was_freed_and_counts(x):
    pool = cuda.MemoryPool()
    with cuda.using_allocator(pool.malloc):
        first = xp.empty(100, np.float32)
        pointer, view = first.data.ptr, first[1:]
        del first
        assert xp.empty(100, np.float32).data.ptr != pointer  # the view holds it
        del view
        second = xp.empty(100, np.float32)
        assert second.data.ptr == pointer
        assert np.isnan(second.get()).all()
        assert (second * 2).flags.owndata
    assert (pool.used_bytes(), pool.free_bytes(), pool.total_bytes(), pool.n_free_blocks()) == (512, 512, 1024, 1)
    pool.free_all_blocks()
    assert (pool.used_bytes(), pool.total_bytes()) == (512, 512)
    del second
    assert pool.used_bytes() == 0
    assert xp.empty(100, np.float32).data.ptr != pointer
