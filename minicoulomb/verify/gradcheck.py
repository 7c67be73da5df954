"""Every hand-written gradient against a second witness, in float64: finite differences, or another library's autodiff.

A gradient g of f is compared with the derivative of f along a random direction v:

    error = min over steps h of  | (f(x + h v) - f(x - h v)) / 2 h  -  g @ v | / (|g| rms(v))

The denominator is the size that g @ v has for random v. A central difference is off by about h^2 f''' / 6 by
truncation and 1e-16 |f| / h by rounding: for f of order 1 that is below 1e-9 at h = 1e-5, and the bounds leave a
factor for large third derivatives. Where a ReLU has its kink between x - h v and x + h v, the difference quotient is
wrong although g is right, but that gets rarer in proportion to h, so steps down to 1e-7 are taken and the smallest
error counts: a wrong g is wrong at every step. Single layers are fed inputs away from the kink.

Layers are checked on <dy, y> with a random cotangent dy. Against autodiff, error = |g - g'| / |g'|.

Draws, directions and the other library's arrays are the host's; this package's functions compute on the backend.
"""

from typing import NamedTuple

import numpy as np

from minicoulomb.arrays.backend import Backend, array_module, open_backend, to_host
from minicoulomb.baselines import field_gradients, gan_gradients
from minicoulomb.config import Config
from minicoulomb.coulomb import field, potential
from minicoulomb.gan import Batch, gradients, target_scale
from minicoulomb.layers import (
    ELU,
    AveragePool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Identity,
    LayerNorm,
    LeakyReLU,
    Linear,
    ReLU,
    Reshape,
    Residual,
    Scale,
    ScaledTanh,
    Sequential,
    Softmax,
    Upsample,
)
from minicoulomb.models import SampleSpace, build
from minicoulomb.network import Network
from minicoulomb.verify.oracles import open_oracle

SAMPLES = 4
STEPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
LAYER_BOUND = 1e-8
NETWORK_BOUND = 1e-6  # kinks leave only the small steps, where rounding is 1e-16 / 1e-7
AUTODIFF_BOUND = 1e-10
NUMPY = open_backend("numpy")

_UNEVEN = {"stride": (2, 3), "padding": ((1, 2), (0, 1))}

# A layer of each kind, convolutions in uneven geometry, and the shape of one input.
LAYERS = {
    "Linear": (Linear(5, 3), (5,)),
    "Conv 1-D": (Conv(2, 3, (5,), stride=2, padding=((1, 2),)), (9, 2)),
    "Conv 2-D": (Conv(2, 3, (5, 4), **_UNEVEN), (8, 7, 2)),
    "Conv 2-D, winograd": (Conv(2, 3, (5, 4), **_UNEVEN, algorithm="winograd"), (8, 7, 2)),
    "ConvTranspose 1-D": (ConvTranspose(3, 2, (5,), stride=2, padding=((1, 2),)), (5, 3)),
    "ConvTranspose 2-D": (ConvTranspose(3, 2, (5, 4), **_UNEVEN), (4, 3, 3)),
    "BatchNorm": (BatchNorm(3), (4, 5, 3)),
    "BatchNorm, tanh": (BatchNorm(3, ScaledTanh()), (4, 5, 3)),
    "LayerNorm": (LayerNorm((6, 3)), (6, 3)),
    "ReLU": (ReLU(), (6,)),
    "LeakyReLU": (LeakyReLU(0.2), (6,)),
    "ELU": (ELU(), (6,)),
    "ScaledTanh": (ScaledTanh(), (6,)),
    "Softmax": (Softmax(), (6, 4)),
    "Residual": (Residual(Linear(6, 6), ScaledTanh(), Linear(6, 6), scale=0.3), (6,)),
    "Residual, up": (
        Residual(Upsample(), Conv(3, 2, 3, padding=1), scale=0.3, shortcut=Sequential(Conv(3, 2, 1), Upsample())),
        (3, 4, 3),
    ),
    "Residual, down": (
        Residual(AveragePool(), Conv(2, 3, 3, padding=1), shortcut=Sequential(AveragePool(), Conv(2, 3, 1))),
        (4, 6, 2),
    ),
    "Identity": (Identity(), (6,)),
    "Upsample": (Upsample(), (3, 4, 2)),
    "AveragePool": (AveragePool(), (6, 4, 2)),
    "Scale": (Scale(0.7), (6,)),
    "Reshape": (Reshape((6,)), (2, 3)),
}


class Row(NamedTuple):
    """One comparison: where, which gradient, its relative error, the bound that it must keep, and whether it does."""

    name: str
    what: str
    error: float
    bound: float
    ok: bool


def check(
    config: Config,
    space: SampleSpace,
    against: str | None = None,
    seed: int = 0,
    backend: Backend = NUMPY,
) -> list[Row]:
    """Compare every layer's gradients, the field, and both gradients of Algorithm 1 for the config's networks.

    And those of its baselines, with what they take of the config's settings.

    against   None for finite differences, or one of oracles.ORACLES; UserError where that is not installed
    backend   where the gradients are computed; the draws are the same on each
    """
    put = backend.to_device
    rng = np.random.default_rng(seed)
    oracle = open_oracle(against) if against else None
    rows = []
    for name, (layer, shape) in LAYERS.items():
        network = Network([layer], shape)
        rows += _check_layer(name, network, oracle, rng, put)
        if network.statistics_size:
            statistics = put(rng.uniform(0.5, 1.5, network.statistics_size))
            rows += _check_layer(f"{name}, given statistics", network, oracle, rng, put, statistics)
    rows += [_check_field(config, m, oracle, rng, put) for m in (2, 20)]  # few coordinates and many: see coulomb.py
    rows += _check_objective("Algorithm 1", gradients, config, space, oracle, rng, put)
    config = config.replace(objective="gan", noise=0.0)
    rows += _check_objective("GAN baseline", gan_gradients, config, space, oracle, rng, put)
    config = config.replace(objective="field", l2=0.0, d_steps=1)
    return [*rows, *_check_objective("field baseline", field_gradients, config, space, oracle, rng, put)]


def _check_layer(name, network, oracle, rng, put, statistics=None):
    theta = put(rng.standard_normal(network.size))
    x = rng.standard_normal((SAMPLES, *network.input_shape))
    x = put(x + 0.1 * np.sign(x))  # away from the kinks
    y, residuals = network.forward(theta, x, statistics)
    dy = put(rng.standard_normal(y.shape))
    dx, dtheta = network.gradients(residuals, dy)
    if oracle:
        theirs = oracle.gradients(network, *_on_host(theta, x, dy, statistics))
        errors = [_distance(ours, their) for ours, their in zip((dx, dtheta), theirs, strict=True)]
    else:
        of_x = lambda x: (network.forward(theta, x, statistics)[0] * dy).sum()
        of_theta = lambda theta: (network.forward(theta, x, statistics)[0] * dy).sum()
        errors = [_difference(of_x, x, dx, rng), _difference(of_theta, theta, dtheta, rng)]
    bound = AUTODIFF_BOUND if oracle else LAYER_BOUND
    rows = [_row(name, what, error, bound) for what, error in zip(("input", "parameters"), errors, strict=True)]
    return rows if network.size else rows[:1]


def _check_field(config, m, oracle, rng, put):
    a, y, x = (put(rng.standard_normal((n, m))) for n in (5, 7, 6))
    force = field(a, y, x, config.algorithm.d, config.algorithm.eps)
    if oracle:
        error = _distance(force, oracle.field(*_on_host(a, y, x), config.algorithm.d, config.algorithm.eps))
    else:
        error = _difference(lambda a: potential(a, y, x, config.algorithm.d, config.algorithm.eps).sum(), a, force, rng)
    return _row(f"field in {m} dimensions", "grad Phi", error, AUTODIFF_BOUND if oracle else LAYER_BOUND)


def _check_objective(name, function, config, space, oracle, rng, put):
    G, D = build(config.networks, space)
    # Off the initial values, where shifts and biases are 0.
    theta, w = (put(net.init(rng, np.float64) + 0.01 * rng.standard_normal(net.size)) for net in (G, D))
    z = put(rng.standard_normal((SAMPLES, config.networks.latent)))
    y = put(space.scale * rng.uniform(-1, 1, (SAMPLES, *space.shape)))
    noise = [put(rng.standard_normal(y.shape)) for _ in range(2)] if config.algorithm.noise else []
    batch = Batch(z, y, *noise)
    ours = function(G, D, theta, w, batch, config.algorithm, config.algorithm.eps)
    if oracle:
        on_host = Batch(*_on_host(*batch))
        theirs = oracle.objective(G, D, *_on_host(theta, w), on_host, config.algorithm, config.algorithm.eps)[:2]
        error = lambda number, ours, _: _distance(ours, theirs[number])
    else:
        losses = LOSSES[config.algorithm.objective](G, D, theta, w, batch, config.algorithm)
        error = lambda number, ours, vector: _difference(losses[number], vector, ours, rng)
    bound = AUTODIFF_BOUND if oracle else NETWORK_BOUND
    rows = [
        _row(f"{name}, generator {config.networks.generator}", "dL_G / dtheta", error(0, ours.dtheta, theta), bound)
    ]
    if ours.dw is not None:
        rows += [
            _row(f"{name}, discriminator {config.networks.discriminator}", "dL_D / dw", error(1, ours.dw, w), bound)
        ]
    return rows


# L_G as a function of theta, and L_D as a function of w, from their formulas in gan.py and baselines.py.


def _coulomb_losses(G, D, theta, w, batch, algorithm):
    scale = target_scale(algorithm, algorithm.eps)
    x, _ = G.forward(theta, batch.z)
    points = x, batch.y
    if batch.noise_x is not None:
        points = (
            x + algorithm.noise * algorithm.eps * batch.noise_x,
            batch.y + algorithm.noise * algorithm.eps * batch.noise_y,
        )
    targets = [scale * potential(a, batch.y, x, algorithm.d, algorithm.eps) for a in points]

    def loss_g(theta):
        return -D.forward(w, G.forward(theta, batch.z)[0])[0].mean() / 2

    def loss_d(w):
        errors = [D.forward(w, a)[0] - target for a, target in zip(points, targets, strict=True)]
        return sum((error**2).mean() for error in errors) / 2 + _penalty(D, w, algorithm)

    return loss_g, loss_d


def _gan_losses(G, D, theta, w, batch, algorithm):
    xp, x = array_module(theta), G.forward(theta, batch.z)[0]
    surprise = lambda logits: xp.log(1 + xp.exp(-logits)).mean()  # logits of a fresh D are far from overflow

    def loss_g(theta):
        return surprise(D.forward(w, G.forward(theta, batch.z)[0])[0])

    def loss_d(w):
        return surprise(D.forward(w, batch.y)[0]) + surprise(-D.forward(w, x)[0]) + _penalty(D, w, algorithm)

    return loss_g, loss_d


def _field_losses(G, D, theta, w, batch, algorithm):
    scale = target_scale(algorithm, algorithm.eps)
    x, _ = G.forward(theta, batch.z)

    def mean_kernel(a, b):
        # From differences: of a, a small step away from x, coulomb.py's products would lose the distance.
        offsets = (a[:, None] - b[None]).reshape(len(a), len(b), -1)
        return (((offsets * offsets).sum(-1) + algorithm.eps**2) ** (-algorithm.d / 2)).mean()

    def loss_g(theta):
        a, _ = G.forward(theta, batch.z)
        return -scale / 2 * (mean_kernel(a, batch.y) - mean_kernel(a, x))

    return (loss_g,)


LOSSES = {"coulomb": _coulomb_losses, "gan": _gan_losses, "field": _field_losses}


def _penalty(D, w, algorithm):
    return algorithm.l2 / 2 * sum((w[kernel] ** 2).sum() for kernel in D.kernels)


def _difference(function, x, gradient, rng):
    """The error of `gradient` along a random direction, as the head of this file says; 0 where there is nothing."""
    if not x.size:
        return 0.0
    # As large as x, so that a step is a relative change.
    x_on_host, gradient = to_host(x), to_host(gradient)
    v = rng.standard_normal(x.shape) * np.sqrt(np.mean(x_on_host * x_on_host))
    direction = array_module(x).asarray(v)
    slopes = [float(function(x + h * direction) - function(x - h * direction)) / (2 * h) for h in STEPS]
    scale = np.linalg.norm(gradient) * np.sqrt(np.mean(v * v))
    return float(min(abs(slope - (gradient * v).sum()) for slope in slopes) / scale)


def _distance(ours, theirs):
    return float(np.linalg.norm(to_host(ours) - theirs) / np.linalg.norm(theirs)) if ours.size else 0.0


def _on_host(*arrays):
    return [None if array is None else to_host(array) for array in arrays]


def _row(name, what, error, bound):
    return Row(name, what, error, bound, bool(error <= bound))
