"""The protocol of layers: pure functions, which return what their gradients need.

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
from typing import Any

import numpy as np

from minicoulomb.arrays.backend import Array
from minicoulomb.errors import UserError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a layer: its shape, its initial values, and whether it is a kernel (which L2 may penalize).

    initial   (rng, shape) -> array, drawn on the host in float64
    """

    shape: Shape
    initial: Callable[[np.random.Generator, Shape], np.ndarray]
    is_kernel: bool = False


class Layer:
    """A layer without parameters. A subclass defines `forward`, `input_gradient`, and what else differs.

    Examples
    --------
    >>> class Square(Layer):
    ...     def forward(self, params, x, statistics=None):
    ...         return x * x, x
    ...
    ...     def input_gradient(self, residuals, dy):
    ...         return 2 * residuals * dy
    >>> y, residuals = Square().forward({}, np.array([3.0]))
    >>> Square().gradients(residuals, np.array([1.0]))
    (array([6.]), {})
    """

    children: tuple["Layer", ...] = ()

    @property
    def name(self) -> str:
        """The layer's name in a table of layers."""
        return type(self).__name__

    def map(self, function: Callable[["Layer"], "Layer"]) -> "Layer":
        """The layer with function(layer) in the place of each layer without children."""
        return function(self)

    def parameters(self) -> dict[str, Parameter]:
        """The layer's parameters by name, without those of its children."""
        return {}

    def statistics(self) -> dict[str, Parameter]:
        """Running statistics by name, which training measures and sampling uses: batch normalization's."""
        return {}

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of one output for an input of `shape`, both without the batch; UserError where it does not fit."""
        return shape

    def prepare(self, params, workspace, keep: bool):
        """The parameters for several passes (see Network.prepare); those of a convolution then share its transforms."""
        return params

    def forward(self, params, x: Array, statistics=None) -> tuple[Array, Any]:
        """(y, residuals). With `statistics`, batch normalization uses these instead of the batch's."""
        raise NotImplementedError

    def input_gradient(self, residuals, dy: Array) -> Array:
        """(dy/dx)^T dy, shaped as x."""
        raise NotImplementedError

    def param_gradient(self, residuals, dy: Array):
        """(dy/dparams)^T dy, named as `parameters`."""
        return {}

    def gradients(self, residuals, dy: Array, weights: Array | None = None):
        """(input_gradient, param_gradient) for dy; with `weights` (n,), param_gradient for weights dy.

        Weights serve two losses in one pass. No output may then depend on another sample, as it does in batch
        normalization without given statistics.
        """
        dx = self.input_gradient(residuals, dy)
        if weights is not None and self.parameters():
            dy = dy * weights.reshape(-1, *(1,) * (dy.ndim - 1))
        return dx, self.param_gradient(residuals, dy)

    def batch_statistics(self, residuals) -> dict[str, Array]:
        """The statistics that this pass measured, named as `statistics`."""
        return {}


def zeros(rng, shape):
    return np.zeros(shape)


def ones(rng, shape):
    return np.ones(shape)


@dataclass(frozen=True)
class He:
    """N(0, gain^2 / fan_in): keeps a signal's size through `activation` and a layer (He et al., 2015).

    gain^2 = 1 / E[f(z)^2] for z ~ N(0, 1), so that the inputs of all layers have the same variance:
    2 for relu, 2 / (1 + slope^2) for leaky_relu, 1 for linear.

    Parameters
    ----------
    activation : {"linear", "relu", "leaky_relu", "elu", "tanh"}
        f, the activation that follows the layer.

    Examples
    --------
    >>> kernel = He("relu").kernel((50, 40), fan_in=50)
    >>> kernel.initial(np.random.default_rng(0), kernel.shape).std().round(2)  # sqrt(2 / 50) = 0.2
    np.float64(0.2)
    """

    activation: str = "linear"

    def __post_init__(self):
        if self.activation not in GAINS:
            raise UserError(f"activation {self.activation!r}: must be one of {', '.join(GAINS)}")

    def kernel(self, shape: Shape, fan_in: float) -> Parameter:
        """A kernel in which each output is a sum over `fan_in` inputs."""
        deviation = GAINS[self.activation] / sqrt(fan_in)
        return Parameter(shape, lambda rng, shape: rng.standard_normal(shape) * deviation, is_kernel=True)


# 1 / sqrt(E[f(z)^2]), z ~ N(0, 1); elu's and tanh's by numerical integration.
GAINS = {"linear": 1.0, "relu": sqrt(2), "leaky_relu": sqrt(2 / 1.04), "elu": 1.2451983, "tanh": 1.5925374}

LINEAR = He("linear")
