"""Blocks: they cover every row once, and the functions of whole arrays come out whatever their size is."""

import numpy as np
import pytest
import strict_cupy

from minicoulomb.arrays import blocks as module
from minicoulomb.arrays.blocks import blocks, column_sums, for_each_block, map_blocks, map_rows, sum_blocks
from minicoulomb.arrays.threads import set_threads

rng = np.random.default_rng(0)
x, y = rng.standard_normal((2, 101, 7))


@pytest.fixture(params=[1, 3])
def threads(request):
    yield set_threads(request.param)
    set_threads(1)


@pytest.mark.parametrize(("n", "numbers", "limit", "lengths"), [
    (10, 3, 9, [3, 3, 3, 1]),
    (10, 3, 11, [3, 3, 3, 1]),
    (10, 3, 2, [1] * 10),
    (4, 0, 2, [2, 2]),
    (4, 1, None, [4]),
    (0, 3, 9, []),
])  # fmt: skip
def test_blocks_have_about_the_limit_and_at_least_one_item(n, numbers, limit, lengths):
    parts = blocks(n, numbers, x, limit)
    assert [part.stop - part.start for part in parts] == lengths
    assert [i for part in parts for i in range(n)[part]] == list(range(n))


def test_a_gpu_takes_larger_blocks(monkeypatch):
    monkeypatch.setattr(module, "GPU_BLOCK", 8)
    assert blocks(4, 2, strict_cupy.asarray(x), limit=2) == [slice(0, 4)]


@pytest.mark.parametrize("block", [1, 7, 50, 2**18])
def test_the_drivers_give_the_function_of_the_whole_arrays(monkeypatch, threads, block):
    monkeypatch.setattr(module, "BLOCK", block)
    np.testing.assert_array_equal(map_blocks(lambda x, y: x - 2 * y, x, y), x - 2 * y)
    np.testing.assert_array_equal(
        map_blocks(lambda x: x[:, :, None] * np.ones(2), x, shape=(7, 2)), np.stack([x, x], axis=2)
    )
    out = np.zeros((101, 7))

    def write(x, out):
        out += x  # once on every row

    for_each_block(write, x, out)
    np.testing.assert_array_equal(out, x)
    sums = column_sums(lambda x, y: (x * y, y), x, y)
    np.testing.assert_allclose(sums, [(x * y).sum(axis=0), y.sum(axis=0)], rtol=1e-12)


@pytest.mark.parametrize("row", [1, 7, 20, 2**13])
@pytest.mark.parametrize("n", [1, 6, 96, 101])
def test_rows_side_by_side_change_nothing(monkeypatch, threads, row, n):
    """Each number meets that of its column, whether n rows divide by 2 or not; a function of whole rows has these."""
    for name, value in (("ROW", row), ("BLOCK", 50)):
        monkeypatch.setattr(module, name, value)
    u, v, column = x[:n], y[:n], y[0]
    np.testing.assert_array_equal(map_rows(lambda u, v, m: (u - m) * v, u, v, columns=(column,)), (u - column) * v)
    sums = column_sums(lambda u, v, m: ((u - m) * v, v), u, v, columns=(column,))
    np.testing.assert_allclose(sums, [((u - column) * v).sum(axis=0), v.sum(axis=0)], rtol=1e-12)
    mixed = lambda u, m: u / u.sum(axis=1, keepdims=True) * m
    np.testing.assert_array_equal(map_rows(mixed, u, columns=(column,), apart=True), mixed(u, column))
    (sums,) = column_sums(lambda u, m: (mixed(u, m),), u, columns=(column,), apart=True)
    np.testing.assert_allclose(sums, mixed(u, column).sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("most", [None, 1, 3, 1000])
def test_a_sum_over_blocks_is_the_sum_over_all_rows(threads, most):
    product = sum_blocks(lambda x, y: x.T @ y, x, y, numbers=7, limit=70, most=most)
    np.testing.assert_allclose(product, x.T @ y, rtol=1e-11, atol=1e-13)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 30)
    run = lambda: (
        *column_sums(lambda x: (x, x * x), x),
        sum_blocks(lambda x: x.T @ x, x, numbers=7, limit=20, most=8),
        map_blocks(np.tanh, x),
    )
    alone = run()
    try:
        set_threads(3)
        for ours, theirs in zip(run(), alone):
            np.testing.assert_array_equal(ours, theirs)
    finally:
        set_threads(1)
