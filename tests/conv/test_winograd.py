"""The rank decomposition: its exact identity, and the three functions by it against their defining sums."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from autodiff_cases import Axis, geometries
from conv_cases import arrays, defining_sums, few, our_sums, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from minicoulomb.arrays import blocks
from minicoulomb.arrays.threads import set_threads
from minicoulomb.conv import correlate, correlate_input, correlate_kernel, winograd, winograd_plan

SHAPES = [(taps, outputs) for taps, outputs in product(range(1, 9), repeat=2) if taps + outputs - 1 <= 8]

# The layers of the paper's networks: their kernels as an axis of 16 numbers has them.
LAYERS = {
    "5x5 stride 2": Axis(16, 5, 2, (1, 2)),
    "4x4 stride 2": Axis(16, 4, 2, (1, 1)),
    "3x3 stride 1": Axis(16, 3, 1, (1, 1)),
}
layers = pytest.mark.parametrize("axis", LAYERS.values(), ids=LAYERS)


def layer(axis, n=2, c_in=64, c_out=64, dtype=np.float64):
    """(x, w, dy, stride, padding) of one of these."""
    return arrays([axis, axis], n, c_in, c_out, np.random.default_rng(0), dtype)


def assert_close(ours, theirs, bound=1e-12):
    """max |ours - theirs| <= bound max |theirs|."""
    assert ours.shape == theirs.shape
    assert abs(ours - theirs).max() <= bound * abs(theirs).max()


@pytest.mark.parametrize(("taps", "outputs"), SHAPES)
def test_the_matrices_are_an_exact_decomposition(taps, outputs):
    """Equal as polynomials in x, w and dy: the coefficient of x[q] w[i] dy[u] is 1 where q = u + i, and 0 elsewhere."""
    B, G, C = winograd_plan.matrices(taps, outputs)
    n = taps + outputs - 1
    assert (B.shape, G.shape, C.shape) == ((n, n), (n, taps), (n, outputs))
    assert all(type(number) is Fraction for matrix in (B, G, C) for number in matrix.flat)
    for q, i, u in np.ndindex(n, taps, outputs):
        assert (B[:, q] * G[:, i] * C[:, u]).sum() == (q == u + i)


@pytest.mark.parametrize(("taps", "outputs"), SHAPES)
def test_a_tap_less_needs_neither_the_product_at_infinity_nor_the_last_input(taps, outputs):
    """What a half phase leaves out: its last coefficient is zero, and no finite point sees its last input."""
    B, G, _ = winograd_plan.matrices(taps, outputs)
    assert not G[-1, :-1].any()
    assert not B[:-1, -1].any()


@given(geometries(), few, few, few, seeds)
@settings(max_examples=200)
def test_the_three_functions_are_their_defining_sums(geometry, n, c_in, c_out, seed):
    case = arrays(geometry, n, c_in, c_out, np.random.default_rng(seed))
    for ours, theirs in zip(our_sums(*case, "winograd"), defining_sums(*case)):
        assert_close(ours, theirs)


@given(geometries(), few, few, few, seeds)
@settings(max_examples=50)
def test_the_three_functions_are_adjoint(geometry, n, c_in, c_out, seed):
    x, w, dy, stride, padding = arrays(geometry, n, c_in, c_out, np.random.default_rng(seed))
    y, dx, dw = our_sums(x, w, dy, stride, padding, "winograd")
    values = [(y * dy).sum(), (x * dx).sum(), (w * dw).sum()]
    size = np.linalg.norm(x) * np.linalg.norm(w) * np.linalg.norm(dy)
    # 16 times what the direct sums are held to: see `amplification`.
    np.testing.assert_allclose(values, values[0], rtol=0, atol=16e-14 * size)


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 40), few, seeds)
def test_tiles_are_clipped_at_any_size(k, stride, outputs, beyond, seed):
    """Every number of outputs, and up to two inputs at the end that no window reaches."""
    size = stride * (outputs - 1) + k + min(beyond, stride) - 1
    case = arrays([Axis(size, k, stride, (0, 0)), Axis(7, 3, 1, (1, 1))], 1, 2, 2, np.random.default_rng(seed))
    for ours, theirs in zip(our_sums(*case, "winograd"), defining_sums(*case)):
        assert_close(ours, theirs)


def amplification(taps, outputs):
    """By how much the products at the points exceed the sum that they make, for independent numbers of variance 1.

    Of y[u], say: E sum_a (C[a,u] (B x)_a (G w)_a)^2 = sum_a C[a,u]^2 |B_a|^2 |G_a|^2 against E y[u]^2 = taps. The
    largest ratio of the two roots, over all outputs of the three functions.
    """
    B, G, C = (matrix.astype(float) ** 2 for matrix in winograd_plan.matrices(taps, outputs))
    b, g, c = (matrix.sum(axis=1) for matrix in (B, G, C))
    meetings = np.convolve(np.ones(taps), np.ones(outputs))
    return np.sqrt(max((C.T @ (b * g) / taps).max(), (B.T @ (c * g) / meetings).max(), (G.T @ (b * c) / outputs).max()))


@layers
def test_in_single_precision_the_error_stays_below_1e5_of_the_largest_output(axis):
    """Rounding is relative to what is rounded, here products that exceed their sum up to 4 times along each axis.

    So the error is up to 16 times that of the direct sum, about ten roundings of 2^-24: 16 * 10 * 2^-24 = 1e-5.
    """
    taps, outputs = -(-axis.k // axis.stride), 4
    assert amplification(taps, outputs) <= 4
    case = layer(axis, dtype=np.float32)
    exact = our_sums(*(a.astype(np.float64) for a in case[:3]), *case[3:], "direct")
    for ours, theirs in zip(our_sums(*case, "winograd"), exact):
        assert ours.dtype == np.float32
        assert_close(ours, theirs, 1e-5)


@pytest.mark.parametrize(("k", "points"), [(3, 6), (4, 7), (5, 8)])
def test_sequences_have_up_to_eight_points_and_an_error_below_1e5(k, points):
    """One axis may amplify as much as two of images: 16 times."""
    x, w, dy, *geometry = arrays([Axis(32, k, 1, (2, k - 3))], 4, 512, 32, np.random.default_rng(0), np.float32)
    plan = winograd_plan.choose(
        "auto", np.broadcast_to(x[:1, None], (128, 1, 32, 512)), (1, k, 512, 512), (1, 1), (1, 32)
    )
    assert len(plan.points) == points
    assert amplification(k, plan.tile[1]) <= 16
    exact = our_sums(*(a.astype(np.float64) for a in (x, w, dy)), *geometry, "direct")
    for ours, theirs in zip(our_sums(x, w, dy, *geometry, "winograd"), exact):
        assert_close(ours, theirs, 1e-5)


def test_the_passes_of_a_step_share_the_transform_of_a_sequence_s_kernel(monkeypatch):
    transform, made = winograd.transform_kernel, []
    monkeypatch.setattr(winograd, "transform_kernel", lambda *args, **how: made.append(1) or transform(*args, **how))
    x, w, dy, *geometry = arrays([Axis(16, 5, 1, (2, 2))], 3, 4, 4, np.random.default_rng(0))
    for keep, transforms in ((True, 1), (False, 3)):
        made.clear()
        kernel = winograd.Kernel(w, keep=keep)
        for _ in range(2):
            correlate(x, kernel, *geometry, "winograd")
        correlate_input(dy, kernel, *geometry, 16, "winograd")
        assert len(made) == transforms


@pytest.mark.parametrize(("block", "part"), [(1, 1), (2**12, 2**7), (2**15, 2**24)])
@layers
def test_blocks_and_parts_change_nothing_but_rounding(monkeypatch, axis, block, part):
    case = layer(axis, n=5, c_in=6, c_out=4)
    whole = our_sums(*case, "winograd")
    for module, name in ((winograd, "BLOCK_ELEMENTS"), (blocks, "GPU_BLOCK")):
        monkeypatch.setattr(module, name, block)
    monkeypatch.setattr(winograd, "PART_ELEMENTS", part)
    for ours, theirs in zip(our_sums(*case, "winograd"), whole):
        assert_close(ours, theirs)


@pytest.mark.host
@pytest.mark.parametrize("threads", [2, 3])
@layers
def test_the_number_of_threads_changes_nothing_to_the_last_bit(monkeypatch, axis, threads):
    case = layer(axis, n=5, c_in=16, c_out=8, dtype=np.float32)
    monkeypatch.setattr(winograd, "BLOCK_ELEMENTS", 2**16)
    monkeypatch.setattr(winograd, "PART_ELEMENTS", 2**11)
    set_threads(1)
    alone = our_sums(*case, "winograd")
    try:
        set_threads(threads)
        for ours, theirs in zip(our_sums(*case, "winograd"), alone):
            np.testing.assert_array_equal(ours, theirs)
    finally:
        set_threads(1)


@pytest.mark.parametrize(
    ("kernel_size", "stride", "multiplications"),
    [(5, 2, 121), (4, 2, 100), (3, 1, 36), (5, 3, 196)],
)
def test_a_tile_of_4x4_outputs_takes_so_many_multiplications(kernel_size, stride, multiplications):
    """(6 + 5)^2 for 400; two equal phases, (5 + 5)^2 for 256; one, 6^2 for 144; two of 2 taps and one, 14^2."""
    plan = winograd_plan.make_plan((kernel_size,) * 2, (stride,) * 2, (4, 4), np.dtype(np.float64))
    assert plan.multiplications == multiplications


def test_the_tile_is_the_one_with_the_fewest_multiplications():
    x = np.zeros(1)
    tile = lambda k, stride, size: winograd_plan.plan_for(x, (k, k), (stride, stride), size).tile
    assert tile(5, 2, (32, 4)) == (4, 4)
    assert tile(4, 2, (5, 10)) == (5, 5)
    assert tile(3, 1, (3, 6)) == (3, 3)
    assert tile(5, 1, (8, 1)) == (2, 1)


def test_kernels_apply_where_the_points_are_enough():
    assert winograd_plan.applies((5, 5), (1, 1))
    assert winograd_plan.applies((10, 1), (2, 1))
    assert not winograd_plan.applies((6, 5), (1, 1))
    assert not winograd_plan.applies((5, 11), (2, 2))


def test_a_sequence_is_an_image_of_height_one():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 20, 3)), rng.standard_normal((5, 3, 4))
    y = correlate(x, w, 2, 2, "winograd")
    image = x[:, None], w[None], (1, 2), ((0, 0), (2, 2))
    np.testing.assert_array_equal(y, correlate(*image, "winograd")[:, 0])
    dx = correlate_input(y, w, 2, 2, 20, "winograd")
    np.testing.assert_array_equal(dx, correlate_input(y[:, None], *image[1:], (1, 20), "winograd")[:, 0])
    dw = correlate_kernel(x, y, 5, 2, 2, "winograd")
    np.testing.assert_array_equal(dw, correlate_kernel(x[:, None], y[:, None], (1, 5), *image[2:], "winograd")[0])
