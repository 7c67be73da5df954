"""What our gradients are compared with an oracle on, whichever library it computes with: bodies of tests.

Relative errors are ratios of Euclidean norms, at most 1e-10 in float64: rounding leaves about 1e-15.
"""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st

from minicoulomb.baselines import OBJECTIVES
from minicoulomb.config import Config
from minicoulomb.coulomb import field
from minicoulomb.gan import Batch, State, gradients, initial_state, step
from minicoulomb.layers import (
    ELU,
    AveragePool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Identity,
    LeakyReLU,
    Linear,
    ReLU,
    Reshape,
    Residual,
    Scale,
    Sequential,
    Softmax,
    Tanh,
    Upsample,
)
from minicoulomb.models import SampleSpace, build
from minicoulomb.network import Network
from minicoulomb.schedules import rates_at

MODELS = [("mlp", "mlp"), ("my", "my"), ("my", "my-big"), ("dcgan", "dcgan"), ("resnet", "resnet")]

# Lines of 9 characters of 5.
TEXT = ("text", "text", (9, 5))

# Every option of gan.gradients away from its default.
OPTIONS = {
    "l2": 0.1,
    "l2_g": 0.2,
    "potential_scale": 3.0,
    "relative_potential": True,
    "noise": 0.5,
    "field_share": 0.3,
    "d": 1.5,
    "eps": 0.8,
}

# What Algorithm 1 is compared with, and which of these options it has.
BASELINES = {name: OBJECTIVES[name] for name in ("gan", "field")}
BASELINE_OPTIONS = {
    "gan": {"l2": 0.1, "l2_g": 0.2},
    "field": {name: value for name, value in OPTIONS.items() if name not in ("l2", "noise", "field_share")},
}


def assert_agree(ours, theirs, bound=1e-10, terms=0.0):
    """|ours - theirs| <= bound |theirs|, plus the rounding of terms of size `terms` where these cancel.

    A saturated softmax, say, gives differences of 1e-7 between numbers of order 1, each rounded at 2^-53: some
    hundred such roundings are 1e-14 of the terms, whatever is left of them.
    """
    assert ours.shape == theirs.shape
    assert np.linalg.norm(ours - theirs) <= bound * np.linalg.norm(theirs) + 1e-14 * terms


class Axis(NamedTuple):
    """One spatial axis of a correlation: the input's size, and the geometry."""

    size: int
    k: int
    stride: int
    padding: tuple[int, int]

    @property
    def output_size(self):
        return (self.size + sum(self.padding) - self.k) // self.stride + 1


@st.composite
def axes(draw):
    k, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    return Axis(draw(st.integers(max(1, k - sum(padding)), 9)), k, stride, padding)


def geometries():
    """One or two axes."""
    return st.lists(axes(), min_size=1, max_size=2)


# Tests run over every kind, for a drawn one could be drawn too rarely.
KINDS = [
    "Linear",
    "Conv",
    "ConvTranspose",
    "BatchNorm",
    "ReLU",
    "LeakyReLU",
    "ELU",
    "Tanh",
    "Softmax",
    "Scale",
    "Reshape",
    "Residual",
    "Residual, shortcut",
    "Identity",
    "Upsample",
    "AveragePool",
]
every_kind = pytest.mark.parametrize("kind", KINDS)


@st.composite
def networks(draw, kind):
    """A network of one layer, or of a residual branch of some, with drawn sizes and settings."""
    c_in, c_out = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    if kind in ("Conv", "ConvTranspose"):
        geometry = draw(geometries())
        sizes, taps, stride, padding = zip(*geometry)
        settings = {"kernel_size": taps, "stride": stride, "padding": padding, "bias": draw(st.booleans())}
        if kind == "Conv":
            return Network([Conv(c_in, c_out, **settings)], (*sizes, c_in))
        # Padding takes away from a transposed convolution's output, which must keep one number.
        sizes = [axis.output_size + sum(axis.padding) for axis in geometry]
        return Network([ConvTranspose(c_in, c_out, **settings)], (*sizes, c_in))
    if kind == "Residual":
        there, back = Conv(c_in, c_out, (3,), padding=1), Conv(c_out, c_in, (2,), padding=((0, 1),))
        branch = Residual(there, BatchNorm(c_out), ELU(), back, scale=draw(st.floats(0.1, 2)))
        return Network([branch, Tanh()], (5, c_in))
    if kind in ("Residual, shortcut", "Upsample", "AveragePool"):
        half = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        resample = draw(st.sampled_from([Upsample(), AveragePool()])) if "," in kind else {
            "Upsample": Upsample(), "AveragePool": AveragePool()
        }[kind]  # fmt: skip
        shape = (*(2 * side if resample == AveragePool() else side for side in half), c_in)
        if "," not in kind:
            return Network([resample], shape)
        branch = BatchNorm(c_in, Tanh()), resample, Conv(c_in, c_out, 3, padding=1)
        shortcut = Sequential(Conv(c_in, c_out, 1), BatchNorm(c_out), resample)
        return Network([Residual(*branch, scale=draw(st.floats(0.1, 2)), shortcut=shortcut), Tanh()], shape)
    spatial = tuple(draw(st.lists(st.integers(2, 4), max_size=2)))
    shape = (*spatial, c_in)
    factor = draw(st.floats(0.1, 0.9))
    behind = draw(st.sampled_from([None, LeakyReLU(factor), Tanh(1 + factor, factor)]))
    return {
        "Linear": lambda: Network([Linear(c_in, c_out)], (c_in,)),
        "BatchNorm": lambda: Network([BatchNorm(c_in, behind)], shape),
        "ReLU": lambda: Network([ReLU()], shape),
        "LeakyReLU": lambda: Network([LeakyReLU(factor)], shape),
        "ELU": lambda: Network([ELU()], shape),
        "Tanh": lambda: Network([Tanh(1 + factor, factor)], shape),
        "Softmax": lambda: Network([Softmax()], (*spatial, c_in + 1)),
        "Identity": lambda: Network([Identity()], shape),
        "Scale": lambda: Network([Scale(factor)], shape),
        "Reshape": lambda: Network([Reshape((c_in, *spatial))], shape),
    }[kind]()


class Pass(NamedTuple):
    """Random numbers for one pass through a network."""

    theta: np.ndarray
    x: np.ndarray
    dy: np.ndarray
    statistics: np.ndarray | None


@st.composite
def passes(draw, kind):
    """(network, Pass): at least 3 samples, for two points per channel leave batch normalization nothing to learn."""
    network, n = draw(networks(kind)), draw(st.integers(3, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    given = network.statistics_size and draw(st.booleans())
    return network, Pass(
        rng.standard_normal(network.size),
        rng.standard_normal((n, *network.input_shape)),
        rng.standard_normal((n, *network.output_shape)),
        rng.uniform(0.5, 2, network.statistics_size) if given else None,
    )


def check_network(oracle, network, numbers):
    theta, x, dy, statistics = numbers
    y, residuals = network.forward(theta, x, statistics)
    dx, dtheta = network.gradients(residuals, dy)
    their_dx, their_dtheta = oracle.gradients(network, theta, x, dy, statistics)
    assert_agree(y, oracle.forward(network, theta, x, statistics))
    terms = np.linalg.norm(dy)
    assert_agree(dx, their_dx, terms=terms)
    assert_agree(dtheta, their_dtheta, terms=terms)


@st.composite
def charges(draw):
    """(a, y, x, d, eps): few coordinates and many, which coulomb.py treats differently."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m = draw(st.integers(1, 9))
    a, y, x = (rng.standard_normal((draw(st.integers(1, 6)), m)) for _ in range(3))
    return a, y, x, draw(st.sampled_from([1, 2, 3, 4, 0.5, 2.7])), draw(st.floats(0.1, 3))


def check_field(oracle, a, y, x, d, eps):
    assert_agree(field(a, y, x, d, eps), oracle.field(a, y, x, d, eps))


class Problem(NamedTuple):
    """One instance of Algorithm 1, small enough for an oracle."""

    G: Network
    D: Network
    theta: np.ndarray
    w: np.ndarray
    batches: list[Batch]
    config: Config


def problem(generator, discriminator, shape, batches=1, **options) -> Problem:
    """Random networks and batches; more real samples than generated ones, for the two must not be mixed up."""
    settings = {"latent": 3, "g_width": 8, "d_width": 8, "d": 1.0, "eps": 1.0, **options}
    config = Config.of(generator=generator, discriminator=discriminator, dtype="float64", **settings)
    G, D = build(config.networks, SampleSpace(shape))
    rng = np.random.default_rng(5)
    # Off the initial values, where shifts and biases are 0.
    theta, w = (net.init(rng, np.float64) + 0.1 * rng.standard_normal(net.size) for net in (G, D))

    def batch():
        z, y = rng.standard_normal((4, config.networks.latent)), rng.uniform(-1, 1, (5, *shape))
        noise = [rng.standard_normal((n, *shape)) for n in (4, 5)] if config.algorithm.noise else []
        return Batch(z, y, *noise)

    return Problem(G, D, theta, w, [batch() for _ in range(batches)], config)


def fresh_state(G, D, config, xp=np) -> State:
    """Step 0 as the trainer makes it."""
    return initial_state(G, D, config.run.seed, config.run.dtype, config.algorithm.average > 0, xp)


def take_step(G, D, state, batches, config, **workspace):
    """One step of the configured objective as the trainer takes it; its metrics."""
    algorithm = config.algorithm
    rates = rates_at(algorithm, state.step)
    rates = rates._replace(adam_d=(rates.adam_d * len(batches))[: len(batches)])
    metrics = step(G, D, state, batches, algorithm, rates, OBJECTIVES[algorithm.objective], **workspace)
    state.step += 1
    return metrics


def check_algorithm_1(oracle, generator, discriminator, shape, **options):
    """Both losses, and both gradients parameter by parameter, with convolutions by either algorithm."""
    check_gradients(gradients, oracle, problem(generator, discriminator, shape, **options))


def check_baseline(oracle, objective, generator, discriminator, shape, **options):
    """The same of what Algorithm 1 is compared with."""
    check_gradients(
        BASELINES[objective], oracle, problem(generator, discriminator, shape, objective=objective, **options)
    )


def check_gradients(function, oracle, problem):
    G, D, theta, w, (batch,), config = problem
    dtheta, dw, loss_d, loss_g = oracle.objective(G, D, theta, w, batch, config.algorithm, config.algorithm.eps)
    for algorithm in ("direct", "winograd"):
        G, D = build(config.replace(convolution=algorithm).networks, SampleSpace(D.input_shape))
        ours = function(G, D, theta, w, batch, config.algorithm, config.algorithm.eps)
        assert (ours.dw is None, ours.loss_d is None) == (dw is None, loss_d is None)
        assert_agree(ours.loss_g, np.asarray(loss_g))
        if loss_d is not None:
            assert_agree(ours.loss_d, np.asarray(loss_d))
        for network, mine, theirs in ((G, ours.dtheta, dtheta), (D, ours.dw, dw)):
            if theirs is None:
                continue
            views = network.named_views(theirs)
            for name, view in network.named_views(mine).items():
                assert views[name].any(), f"{name}: a zero gradient would prove nothing"
                assert_agree(view, views[name])
