"""Layers made of layers, and those that only rearrange.

    Sequential   y = f_k(... f_2(f_1(x)))        the chain rule, from the last layer to the first
    Residual     y = x + scale f(x)              dx = dy + scale (df/dx)^T dy
    Scale        y = factor x                    dx = factor dy
    Reshape      y = x in another shape          dx = dy in x's shape

Parameters, statistics and residuals of a composite are lists, one entry for each child.
"""

from dataclasses import dataclass
from math import prod

from minicoulomb.errors import UserError
from minicoulomb.layers.layer import Layer


class Sequential(Layer):
    """Sequential(f_1, ..., f_k): the layers one after the other."""

    def __init__(self, *layers: Layer):
        self.children = layers

    def __repr__(self):
        return f"Sequential({', '.join(map(repr, self.children))})"

    def output_shape(self, shape):
        for layer in self.children:
            shape = layer.output_shape(shape)
        return shape

    def forward(self, params, x, statistics=None):
        residuals = []
        for i, layer in enumerate(self.children):
            x, residual = layer.forward(params[i], x, None if statistics is None else statistics[i])
            residuals.append(residual)
        return x, residuals

    def input_gradient(self, residuals, dy):
        for layer, residual in zip(reversed(self.children), reversed(residuals), strict=True):
            dy = layer.input_gradient(residual, dy)
        return dy

    def param_gradient(self, residuals, dy):
        """As `gradients`, but the first layer's input gradient, which nobody asks for, is not computed."""
        dy, dparams = self._gradients_after_first(residuals, dy)
        return [self.children[0].param_gradient(residuals[0], dy), *dparams]

    def gradients(self, residuals, dy):
        dy, dparams = self._gradients_after_first(residuals, dy)
        dx, first = self.children[0].gradients(residuals[0], dy)
        return dx, [first, *dparams]

    def weighted_gradients(self, residuals, dy, weights):
        dparams = []
        for layer, residual in zip(reversed(self.children), reversed(residuals), strict=True):
            dy, dparam = layer.weighted_gradients(residual, dy, weights)
            dparams.append(dparam)
        return dy, dparams[::-1]

    def _gradients_after_first(self, residuals, dy):
        dparams = []
        for layer, residual in zip(self.children[:0:-1], residuals[:0:-1], strict=True):
            dy, dparam = layer.gradients(residual, dy)
            dparams.append(dparam)
        return dy, dparams[::-1]


class Residual(Layer):
    """Residual(f_1, ..., f_k, scale=s): y = x + s f_k(... f_1(x)), of x's shape."""

    def __init__(self, *layers: Layer, scale: float = 1.0):
        self.children = (Sequential(*layers),)
        self.scale = scale

    def __repr__(self):
        return f"Residual({self.children[0]!r}, scale={self.scale})"

    def output_shape(self, shape):
        inner = self.children[0].output_shape(shape)
        if inner != shape:
            raise UserError(f"Residual: the branch turns {shape} into {inner}; it must keep the shape")
        return shape

    def forward(self, params, x, statistics=None):
        y, residuals = self.children[0].forward(params[0], x, None if statistics is None else statistics[0])
        return x + self.scale * y, [residuals]

    def input_gradient(self, residuals, dy):
        return dy + self.children[0].input_gradient(residuals[0], self.scale * dy)

    def param_gradient(self, residuals, dy):
        return [self.children[0].param_gradient(residuals[0], self.scale * dy)]

    def gradients(self, residuals, dy):
        dx, dparams = self.children[0].gradients(residuals[0], self.scale * dy)
        return dy + dx, [dparams]

    def weighted_gradients(self, residuals, dy, weights):
        dx, dparams = self.children[0].weighted_gradients(residuals[0], self.scale * dy, weights)
        return dy + dx, [dparams]


@dataclass(frozen=True)
class Scale(Layer):
    """y = factor x, a fixed change of units: data of any size comes to networks as numbers of order 1."""

    factor: float

    def forward(self, params, x, statistics=None):
        return self.factor * x, None

    def input_gradient(self, residuals, dy):
        return self.factor * dy


@dataclass(frozen=True)
class Reshape(Layer):
    """Reshape(shape): (n, ...) -> (n, *shape) with the same numbers; Reshape((12,)) flattens (2, 2, 3)."""

    shape: tuple[int, ...]

    def output_shape(self, shape):
        if prod(shape) != prod(self.shape):
            raise UserError(f"Reshape: {shape} has {prod(shape)} numbers, {self.shape} takes {prod(self.shape)}")
        return self.shape

    def forward(self, params, x, statistics=None):
        return x.reshape(len(x), *self.shape), x.shape

    def input_gradient(self, residuals, dy):
        return dy.reshape(residuals)
