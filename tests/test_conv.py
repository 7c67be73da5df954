"""The three functions of the trilinear form against its defining sum, written as loops over taps and positions."""

import numpy as np
import pytest
from autodiff_cases import geometries
from hypothesis import given, settings
from hypothesis import strategies as st

from minicoulomb import direct
from minicoulomb.conv import correlate, correlate_input, correlate_kernel
from minicoulomb.errors import UserError


def defining_sums(x, w, dy, stride, padding):
    """(dT/d(dy), dT/dx, dT/dw) of T = sum dy[n,u,v,o] w[i,j,c,o] x[n,p,q,c], p = s u + i - before, in float64."""
    if x.ndim == 3:
        sums = defining_sums(x[:, None], w[None], dy[:, None], (1, *stride), ((0, 0), *padding))
        return sums[0][:, 0], sums[1][:, 0], sums[2][0]
    y, dx, dw = (np.zeros(array.shape) for array in (dy, x, w))
    for i, j in np.ndindex(w.shape[:2]):
        for u, v in np.ndindex(dy.shape[1:3]):
            p, q = stride[0] * u + i - padding[0][0], stride[1] * v + j - padding[1][0]
            if 0 <= p < x.shape[1] and 0 <= q < x.shape[2]:
                y[:, u, v] += x[:, p, q] @ w[i, j]
                dx[:, p, q] += dy[:, u, v] @ w[i, j].T
                dw[i, j] += x[:, p, q].T @ dy[:, u, v]
    return y, dx, dw


def our_sums(x, w, dy, stride, padding, algorithm="direct"):
    return (
        correlate(x, w, stride, padding, algorithm),
        correlate_input(dy, w, stride, padding, x.shape[1:-1], algorithm),
        correlate_kernel(x, dy, w.shape[:-2], stride, padding, algorithm),
    )


def arrays(geometry, n, c_in, c_out, rng, dtype=np.float64):
    """(x, w, dy, stride, padding) with normal numbers."""
    sizes, taps, stride, padding = zip(*geometry)
    shapes = (n, *sizes, c_in), (*taps, c_in, c_out), (n, *(axis.output_size for axis in geometry), c_out)
    return (*(rng.standard_normal(shape).astype(dtype) for shape in shapes), stride, padding)


few = st.integers(1, 3)
seeds = st.integers(0, 2**32 - 1)


@given(geometries(), few, few, few, seeds, st.sampled_from([np.float32, np.float64]))
@settings(max_examples=200)
def test_the_three_functions_are_their_defining_sums(geometry, n, c_in, c_out, seed, dtype):
    x, w, dy, stride, padding = arrays(geometry, n, c_in, c_out, np.random.default_rng(seed), dtype)
    exact = defining_sums(*(a.astype(np.float64) for a in (x, w, dy)), stride, padding)
    # A sum of K products is off by at most K + 1 roundings of the sum of their absolute values.
    absolute = defining_sums(*(abs(a.astype(np.float64)) for a in (x, w, dy)), stride, padding)
    terms = max(w[..., 0].size, w[..., 0, :].size, dy[..., 0].size)
    for ours, theirs, bound in zip(our_sums(x, w, dy, stride, padding), exact, absolute):
        assert ours.dtype == dtype
        assert ours.shape == theirs.shape
        assert (abs(ours - theirs) <= (terms + 1) * np.finfo(dtype).eps * bound).all()


@given(geometries(), few, few, few, seeds)
@settings(max_examples=100)
def test_the_three_functions_are_adjoint(geometry, n, c_in, c_out, seed):
    x, w, dy, stride, padding = arrays(geometry, n, c_in, c_out, np.random.default_rng(seed))
    y, dx, dw = our_sums(x, w, dy, stride, padding)
    values = [(y * dy).sum(), (x * dx).sum(), (w * dw).sum()]
    size = np.linalg.norm(x) * np.linalg.norm(w) * np.linalg.norm(dy)
    np.testing.assert_allclose(values, values[0], rtol=0, atol=1e-14 * size)


@pytest.mark.parametrize("images", [1, 2])
def test_taking_images_in_blocks_changes_nothing(monkeypatch, images):
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(shape) for shape in ((5, 8, 7, 3), (5, 4, 3, 2), (5, 4, 3, 2)))
    geometry = (2, 2), ((1, 2), (0, 1))
    whole = our_sums(x, w, dy, *geometry)
    monkeypatch.setattr(direct, "BLOCK_ELEMENTS", images * (4 * 3) * (5 * 4 * 3))
    for ours, theirs in zip(our_sums(x, w, dy, *geometry), whole):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_an_int_means_the_same_on_every_axis_and_side():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 7, 6, 3)), rng.standard_normal((3, 3, 3, 2))
    y = correlate(x, w, 2, 1)
    np.testing.assert_array_equal(y, correlate(x, w, (2, 2), (1, 1)))
    np.testing.assert_array_equal(y, correlate(x, w, (2, 2), ((1, 1), (1, 1))))
    dw = correlate_kernel(x, y, 3, 2, 1)
    np.testing.assert_array_equal(dw, correlate_kernel(x, y, (3, 3), (2, 2), ((1, 1), (1, 1))))


def test_the_default_size_of_a_transposed_convolution_is_the_smallest():
    dy, w = np.ones((1, 4, 3, 2)), np.ones((5, 4, 3, 2))
    dx = correlate_input(dy, w, (2, 3), ((1, 2), (0, 1)))
    assert dx.shape == (1, 2 * 3 + 5 - 3, 3 * 2 + 4 - 1, 3)
    larger = correlate_input(dy, w, (2, 3), ((1, 2), (0, 1)), size=(9, 11))
    np.testing.assert_array_equal(larger[:, :8, :9], dx)


def test_a_kernel_of_one_tap_is_a_matrix_product():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((1, 1, 5, 6))
    np.testing.assert_allclose(correlate(x, w), x @ w[0, 0], rtol=1e-12)


image, kernel = np.ones((2, 6, 6, 3)), np.ones((3, 3, 3, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: correlate(np.ones((2, 3)), kernel), r"array of shape \(2, 3\): convolution takes"),
        (lambda: correlate(image, np.ones((3, 3, 4))), r"kernel of shape \(3, 3, 4\)"),
        (lambda: correlate(np.ones((0, 6, 6, 3)), kernel), "the batch is empty"),
        (lambda: correlate(image, np.ones((3, 3, 2, 4))), "x has 3 channels: the kernel takes 2"),
        (lambda: correlate(image, np.ones((7, 3, 3, 4))), r"kernel of size 7: larger than the padded input of 6 \+ 0"),
        (lambda: correlate(image, kernel, stride=0), "stride 0"),
        (lambda: correlate(image, kernel, stride=(1, 1, 1)), "stride"),
        (lambda: correlate(image, kernel, padding=-1), "padding"),
        (lambda: correlate(image, kernel, padding=(1,)), "padding"),
        (lambda: correlate(image, kernel, padding=((1, 2, 3), 1)), "padding"),
        (lambda: correlate_input(image, kernel), "dy has 3 channels: the kernel gives 4"),
        (lambda: correlate_input(np.ones((2, 4, 4, 4)), kernel, size=(7, 6)), r"dy of size \(4, 4\)"),
        (lambda: correlate_input(np.ones((0, 4, 4, 4)), kernel), "the batch is empty"),
        (lambda: correlate_input(np.ones((2, 1, 1, 4)), kernel, padding=2), "size"),
        (lambda: correlate_kernel(image, np.ones((2, 5, 4, 4)), 3), r"this x gives \(2, 4, 4\)"),
        (lambda: correlate_kernel(image, np.ones((1, 4, 4, 4)), 3), r"dy of shape \(1, 4, 4, 4\)"),
        (lambda: correlate_kernel(image, np.ones((2, 4, 4, 4)), 0), "kernel_size 0"),
        (lambda: correlate_kernel(image, np.ones((2, 4, 4, 4)), 7), "kernel of size 7"),
        (lambda: correlate_kernel(np.ones((0, 6, 6, 3)), np.ones((0, 4, 4, 4)), 3), "the batch is empty"),
    ],
)
def test_a_shape_that_does_not_fit_is_told(call, message):
    with pytest.raises(UserError, match=message):
        call()
