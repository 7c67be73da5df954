"""The paper's formulas on whole arrays, as a reader would write them, against what is used: blocks, threads and all."""

import numpy as np
import pytest

from minicoulomb import layers
from minicoulomb.arrays import blocks
from minicoulomb.layers import (
    ELU,
    BatchNorm,
    LeakyReLU,
    ReLU,
    ScaledTanh,
    Softmax,
    activations,
    batch_norm,
    batch_norm_input_gradient,
    batch_norm_param_gradient,
)
from minicoulomb.layers.batch_norm import mean_and_variance

SHAPES = [(1, 3), (5, 1), (40, 3), (3, 11, 4), (6, 5, 4, 7)]
ACTIVATIONS = [None, ReLU(), LeakyReLU(0.3), ELU(), ScaledTanh(), Softmax()]


@pytest.fixture(params=[20, 2**18], ids=["small blocks", "a block"], autouse=True)
def block(request, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", request.param)


def numbers(shape, seed=0):
    """(x, dy, scale, shift, statistics): a random cotangent, and statistics that are not those of x."""
    rng = np.random.default_rng(seed)
    x, dy = 2 * rng.standard_normal((2, *shape)) + 1
    scale, shift, mean = rng.standard_normal((3, shape[-1]))
    return x, dy, scale, shift, (mean, rng.uniform(0.5, 2, shape[-1]))


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12 * max(1, np.abs(theirs).max()))


def name_of(activation):
    return activation.name if activation else "identity"


@pytest.mark.parametrize("given", [False, True], ids=["statistics of the batch", "given statistics"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=name_of)
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_is_its_formula(shape, activation, given):
    x, dy, scale, shift, statistics = numbers(shape)
    axes, n = tuple(range(len(shape) - 1)), x.size // shape[-1]
    mean, variance = statistics if given else (x.mean(axis=axes), x.var(axis=axes))
    std = np.sqrt(variance + 1e-5)
    xhat = (x - mean) / std
    z = scale * xhat + shift
    y = activation.f(z) if activation else z
    dz = activation.df(y, dy) if activation else dy
    dscale, dshift = (dz * xhat).sum(axis=axes), dz.sum(axis=axes)
    dx = scale / std * (dz if given else dz - dshift / n - xhat * dscale / n)

    ours, residuals = batch_norm(x, scale, shift, statistics=statistics if given else None, activation=activation)
    close(ours, y)
    for mine, theirs in zip(batch_norm_param_gradient(residuals, dy), (dscale, dshift)):
        close(mine, theirs)
    close(batch_norm_input_gradient(residuals, dy), dx)
    close(batch_norm_input_gradient(residuals, dy, (dscale, dshift)), dx)


@pytest.mark.parametrize("shape", SHAPES)
def test_mean_and_variance_are_their_formulas(shape):
    rows = numbers(shape)[0].reshape(-1, shape[-1])
    for ours, theirs in zip(mean_and_variance(rows), (rows.mean(axis=0), rows.var(axis=0))):
        close(ours, theirs)


def test_a_large_mean_leaves_the_variance_its_digits():
    x = np.random.default_rng(0).standard_normal((1000, 2))
    close(mean_and_variance(x + 1e6)[1], x.var(axis=0) * (1 + 0 * x[0]))


FORMULAS = {
    "relu": (lambda x: np.where(x > 0, x, 0), lambda x: np.where(x > 0, 1, 0)),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.3 * x), lambda x: np.where(x > 0, 1, 0.3)),
    "elu": (lambda x: np.where(x > 0, x, np.exp(x) - 1), lambda x: np.where(x > 0, 1, np.exp(x))),
    "tanh": (lambda x: 1.7159 * np.tanh(2 / 3 * x), lambda x: 1.7159 * 2 / 3 / np.cosh(2 / 3 * x) ** 2),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS[1:-1], ids=name_of)
def test_an_activation_is_its_formula(activation, shape):
    x, dy, *_ = numbers(shape)
    f, slope = FORMULAS[activation.name]
    y, residuals = activation.forward({}, x)
    close(y, f(x))
    close(activation.input_gradient(residuals, dy), dy * slope(x))


@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_is_its_formula(shape):
    x, dy, *_ = numbers(shape)
    y, residuals = Softmax().forward({}, x)
    close(y, np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True))
    jacobian = y[..., :, None] * (np.eye(shape[-1]) - y[..., None, :])  # dy_i / dx_j
    close(Softmax().input_gradient(residuals, dy), np.einsum("...ij,...i->...j", jacobian, dy))


def test_a_slope_of_one_or_nothing_is_exact_in_float32():
    """(1 - slope) + slope rounds to 1."""
    for slope in (0.2, 0.1, 0.3, 0.01):
        dy = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
        np.testing.assert_array_equal(activations.leaky_relu_gradient(np.ones_like(dy), dy, slope), dy)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (5, 3, 2, 4)])
def test_resampling_is_its_formula(shape):
    n, h, w, c = shape
    x = np.random.default_rng(0).standard_normal(shape)
    y = x.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(layers.repeat(x), y)
    close(layers.block_sum(y + 1), (y + 1).reshape(n, h, 2, w, 2, c).sum(axis=(2, 4)))


def test_the_layer_gives_what_its_functions_give():
    x, dy, scale, shift, _ = numbers((6, 5, 4, 7))
    layer = BatchNorm(7, LeakyReLU())
    y, residuals = layer.forward({"scale": scale, "shift": shift}, x)
    dx, dparams = layer.gradients(residuals, dy)
    np.testing.assert_array_equal(y, batch_norm(x, scale, shift, activation=LeakyReLU())[0])
    np.testing.assert_array_equal(dx, batch_norm_input_gradient(residuals, dy))
    np.testing.assert_array_equal([dparams["scale"], dparams["shift"]], batch_norm_param_gradient(residuals, dy))
