"""Layers and their plain functions against their defining sums, differentiated by autograd (oracles/)."""

import autograd
import numpy as np
import pytest
from autodiff_cases import assert_agree, check_network, every_kind, networks, passes
from hypothesis import given, settings
from hypothesis import strategies as st

from minicoulomb import layers
from minicoulomb.errors import UserError
from minicoulomb.layers import (
    ELU,
    AveragePool,
    BatchNorm,
    Conv,
    ConvTranspose,
    He,
    LeakyReLU,
    Linear,
    ReLU,
    Reshape,
    Residual,
    Scale,
    ScaledTanh,
    Sequential,
    Tanh,
    Upsample,
)
from minicoulomb.network import Network
from minicoulomb.verify.oracle import ACTIVATIONS
from minicoulomb.verify.oracles import open_oracle

oracle = open_oracle("autograd")


@every_kind
@given(st.data())
@settings(max_examples=50)
def test_every_layer_and_its_gradients_are_its_defining_sum(kind, data):
    check_network(oracle, *data.draw(passes(kind)))


@every_kind
@given(st.data())
def test_gradients_gives_both_gradients(kind, data):
    network, (theta, x, dy, statistics) = data.draw(passes(kind))
    _, residuals = network.forward(theta, x, statistics)
    dx, dtheta = network.gradients(residuals, dy)
    np.testing.assert_array_equal(dx, network.input_gradient(residuals, dy))
    np.testing.assert_array_equal(dtheta, network.param_gradient(residuals, dy))


@every_kind
@given(st.data())
def test_weights_give_the_gradients_of_two_losses(kind, data):
    """With given statistics, where no sample depends on another in batch normalization either."""
    network, (theta, x, dy, _) = data.draw(passes(kind))
    rng = np.random.default_rng(0)
    _, residuals = network.forward(theta, x, rng.uniform(0.5, 2, network.statistics_size))
    weights = rng.standard_normal(len(x))
    dx, dtheta = network.gradients(residuals, dy, weights)
    weighted = dy * weights.reshape(-1, *[1] * (dy.ndim - 1))
    assert_agree(dx, network.input_gradient(residuals, dy), terms=np.linalg.norm(dy))
    assert_agree(dtheta, network.param_gradient(residuals, weighted), terms=np.linalg.norm(weighted))


@every_kind
@given(st.data())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_layer_preserves_the_dtype(kind, dtype, data):
    network = data.draw(networks(kind))
    rng = np.random.default_rng(0)
    theta = network.init(rng, dtype)
    x = rng.standard_normal((3, *network.input_shape)).astype(dtype)
    for statistics in (None, network.init_statistics(dtype)):
        y, residuals = network.forward(theta, x, statistics)
        dx, dtheta = network.gradients(residuals, rng.standard_normal(y.shape).astype(dtype))
        assert theta.dtype == y.dtype == dx.dtype == dtheta.dtype == dtype


@every_kind
@given(st.data())
def test_output_shape_is_the_shape_of_the_output(kind, data):
    network = data.draw(networks(kind))
    rng = np.random.default_rng(0)
    y, _ = network.forward(network.init(rng), rng.standard_normal((3, *network.input_shape)).astype(np.float32))
    assert y.shape == (3, *network.output_shape)


@every_kind
@given(st.data())
def test_a_pass_leaves_its_arguments_alone(kind, data):
    network, numbers = data.draw(passes(kind))
    theta, x, dy, statistics = (None if array is None else array.copy() for array in numbers)
    _, residuals = network.forward(theta, x, statistics)
    network.gradients(residuals, dy)
    for array, before in zip((theta, x, dy), numbers):
        np.testing.assert_array_equal(array, before)


@every_kind
@given(st.data())
def test_two_passes_in_flight_do_not_disturb_each_other(kind, data):
    """A step of Algorithm 1 has D's passes of generated and real samples in flight, and uses one of them twice."""
    network, (theta, x, dy, statistics) = data.draw(passes(kind))
    _, residuals = network.forward(theta, x, statistics)
    alone = network.gradients(residuals, dy)
    _, first = network.forward(theta, x, statistics)
    _, second = network.forward(theta, 2 * x + 1, statistics)
    network.gradients(second, dy)
    for _ in range(2):
        dx, dtheta = network.gradients(first, dy)
        np.testing.assert_array_equal(dx, alone[0])
        np.testing.assert_array_equal(dtheta, alone[1])


@pytest.mark.parametrize(
    ("function", "gradient", "arguments"),
    [
        (layers.relu, layers.relu_gradient, ()),
        (layers.leaky_relu, layers.leaky_relu_gradient, (0.2,)),
        (layers.elu, layers.elu_gradient, ()),
        (layers.tanh, layers.tanh_gradient, (1.7, 0.6)),
        (layers.softmax, layers.softmax_gradient, ()),
    ],
)
def test_an_activation_is_a_plain_function_of_any_array(function, gradient, arguments):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 2, 3, 4, 5))
    y = function(x, *arguments)
    assert_agree(y, ACTIVATIONS[function](autograd.numpy, x, *arguments))
    product = lambda x: (ACTIVATIONS[function](autograd.numpy, x, *arguments) * dy).sum()
    assert_agree(gradient(y, dy, *arguments), autograd.grad(product)(x))


def test_the_plain_functions_of_linear_are_its_gradients():
    rng = np.random.default_rng(0)
    x, kernel, bias, dy = (rng.standard_normal(shape) for shape in ((4, 3), (3, 2), (2,), (4, 2)))
    assert_agree(layers.linear(x, kernel, bias), np.einsum("nc,co->no", x, kernel) + bias)
    assert_agree(layers.linear_input_gradient(dy, kernel), np.einsum("no,co->nc", dy, kernel))
    dkernel, dbias = layers.linear_param_gradient(x, dy)
    assert_agree(dkernel, np.einsum("nc,no->co", x, dy))
    assert_agree(dbias, np.einsum("no->o", dy))


@pytest.mark.parametrize("shape", [(6, 3), (2, 5, 3), (2, 3, 4, 3)])
def test_the_plain_functions_of_batch_norm_are_its_gradients(shape):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *shape))
    scale, shift = rng.standard_normal((2, 3))
    product = lambda *arguments: (oracle._batch_norm(*arguments, 1e-5, None) * dy).sum()
    dx, dscale, dshift = autograd.grad(product, argnum=(0, 1, 2))(x, scale, shift)
    _, residuals = layers.batch_norm(x, scale, shift)
    assert_agree(layers.batch_norm_input_gradient(residuals, dy), dx)
    for ours, theirs in zip(layers.batch_norm_param_gradient(residuals, dy), (dscale, dshift)):
        assert_agree(ours, theirs)


def test_batch_norm_gives_every_channel_mean_shift_and_deviation_scale():
    x = 5 + 3 * np.random.default_rng(0).standard_normal((4, 6, 6, 2))
    y, residuals = layers.batch_norm(x, np.array([2.0, 3.0]), np.array([-1.0, 1.0]), epsilon=0.0)
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), [-1, 1], atol=1e-14)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), [2, 3], rtol=1e-14)
    np.testing.assert_allclose(residuals.mean, x.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(residuals.variance, x.var(axis=(0, 1, 2)))


def test_with_given_statistics_a_sample_does_not_depend_on_its_batch():
    rng = np.random.default_rng(0)
    network = Network([BatchNorm(3)], (4, 3))
    theta, statistics = rng.standard_normal(6), rng.uniform(0.5, 2, 6)
    x = rng.standard_normal((5, 4, 3))
    together, _ = network.forward(theta, x, statistics)
    for i in range(5):
        np.testing.assert_array_equal(network.forward(theta, x[i : i + 1], statistics)[0][0], together[i])
    assert not np.allclose(network.forward(theta, x[:2])[0], network.forward(theta, x)[0][:2])


def test_softmax_sums_to_one_and_stays_finite_for_large_inputs():
    y = layers.softmax(np.array([[1e4, 0.0, -1e4], [3.0, 3.0, 3.0]], dtype=np.float32))
    np.testing.assert_allclose(y, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)


def test_scaled_tanh_maps_one_to_one():
    assert layers.tanh(np.array([1.0]), *ScaledTanh().arguments) == pytest.approx(1, abs=1e-4)


def test_a_residual_layer_adds_its_scaled_branch():
    network = Network([Residual(Linear(3, 3), scale=0.3)], (3,))
    theta, x = np.random.default_rng(0).standard_normal(12), np.ones((2, 3))
    branch, _ = Network([Linear(3, 3)], (3,)).forward(theta, x)
    np.testing.assert_allclose(network.forward(theta, x)[0], x + 0.3 * branch)


def test_a_residual_layer_adds_its_scaled_branch_to_its_shortcut():
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 3))
    y, _ = Network([Residual(Upsample(), Scale(5.0), scale=0.3, shortcut=Upsample())], (4, 6, 3)).forward(
        np.empty(0), x
    )
    np.testing.assert_allclose(y, 2.5 * layers.repeat(x))


def test_upsampling_repeats_each_pixel_and_pooling_takes_means_of_blocks():
    x = np.arange(1.0, 9.0).reshape(1, 2, 2, 2)
    first, second = layers.repeat(x)[0].transpose(2, 0, 1)
    np.testing.assert_array_equal(first, [[1, 1, 3, 3], [1, 1, 3, 3], [5, 5, 7, 7], [5, 5, 7, 7]])
    np.testing.assert_array_equal(second, first + 1)
    np.testing.assert_array_equal(AveragePool().forward({}, x)[0], [[[[4, 5]]]])


@pytest.mark.parametrize("shape", [(3, 1, 1, 1), (2, 3, 5, 4), (70, 4, 4, 257)])
def test_upsampling_and_pooling_are_each_other_s_adjoint_up_to_a_factor(shape):
    """<repeat(x), y> = <x, block_sum(y)>, and pooling undoes upsampling; also over several blocks of images."""
    rng = np.random.default_rng(0)
    n, h, w, c = shape
    x, y = rng.standard_normal(shape), rng.standard_normal((n, 2 * h, 2 * w, c))
    up, pool = Upsample(), AveragePool()
    assert (layers.repeat(x) * y).sum() == pytest.approx((x * layers.block_sum(y)).sum(), rel=1e-10)
    np.testing.assert_array_equal(up.input_gradient(None, y), 4 * pool.forward({}, y)[0])
    np.testing.assert_array_equal(4 * pool.input_gradient(None, x), up.forward({}, x)[0])
    np.testing.assert_allclose(pool.forward({}, up.forward({}, x)[0])[0], x)


def test_a_1x1_convolution_changes_places_with_upsampling_and_with_pooling():
    rng = np.random.default_rng(0)
    for resample in (Upsample(), AveragePool()):
        first, last = Network([resample, Conv(3, 2, 1)], (4, 6, 3)), Network([Conv(3, 2, 1), resample], (4, 6, 3))
        theta, x = rng.standard_normal(first.size), rng.standard_normal((2, 4, 6, 3))
        np.testing.assert_allclose(first.forward(theta, x)[0], last.forward(theta, x)[0], atol=1e-13)


def test_map_replaces_every_layer_without_children_and_nothing_else():
    layer = Residual(Linear(3, 3), Sequential(Tanh(), Linear(3, 3)), scale=0.3, shortcut=Scale(2.0))
    same = layer.map(lambda leaf: leaf)
    assert repr(same) == repr(layer)
    assert "Scale" not in repr(layer.map(lambda leaf: Linear(3, 3)))


def test_composite_layers_nest():
    rng = np.random.default_rng(0)
    branch = Sequential(Linear(4, 5), Tanh(), Residual(Linear(5, 5), ELU(), scale=0.5), Linear(5, 4))
    network = Network([Reshape((4,)), Residual(branch, BatchNorm(4)), Reshape((2, 2))], (2, 2))
    numbers = rng.standard_normal(network.size), rng.standard_normal((6, 2, 2)), rng.standard_normal((6, 2, 2)), None
    check_network(oracle, network, numbers)


@pytest.mark.parametrize(
    ("name", "activation"),
    [("linear", Scale(1.0)), ("relu", ReLU()), ("leaky_relu", LeakyReLU()), ("elu", ELU()), ("tanh", Tanh())],
)
def test_he_initialization_keeps_the_mean_square_of_a_signal(name, activation):
    rng = np.random.default_rng(0)
    # N(0, 1) before the activation gives mean square 1 behind the linear layer that follows.
    network = Network([activation, Linear(400, 400, He(name))], (400,))
    y, _ = network.forward(network.init(rng, np.float64), rng.standard_normal((500, 400)))
    assert np.mean(y**2) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    ("layer", "shape", "interior"),
    [
        (Conv(32, 64, 5, stride=2, padding=((1, 2), (1, 2))), (16, 16, 32), np.s_[:, 2:-2, 2:-2]),
        (Conv(32, 64, (5,), padding=2), (64, 32), np.s_[:, 4:-4]),
        (ConvTranspose(64, 32, 4, stride=2, padding=1), (8, 8, 64), np.s_[:, 2:-2, 2:-2]),
        (ConvTranspose(64, 32, 5, stride=2, padding=((1, 2), (1, 2))), (8, 8, 64), np.s_[:, 4:-4, 4:-4]),
    ],
)
def test_he_initialization_counts_the_taps_that_meet(layer, shape, interior):
    rng = np.random.default_rng(0)
    network = Network([layer], shape)
    y, _ = network.forward(network.init(rng), rng.standard_normal((16, *shape)).astype(np.float32))
    assert np.mean(y[interior] ** 2) == pytest.approx(1, rel=0.1)


def test_batch_norm_starts_as_scale_one_and_shift_zero():
    parameters = BatchNorm(3).parameters()
    assert (parameters["scale"].initial(None, (3,)) == 1).all()
    assert (parameters["shift"].initial(None, (3,)) == 0).all()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Linear(3, 2), (4,), r"Linear\(3, 2\): takes \(3,\), got \(4,\); Reshape"),
        (Linear(3, 2), (2, 3), "Reshape before it"),
        (Conv(3, 2, 5), (8, 8, 4), "3 channels, got shape"),
        (Conv(3, 2, (5,)), (8, 8, 3), "1 spatial axes"),
        (Conv(3, 2, 5), (4, 8, 3), r"makes size \(0, 4\)"),
        (ConvTranspose(3, 2, 5), (8, 3), "2 spatial axes"),
        (ConvTranspose(3, 2, 1, padding=1), (1, 1, 3), r"makes size \(-1, -1\)"),
        (BatchNorm(3), (4, 2), "takes 3 channels"),
        (Residual(Linear(3, 2)), (3,), r"turns \(3,\) into \(2,\), the shortcut into \(3,\)"),
        (Residual(Upsample(), shortcut=AveragePool()), (4, 4, 1), r"\(8, 8, 1\), the shortcut into \(2, 2, 1\)"),
        (Upsample(), (4, 3), r"Upsample: takes images \(h, w, c\), got shape \(4, 3\)"),
        (AveragePool(), (4, 3), "AveragePool: takes images"),
        (AveragePool(), (4, 5, 3), "even sides"),
        (AveragePool(), (3, 4, 3), "even sides"),
        (Reshape((5,)), (2, 3), "has 6 numbers"),
    ],
)
def test_a_layer_refuses_a_shape_that_does_not_fit(layer, shape, message):
    with pytest.raises(UserError, match=message):
        layer.output_shape(shape)


@every_kind
@given(st.data())
def test_a_network_of_any_layer_refuses_an_empty_batch(kind, data):
    network = data.draw(networks(kind))
    with pytest.raises(UserError, match="n >= 1"):
        network.forward(network.init(np.random.default_rng(0)), np.empty((0, *network.input_shape), np.float32))


def test_batch_normalization_of_no_samples_is_refused():
    with pytest.raises(UserError, match="empty"):
        layers.batch_norm(np.empty((0, 4, 3)), np.ones(3), np.zeros(3))


def test_the_size_of_a_convolution_s_kernel_may_be_a_list_or_a_number_of_numpy():
    for size in (5, [5, 5], np.int64(5)):
        assert Conv(3, 4, size).output_shape((9, 9, 3)) == (5, 5, 4)


def test_an_activation_or_a_slope_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="activation 'sigmoid': must be one of linear, relu, leaky_relu, elu, tanh"):
        He("sigmoid")
    for slope in (-0.1, 1.5, float("nan")):
        with pytest.raises(UserError, match=f"slope {slope}: must be from 0 to 1"):
            LeakyReLU(slope)


def test_upsampling_and_pooling_refuse_what_is_no_image_and_odd_sides():
    """AveragePool of odd sides broadcast a row of blocks over two, and gave numbers."""
    for shape in ((2, 3, 4, 1), (2, 4, 3, 1)):
        with pytest.raises(
            UserError, match=r"array of shape .*: must be images \(n, h, w, c\), of even sides; pad them"
        ):
            AveragePool().forward({}, np.ones(shape))
    for layer in (AveragePool(), Upsample()):
        with pytest.raises(UserError, match=r"array of shape \(2, 4\): must be images"):
            layer.forward({}, np.ones((2, 4)))


@pytest.mark.parametrize("layer", [Linear, ReLU])
def test_a_composite_of_what_is_no_layer_is_refused(layer):
    for make in (Sequential, Residual, lambda layer: Residual(Tanh(), shortcut=layer)):
        with pytest.raises(UserError, match="layer <.*: must be a Layer; call the function that makes it"):
            make(layer)
