"""The three functions of the trilinear form against its defining sum, and the choice of an algorithm."""

import numpy as np
import pytest
from autodiff_cases import geometries
from conv_cases import arrays, defining_sums, few, our_sums, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from minicoulomb.arrays import blocks
from minicoulomb.conv import correlation, im2col, winograd
from minicoulomb.conv.correlation import correlate, correlate_input, correlate_kernel
from minicoulomb.conv.winograd import Kernel
from minicoulomb.coulomb import potential
from minicoulomb.errors import UserError


@given(geometries(), few, few, few, seeds, st.sampled_from([np.float32, np.float64]))
@settings(max_examples=200)
def test_the_three_functions_are_their_defining_sums(geometry, n, c_in, c_out, seed, dtype):
    x, w, dy, stride, padding = arrays(geometry, n, c_in, c_out, np.random.default_rng(seed), dtype)
    exact = defining_sums(*(a.astype(np.float64) for a in (x, w, dy)), stride, padding)
    # A sum of K products is off by at most K + 1 roundings of the sum of their absolute values.
    absolute = defining_sums(*(abs(a.astype(np.float64)) for a in (x, w, dy)), stride, padding)
    terms = max(w[..., 0].size, w[..., 0, :].size, dy[..., 0].size)
    for ours, theirs, bound in zip(our_sums(x, w, dy, stride, padding, "direct"), exact, absolute):
        assert ours.dtype == dtype
        assert ours.shape == theirs.shape
        assert (abs(ours - theirs) <= (terms + 1) * np.finfo(dtype).eps * bound).all()


@given(geometries(), few, few, few, seeds)
@settings(max_examples=100)
def test_the_three_functions_are_adjoint(geometry, n, c_in, c_out, seed):
    x, w, dy, stride, padding = arrays(geometry, n, c_in, c_out, np.random.default_rng(seed))
    y, dx, dw = our_sums(x, w, dy, stride, padding, "direct")
    values = [(y * dy).sum(), (x * dx).sum(), (w * dw).sum()]
    size = np.linalg.norm(x) * np.linalg.norm(w) * np.linalg.norm(dy)
    np.testing.assert_allclose(values, values[0], rtol=0, atol=1e-14 * size)


@pytest.mark.parametrize(("images", "partial_sums"), [(1, 8), (1, 2), (2, 1)])
def test_taking_images_in_blocks_changes_nothing(monkeypatch, images, partial_sums):
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(shape) for shape in ((5, 8, 7, 3), (5, 4, 3, 2), (5, 4, 3, 2)))
    geometry = (2, 2), ((1, 2), (0, 1))
    whole = our_sums(x, w, dy, *geometry, "direct")
    for module, name in ((correlation, "BLOCK_ELEMENTS"), (blocks, "GPU_BLOCK")):
        monkeypatch.setattr(module, name, images * (4 * 3) * (5 * 4 * 3))
    monkeypatch.setattr(correlation, "SUM_ELEMENTS", partial_sums * w.size)
    for ours, theirs in zip(our_sums(x, w, dy, *geometry, "direct"), whole):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.host
@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
@given(geometries(), few, few, few, seeds)
def test_what_fresh_memory_holds_never_reaches_a_result(algorithm, geometry, n, c_in, c_out, seed):
    case = arrays(geometry, n, c_in, c_out, np.random.default_rng(seed))
    clean = our_sums(*case, algorithm)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "empty", lambda shape, dtype=float, order="C": np.full(shape, np.nan, dtype, order))
        for ours, theirs in zip(our_sums(*case, algorithm), clean):
            np.testing.assert_array_equal(ours, theirs)


@given(geometries(), few, st.integers(1, 40), st.integers(1, 40), seeds)
def test_all_algorithms_agree(geometry, n, c_in, c_out, seed):
    case = arrays(geometry, n, c_in, c_out, np.random.default_rng(seed))
    direct_sums, *others = (our_sums(*case, algorithm) for algorithm in ("direct", "winograd", "auto"))
    for sums in others:
        for ours, theirs in zip(sums, direct_sums):
            assert abs(ours - theirs).max() <= 1e-12 * abs(theirs).max()


def three_calls(*sizes, kernel_size, stride=1, padding=0, c_in=2, c_out=2, n=1):
    """The three functions of `algorithm` for one layer, with arrays of zeros that take up no memory."""
    zeros = lambda *shape: np.broadcast_to(np.float32(0), shape)
    taps = (kernel_size,) * len(sizes)
    output = [(size + 2 * padding - kernel_size) // stride + 1 for size in sizes]
    x, w, dy = zeros(n, *sizes, c_in), zeros(*taps, c_in, c_out), zeros(n, *output, c_out)
    return (
        lambda algorithm: correlate(x, w, stride, padding, algorithm),
        lambda algorithm: correlate_input(dy, w, stride, padding, sizes, algorithm),
        lambda algorithm: correlate_kernel(x, dy, kernel_size, stride, padding, algorithm),
    )


ON_PIXELS = {"n": 128, "kernel_size": 5, "stride": 2, "padding": 2, "c_in": 3}
WIDE = {"kernel_size": 5, "stride": 2, "padding": 2, "c_in": 512, "c_out": 1024}


@pytest.mark.host
@pytest.mark.parametrize(
    ("size", "layer", "expected"),
    [
        (32, {"n": 128, "kernel_size": 1, "c_in": 64, "c_out": 64}, im2col),
        (64, {**ON_PIXELS, "c_out": 64}, im2col),
        (64, {**ON_PIXELS, "c_out": 128}, im2col),
        (8, {**WIDE, "n": 1}, im2col),
        (8, {**WIDE, "n": 128}, winograd),
        (32, {**WIDE, "n": 128, "c_in": 128, "c_out": 256}, winograd),
        (16, {**WIDE, "n": 64, "c_in": 256, "c_out": 512}, winograd),
        (16, {"n": 128, "kernel_size": 4, "stride": 2, "padding": 1, "c_in": 64, "c_out": 128}, winograd),
        (4, {"n": 128, "kernel_size": 3, "padding": 1, "c_in": 64, "c_out": 64}, winograd),
        (4, {"n": 128, "kernel_size": 4, "c_in": 512, "c_out": 1}, im2col),
        (64, {"n": 1, "kernel_size": 11, "padding": 5, "c_in": 64, "c_out": 64}, im2col),
    ],
)
def test_auto_takes_winograd_where_large_products_shrink_and_direct_elsewhere(monkeypatch, size, layer, expected):
    class Reached(Exception):
        pass

    def reach(module):
        raise Reached(module)

    monkeypatch.setattr(winograd, "transform_kernel", lambda w, plan, out: out)
    for module in (im2col, winograd):
        for function in ("correlate", "correlate_input", "correlate_kernel"):
            monkeypatch.setattr(module, function, lambda *_, module=module: reach(module))
    for call in three_calls(size, size, **layer):
        with pytest.raises(Reached) as reached:
            call("auto")
        assert reached.value.args == (expected,)


@pytest.mark.parametrize("function", [0, 1, 2])
@pytest.mark.parametrize(
    ("algorithm", "kernel_size", "message"),
    [
        ("fft", 3, "algorithm 'fft': must be one of auto, direct, winograd"),
        ("winograd", 7, r"kernel \(7, 7\) with stride \(1, 1\): too large for winograd; use algorithm auto"),
    ],
)
def test_an_algorithm_that_cannot_be_used_is_told(function, algorithm, kernel_size, message):
    with pytest.raises(UserError, match=message):
        three_calls(9, 9, kernel_size=kernel_size)[function](algorithm)


@pytest.fixture
def transforms(monkeypatch):
    """The plans for which a kernel was transformed."""
    made, transform = [], winograd.transform_kernel
    monkeypatch.setattr(winograd, "transform_kernel", lambda w, plan, out: made.append(plan) or transform(w, plan, out))
    return made


@pytest.mark.parametrize("keep", [True, False])
def test_the_passes_of_a_step_share_a_kernels_transform_where_it_is_kept(transforms, keep):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 16, 16, 3)), rng.standard_normal((5, 5, 3, 4))
    geometry = 2, ((1, 2), (1, 2))
    kernel = Kernel(w, keep=keep)
    y = correlate(x, w, *geometry, "winograd")
    dx = correlate_input(y, w, *geometry, (16, 16), "winograd")
    transforms.clear()
    for _ in range(2):
        np.testing.assert_array_equal(correlate(x, kernel, *geometry, "winograd"), y)
        np.testing.assert_array_equal(correlate_input(y, kernel, *geometry, (16, 16), "winograd"), dx)
    assert len(transforms) == (1 if keep else 4)


def test_a_kept_kernel_serves_outputs_of_other_sizes(transforms):
    """Tiles of another size take another transform."""
    rng = np.random.default_rng(0)
    images, w = [rng.standard_normal((1, size, size, 2)) for size in (6, 4, 6)], rng.standard_normal((3, 3, 2, 2))
    kernel = Kernel(w)
    for x in images:
        np.testing.assert_array_equal(correlate(x, kernel, algorithm="winograd"), correlate(x, w, algorithm="winograd"))
    assert len(transforms) == 2 + 3


def test_a_kernel_serves_the_direct_algorithm_as_the_array_does(transforms):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 9, 3)), rng.standard_normal((3, 3, 4))
    y = correlate(x, w, algorithm="direct")
    np.testing.assert_array_equal(correlate(x, Kernel(w), algorithm="direct"), y)
    dx = correlate_input(y, Kernel(w), algorithm="direct")
    np.testing.assert_array_equal(dx, correlate_input(y, w, algorithm="direct"))
    assert not transforms


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_arrays_may_be_views_of_any_order(algorithm):
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(shape) for shape in ((2, 7, 6, 3), (3, 4, 3, 2), (2, 3, 2, 2)))
    geometry = (2, 2), ((0, 0), (0, 0))
    views = [np.asfortranarray(x), w[::-1, ::-1].copy()[::-1, ::-1], np.repeat(dy, 2, axis=3)[..., ::2]]
    for ours, theirs in zip(our_sums(*views, *geometry, algorithm), our_sums(x, w, dy, *geometry, algorithm)):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


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
        (lambda: correlate(image, np.ones((3, 3, 4))), r"array of shape \(3, 3, 4\)"),
        (lambda: correlate(np.ones((0, 6, 6, 3)), kernel), "the batch is empty"),
        (lambda: correlate(image, np.ones((3, 3, 2, 4))), "x has 3 channels: the kernel takes 2"),
        (
            lambda: correlate(image, np.ones((7, 3, 3, 4))),
            r"kernel of size 7: must be from 1 to the padded input.s 6 \+ 0",
        ),
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
        (lambda: correlate(image.tolist(), kernel), "^list: must be an array of float32"),
        (lambda: correlate(image, kernel, stride=2.0), "stride 2.0: must be an int"),
        (lambda: correlate(image, kernel, padding=0.5), "padding 0.5: must be an int"),
        (lambda: correlate(image, kernel, padding="same"), "padding same: must be an int"),
        (lambda: correlate(image.astype(np.uint8), kernel), "ndarray of uint8: must be an array of float32 or float64"),
        (lambda: correlate_input(np.ones((2, 4, 4, 4), int), kernel), "ndarray of int64"),
        (lambda: correlate_kernel(image.astype(np.uint8), np.ones((2, 4, 4, 4)), 3), "ndarray of uint8"),
    ],
)
def test_a_shape_that_does_not_fit_is_told(call, message):
    with pytest.raises(UserError, match=message):
        call()


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "every other channel": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backward": lambda a: a[:, ::-1].copy()[:, ::-1],
    "axes exchanged": lambda a: a.swapaxes(0, -1).copy().swapaxes(0, -1),
}


@pytest.mark.host
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
@given(geometries(), few, few, few, seeds)
def test_arrays_may_have_any_strides(algorithm, layout, geometry, n, c_in, c_out, seed):
    x, w, dy, *rest = arrays(geometry, n, c_in, c_out, np.random.default_rng(seed))
    other = our_sums(*map(layout, (x, w, dy)), *rest, algorithm)
    for ours, theirs in zip(other, our_sums(x, w, dy, *rest, algorithm)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@given(geometries(), few, few, few, seeds)
def test_the_plain_formulas_of_im2col_are_what_blocks_of_images_give(geometry, n, c_in, c_out, seed):
    x, w, dy, stride, padding = arrays(geometry, n, c_in, c_out, np.random.default_rng(seed))
    if x.ndim == 3:
        x, w, dy, stride, padding = x[:, None], w[None], dy[:, None], (1, *stride), ((0, 0), *padding)
    plain = (
        im2col.correlate(x, w, stride, padding),
        im2col.correlate_input(dy, w, stride, padding, x.shape[1:3]),
        im2col.correlate_kernel(x, dy, w.shape[:2], stride, padding),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(correlation, "BLOCK_ELEMENTS", 1)
        for ours, theirs in zip(our_sums(x, w, dy, stride, padding, "direct"), plain):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_col2im_is_the_adjoint_of_im2col():
    rng = np.random.default_rng(0)
    x, geometry = rng.standard_normal((2, 7, 6, 3)), ((2, 1), ((1, 0), (2, 1)))
    cols = im2col.im2col(x, (3, 4), *geometry)
    other = rng.standard_normal(cols.shape)
    assert (cols * other).sum() == pytest.approx((x * im2col.col2im(other, 4, *geometry, (7, 6))).sum(), rel=1e-12)


@pytest.mark.host
def test_sizes_may_be_numbers_of_numpy():
    two, one = np.int64(2), np.int32(1)
    y = correlate(image, kernel, stride=two, padding=one)
    np.testing.assert_array_equal(y, correlate(image, kernel, stride=2, padding=((1, 1), (1, 1))))
    assert correlate_input(y, kernel, two, (one, [1, one]), size=np.int64(6)).shape == image.shape
    assert correlate_kernel(image, y, np.int64(3), two, one).shape == kernel.shape


def test_a_tensor_of_another_library_is_refused():
    tensor = pytest.importorskip("torch").ones(2, 6, 6, 3)
    with pytest.raises(UserError, match="Tensor of torch.float32: .* use numpy.asarray"):
        correlate(tensor, kernel)
    with pytest.raises(UserError, match="points 'tensor.*: must be an array"):
        potential(tensor, image, image, 1, 1)
