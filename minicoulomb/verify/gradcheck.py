"""Every hand-written gradient against finite differences or another library's autodiff, in float64.

A gradient g of f is compared with the derivative of f along a random direction v:

    error = min over steps h of  | (f(x + h v) - f(x - h v)) / 2 h  -  g @ v | / (|g| rms(v))

The denominator is the size of g @ v for random v. A central difference is off by about h^2 f''' / 6 by truncation and
1e-16 |f| / h by rounding: for f of order 1 that is below 1e-9 at h = 1e-5, and the bounds leave a factor for large
third derivatives. Where a ReLU has its kink between x - h v and x + h v, the difference quotient is wrong although g
is right. That gets rarer in proportion to h, so the steps go down to 1e-7 and the smallest error counts: a wrong g is
wrong at every step. The inputs of single layers lie away from the kink.

Layers are checked on <dy, y> with a random cotangent dy. Against autodiff, error = |g - g'| / |g'|.

Draws, directions and the other library's arrays are on the host; this package's functions compute on the backend.
"""

from typing import Any, NamedTuple

import numpy as np

from minicoulomb import layers
from minicoulomb.arrays.backend import Backend, array_module, open_backend, to_host
from minicoulomb.baselines import field_gradients, gan_gradients
from minicoulomb.config import Config
from minicoulomb.coulomb import field
from minicoulomb.gan import Batch, gradients
from minicoulomb.layers import Conv, Layer, Linear, Residual, ScaledTanh, Sequential
from minicoulomb.models import SampleSpace, build
from minicoulomb.network import Network
from minicoulomb.verify.losses import losses, penalties, potential
from minicoulomb.verify.oracles import open_oracle

SAMPLES = 4
STEPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
LAYER_BOUND = 1e-8
NETWORK_BOUND = 1e-6  # kinks leave only the small steps, where rounding is 1e-16 / 1e-7
AUTODIFF_BOUND = 1e-10
NUMPY = open_backend("numpy")

_UNEVEN: dict[str, Any] = {"stride": (2, 3), "padding": ((1, 2), (0, 1))}
_SEQUENCE: dict[str, Any] = {"stride": 2, "padding": ((1, 2),)}
_UP, _DOWN = layers.Upsample(), layers.AveragePool()

# A layer of each kind, convolutions in uneven geometry, and the shape of an input.
LAYERS = {
    "Linear": (Linear(5, 3), (5,)),
    "Conv 1-D": (Conv(2, 3, (5,), **_SEQUENCE), (9, 2)),
    "Conv 2-D": (Conv(2, 3, (5, 4), **_UNEVEN), (8, 7, 2)),
    "Conv 2-D, winograd": (Conv(2, 3, (5, 4), **_UNEVEN, algorithm="winograd"), (8, 7, 2)),
    "ConvTranspose 1-D": (layers.ConvTranspose(3, 2, (5,), **_SEQUENCE), (5, 3)),
    "ConvTranspose 2-D": (layers.ConvTranspose(3, 2, (5, 4), **_UNEVEN), (4, 3, 3)),
    "BatchNorm": (layers.BatchNorm(3), (4, 5, 3)),
    "BatchNorm, tanh": (layers.BatchNorm(3, ScaledTanh()), (4, 5, 3)),
    "ReLU": (layers.ReLU(), (6,)),
    "LeakyReLU": (layers.LeakyReLU(0.2), (6,)),
    "ELU": (layers.ELU(), (6,)),
    "ScaledTanh": (ScaledTanh(), (6,)),
    "Softmax": (layers.Softmax(), (6, 4)),
    "Residual": (Residual(Linear(6, 6), ScaledTanh(), Linear(6, 6), scale=0.3), (6,)),
    "Residual, up": (Residual(_UP, Conv(3, 2, 3), scale=0.3, shortcut=Sequential(_UP, Conv(3, 2, 3))), (3, 4, 3)),
    "Residual, down": (Residual(_DOWN, Conv(2, 3, 1), shortcut=Sequential(Conv(2, 3, 1), _DOWN)), (4, 6, 2)),
    "Identity": (layers.Identity(), (6,)),
    "Upsample": (_UP, (3, 4, 2)),
    "AveragePool": (_DOWN, (6, 4, 2)),
    "Scale": (layers.Scale(0.7), (6,)),
    "Reshape": (layers.Reshape((6,)), (2, 3)),
}


class GradientCheck(NamedTuple):
    """One gradient: where it is from, its name, its relative error, the bound of that, and whether it is kept."""

    name: str
    what: str
    error: float
    bound: float
    ok: bool


def check(
    config: Config, space: SampleSpace, against: str | None = None, seed: int = 0, backend: Backend = NUMPY
) -> list[GradientCheck]:
    """Compare the gradients of every layer, the field, Algorithm 1 and both baselines with a second witness.

    Parameters
    ----------
    config : Config
        Its networks are built, and its settings of the algorithm hold for Algorithm 1. The baselines drop those that
        they do not have.
    space : SampleSpace
        Shape, scale and bound of the samples.
    against : str, optional
        "autograd", "jax" or "torch"; by default finite differences.
    seed : int
        Seed of parameters, inputs, cotangents and directions.
    backend : Backend
        Where the gradients are computed. The draws are the same on each.

    Returns
    -------
    list of GradientCheck
        One for each gradient; `ok` says whether `error` is within `bound`.

    Raises
    ------
    UserError
        The library is unknown or not installed.

    Examples
    --------
    >>> from minicoulomb.config import Config
    >>> from minicoulomb.models import SampleSpace
    >>> checks = check(Config.of(g_width=4, d_width=4), SampleSpace((2,)))
    >>> all(check.ok for check in checks)
    True
    """
    rng = np.random.default_rng(seed)
    witness = open_oracle(against) if against else None, rng, backend.to_device
    rows = []
    for name, (layer, shape) in LAYERS.items():
        rows += _check_layer(name, layer, shape, *witness)
    for m in (2, 20):  # the field of few coordinates and of many is computed in different ways
        rows += _check_field(config.algorithm, m, *witness)
    rows += _check_objective("Algorithm 1", gradients, config, space, *witness)
    config = config.replace(objective="gan", noise=0.0, field_share=0.0)
    rows += _check_objective("GAN baseline", gan_gradients, config, space, *witness)
    config = config.replace(objective="field", l2=0.0, d_steps=1)
    return [*rows, *_check_objective("field baseline", field_gradients, config, space, *witness)]


def check_layer(layer: Layer, shape: tuple[int, ...], seed: int = 0) -> list[GradientCheck]:
    """Compare the gradients of one layer, perhaps of your own, with finite differences.

    Parameters
    ----------
    layer : Layer
    shape : tuple of int
        Of one sample that it takes.
    seed : int

    Returns
    -------
    list of GradientCheck
        One for the input, and one for the parameters if there are any.

    Examples
    --------
    >>> [(check.what, check.ok) for check in check_layer(Linear(5, 3), (5,))]
    [('input', True), ('parameters', True)]
    """
    return list(_check_layer(layer.name, layer, shape, None, np.random.default_rng(seed), NUMPY.to_device))


def _check_layer(name, layer, shape, oracle, rng, put):
    """The rows of a layer; batch normalization has them for given statistics as well."""
    network = Network([layer], shape)
    yield from _check_network(name, network, oracle, rng, put)
    if network.statistics_size:
        statistics = put(rng.uniform(0.5, 1.5, network.statistics_size))
        yield from _check_network(f"{name}, given statistics", network, oracle, rng, put, statistics)


def _check_network(name, network, oracle, rng, put, statistics=None):
    theta = put(rng.standard_normal(network.size))
    x = rng.standard_normal((SAMPLES, *network.input_shape))
    x = put(x + 0.1 * np.sign(x))  # away from the kinks
    y, residuals = network.forward(theta, x, statistics)
    dy = put(rng.standard_normal(y.shape))
    dx, dtheta = network.gradients(residuals, dy)
    of_x = lambda x: (network.forward(theta, x, statistics)[0] * dy).sum()
    of_theta = lambda theta: (network.forward(theta, x, statistics)[0] * dy).sum()
    theirs = oracle.gradients(network, *_on_host(theta, x, dy, statistics)) if oracle else (None, None)
    yield _compare(name, "input", dx, of_x, x, LAYER_BOUND, theirs[0], rng)
    if network.size:
        yield _compare(name, "parameters", dtheta, of_theta, theta, LAYER_BOUND, theirs[1], rng)


def _check_field(algorithm, m, oracle, rng, put):
    a, y, x = (put(rng.standard_normal((n, m))) for n in (5, 7, 6))
    d, eps = algorithm.d, algorithm.eps
    phi = lambda a: potential(a, y, x, d, eps).sum()
    theirs = oracle.field(*_on_host(a, y, x), d, eps) if oracle else None
    yield _compare(f"field in {m} dimensions", "grad Phi", field(a, y, x, d, eps), phi, a, LAYER_BOUND, theirs, rng)


def _check_objective(name, function, config, space, oracle, rng, put):
    (G, D), networks, algorithm = build(config.networks, space), config.networks, config.algorithm
    # Off the initial values, where shifts and biases are 0.
    theta, w = (put(net.init(rng, np.float64) + 0.01 * rng.standard_normal(net.size)) for net in (G, D))
    z = put(rng.standard_normal((SAMPLES, networks.latent)))
    y = put(space.scale * rng.uniform(-1, 1, (SAMPLES, *space.shape)))
    batch = Batch(z, y, *(put(rng.standard_normal(y.shape)) for _ in range(2) if algorithm.noise))
    ours = function(G, D, theta, w, batch, algorithm, algorithm.eps)
    xp, forward = array_module(theta), [lambda vector, x, net=net: net.forward(vector, x)[0] for net in (G, D)]
    log_sigmoid = lambda x: -xp.log(1 + xp.exp(-x))  # the outputs of a fresh D are far from overflow
    loss_g, loss_d = losses(forward, theta, w, batch, algorithm, algorithm.eps, log_sigmoid)
    of_g, of_d = penalties((G.kernels, D.kernels), algorithm)
    theirs = (None, None)
    if oracle:
        on_host = *_on_host(theta, w), Batch(*_on_host(*batch))
        theirs = oracle.objective(G, D, *on_host, algorithm, algorithm.eps)
    place = f"{name}, generator {networks.generator}"
    of_theta = lambda theta: loss_g(theta) + of_g(theta)
    yield _compare(place, "dL_G / dtheta", ours.dtheta, of_theta, theta, NETWORK_BOUND, theirs[0], rng)
    if loss_d:
        place, of_w = f"{name}, discriminator {networks.discriminator}", lambda w: loss_d(w) + of_d(w)
        yield _compare(place, "dL_D / dw", ours.dw, of_w, w, NETWORK_BOUND, theirs[1], rng)


def _compare(name, what, gradient, function, point, bound, theirs, rng):
    """The gradient of function at point, beside the oracle's or, where that is None, finite differences."""
    if theirs is None:
        error = _difference(function, point, gradient, rng)
    else:
        error, bound = np.linalg.norm(to_host(gradient) - theirs) / np.linalg.norm(theirs), AUTODIFF_BOUND
    return GradientCheck(name, what, float(error), bound, bool(error <= bound))


def _difference(function, x, gradient, rng):
    """The error of `gradient` along a random direction, as at the head of this file."""
    x_on_host, gradient = to_host(x), to_host(gradient)
    # The direction is as large as x, so that a step is a relative change.
    v = rng.standard_normal(x.shape) * np.sqrt(np.mean(x_on_host * x_on_host))
    direction = array_module(x).asarray(v)
    slopes = [float(function(x + h * direction) - function(x - h * direction)) / (2 * h) for h in STEPS]
    scale = np.linalg.norm(gradient) * np.sqrt(np.mean(v * v))
    return float(min(abs(slope - (gradient * v).sum()) for slope in slopes) / scale)


def _on_host(*arrays):
    return [None if array is None else to_host(array) for array in arrays]
