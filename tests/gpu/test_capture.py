"""The stand-in captures CUDA graphs: what it refuses meanwhile, what a launch runs, whose memory it still has."""

import numpy as np
import pytest
import strict_cupy as xp
from strict_cupy import cuda

from minicoulomb.arrays.cuda import ElementwiseKernel, column_sums
from minicoulomb.arrays.matmul import batched_matmul, matmul


class Captured:
    """`function`, run twice on a stream and then captured, with the results of the capture and the memory it took."""

    def __init__(self, function):
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


@pytest.fixture
def x():
    return xp.asarray(np.arange(12, dtype=np.float32).reshape(3, 4))


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


def test_nothing_runs_while_a_graph_is_captured(x):
    before = x.get()
    captured = Captured(lambda: x.__iadd__(0) * 1)
    with captured.stream:
        captured.stream.begin_capture()
        x += 1
        x[0] = 7
        captured.stream.end_capture()
    np.testing.assert_array_equal(x.get(), before)
