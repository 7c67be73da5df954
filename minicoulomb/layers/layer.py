"""What every layer is: pure functions, with the residuals of a forward pass handed on by the caller.

    y, residuals = layer.forward(params, x)
    dx           = layer.input_gradient(residuals, dy)       (dy/dx)^T dy
    dparams      = layer.param_gradient(residuals, dy)       (dy/dparams)^T dy, named as params
    dx, dparams  = layer.gradients(residuals, dy)            both, where that shares work

A layer holds sizes and no arrays, so any number of passes may be in flight. Axis 0 is the batch; the others are
(features,), (length, channels) or (height, width, channels). Residuals may refer to x, y and params: use them
before a parameter changes in place.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np


@dataclass(frozen=True)
class Parameter:
    """One parameter of a layer: its shape, how it starts, and whether it is a kernel (the L2 penalty's part).

    initial   (rng, shape) -> array, drawn on the host in float64
    """

    shape: tuple[int, ...]
    initial: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    is_kernel: bool = False


class Layer:
    """A layer without parameters; subclasses fill in what they have."""

    children: tuple["Layer", ...] = ()

    @property
    def name(self) -> str:
        """What a table of layers calls it."""
        return type(self).__name__

    def map(self, function: Callable[["Layer"], "Layer"]) -> "Layer":
        """The layer with function(layer) in the place of each layer without children."""
        return function(self)

    def parameters(self) -> dict[str, Parameter]:
        """The layer's own parameters, by name."""
        return {}

    def statistics(self) -> dict[str, Parameter]:
        """Running statistics by name: numbers that training measures and sampling uses; batch normalisation's."""
        return {}

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one output for an input of `shape`, both without the batch; UserError where it does not fit."""
        return shape

    def prepare(self, params, workspace, keep):
        """The parameters for several passes (see Network.prepare); those of a convolution then share its transforms."""
        return params

    def forward(self, params, x, statistics=None):
        """(y, residuals). With `statistics`, batch normalisation uses these instead of the batch's own."""
        raise NotImplementedError

    def input_gradient(self, residuals, dy):
        """(dy/dx)^T dy, shaped as x."""
        raise NotImplementedError

    def param_gradient(self, residuals, dy):
        """(dy/dparams)^T dy, named as `parameters`."""
        return {}

    def gradients(self, residuals, dy):
        """(input_gradient, param_gradient)."""
        return self.input_gradient(residuals, dy), self.param_gradient(residuals, dy)

    def weighted_gradients(self, residuals, dy, weights):
        """(input_gradient for dy, param_gradient for weights dy), weights (n,): one pass for two losses.

        Only for layers where no sample's output depends on another sample, which leaves out batch normalisation.
        """
        if not self.parameters():
            return self.input_gradient(residuals, dy), {}
        return self.input_gradient(residuals, dy), self.param_gradient(residuals, _weighted(dy, weights))

    def batch_statistics(self, residuals):
        """What this pass measured, named as `statistics`."""
        return {}


def _weighted(dy, weights):
    return dy * weights.reshape(-1, *(1,) * (dy.ndim - 1))


def zeros(rng, shape):
    return np.zeros(shape)


def ones(rng, shape):
    return np.ones(shape)


@dataclass(frozen=True)
class He:
    """N(0, gain^2 / fan_in): keeps the signal's size through a layer followed by `activation` (He et al., 2015).

    gain^2 = 1 / E[f(z)^2] for z ~ N(0, 1), so that each layer's input has the variance of the one before:
    2 for relu, 2 / (1 + slope^2) for leaky_relu, 1 for linear.
    """

    activation: str = "linear"

    def __call__(self, rng, shape, fan_in, fan_out):
        return rng.standard_normal(shape) * (GAINS[self.activation] / sqrt(fan_in))


@dataclass(frozen=True)
class Glorot:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)): a compromise for both directions (Glorot and Bengio, 2010)."""

    def __call__(self, rng, shape, fan_in, fan_out):
        limit = sqrt(6 / (fan_in + fan_out))
        return rng.uniform(-limit, limit, shape)


# 1 / sqrt(E[f(z)^2]), z ~ N(0, 1); elu's and tanh's by numerical integration.
GAINS = {"linear": 1.0, "relu": sqrt(2), "leaky_relu": sqrt(2 / 1.04), "elu": 1.2451983, "tanh": 1.5925374}


def kernel(shape, init, fan_in, fan_out) -> Parameter:
    """A kernel drawn by `init`, He or Glorot, which see how many inputs and outputs each number joins."""
    return Parameter(shape, lambda rng, shape: init(rng, shape, fan_in, fan_out), is_kernel=True)
