"""Layers made of layers, and those that only rearrange.

    Sequential   y = f_k(... f_2(f_1(x)))        the chain rule, from the last layer to the first
    Residual     y = g(x) + scale f(x)           dx = (dg/dx)^T dy + scale (df/dx)^T dy
    Identity     y = x                           dx = dy
    Scale        y = factor x                    dx = factor dy
    Reshape      y = x in another shape          dx = dy in x's shape

Parameters, statistics and residuals of a composite are lists, one entry for each child.
"""

from dataclasses import dataclass
from math import prod

from minicoulomb.arguments import check_layers
from minicoulomb.arrays.backend import floats, on_gpu
from minicoulomb.errors import UserError
from minicoulomb.layers import composite_cuda
from minicoulomb.layers.layer import Layer


class Sequential(Layer):
    """Sequential(f_1, ..., f_k): the layers one after the other, y = f_k(... f_1(x)).

    Examples
    --------
    >>> import numpy as np
    >>> Sequential(Scale(2.0), Reshape((2,))).forward([{}, {}], np.ones((1, 1, 2)))[0]
    array([[2., 2.]])
    """

    def __init__(self, *layers: Layer):
        self.children = check_layers(layers, Layer)

    def __repr__(self):
        return f"Sequential({', '.join(map(repr, self.children))})"

    def map(self, function):
        return Sequential(*(child.map(function) for child in self.children))

    def output_shape(self, shape):
        for layer in self.children:
            shape = layer.output_shape(shape)
        return shape

    def forward(self, params, x, statistics=None):
        if on_gpu(x):
            return composite_cuda.forward(self.children, params, x, statistics)
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
        """As `gradients`, without the first layer's input gradient."""
        dy, dparams = self._gradients_from(1, residuals, dy, None)
        return [self.children[0].param_gradient(residuals[0], dy), *dparams]

    def gradients(self, residuals, dy, weights=None):
        return self._gradients_from(0, residuals, dy, weights)

    def _gradients_from(self, start, residuals, dy, weights):
        dparams = []
        for layer, residual in zip(reversed(self.children[start:]), reversed(residuals[start:]), strict=True):
            dy, dparam = layer.gradients(residual, dy, weights)
            dparams.append(dparam)
        return dy, dparams[::-1]


@dataclass(frozen=True)
class Identity(Layer):
    """y = x, the shortcut of a residual layer that keeps the shape."""

    def forward(self, params, x, statistics=None):
        floats(x)
        return x, None

    def input_gradient(self, residuals, dy):
        floats(dy)
        return dy


class Residual(Layer):
    """Residual(f_1, ..., f_k, scale=s, shortcut=g): y = g(x) + s f_k(... f_1(x)).

    Parameters
    ----------
    f_1, ..., f_k : Layer
        The branch.
    scale : float
        s, the factor of the branch.
    shortcut : Layer
        g; where the branch changes the shape, it must change it in the same way.

    Examples
    --------
    >>> import numpy as np
    >>> Residual(Scale(3.0)).forward([[{}], {}], np.ones((1, 2)))[0]
    array([[4., 4.]])
    """

    def __init__(self, *layers: Layer, scale: float = 1.0, shortcut: Layer = Identity()):
        self.children = (Sequential(*layers), *check_layers([shortcut], Layer))
        self.scale = float(scale)

    def __repr__(self):
        branch, shortcut = self.children
        return f"Residual({branch!r}, scale={self.scale}, shortcut={shortcut!r})"

    def map(self, function):
        branch, shortcut = (child.map(function) for child in self.children)
        return Residual(*branch.children, scale=self.scale, shortcut=shortcut)

    def output_shape(self, shape):
        branch, shortcut = (child.output_shape(shape) for child in self.children)
        if branch != shortcut:
            raise UserError(
                f"Residual: the branch turns {shape} into {branch}, the shortcut into {shortcut}; the two must be "
                "equal to be added: change the branch, or pass shortcut="
            )
        return branch

    def forward(self, params, x, statistics=None):
        branch, shortcut = self.children
        for_branch, for_shortcut = (None, None) if statistics is None else statistics
        f, residuals_f = branch.forward(params[0], x, for_branch)
        g, residuals_g = shortcut.forward(params[1], x, for_shortcut)
        return g + self.scale * f, [residuals_f, residuals_g]

    def input_gradient(self, residuals, dy):
        branch, shortcut = self.children
        return shortcut.input_gradient(residuals[1], dy) + branch.input_gradient(residuals[0], self.scale * dy)

    def param_gradient(self, residuals, dy):
        branch, shortcut = self.children
        scaled = floats(dy).multiply(self.scale, dy)
        return [branch.param_gradient(residuals[0], scaled), shortcut.param_gradient(residuals[1], dy)]

    def gradients(self, residuals, dy, weights=None):
        branch, shortcut = self.children
        dx_f, dparams_f = branch.gradients(residuals[0], floats(dy).multiply(self.scale, dy), weights)
        dx_g, dparams_g = shortcut.gradients(residuals[1], dy, weights)
        return dx_g + dx_f, [dparams_f, dparams_g]


@dataclass(frozen=True)
class Scale(Layer):
    """y = factor x, a fixed change of units, so that a network computes on numbers of order 1.

    Parameters
    ----------
    factor : float
    """

    factor: float

    def forward(self, params, x, statistics=None):
        return floats(x).multiply(float(self.factor), x), None

    def input_gradient(self, residuals, dy):
        return floats(dy).multiply(float(self.factor), dy)


@dataclass(frozen=True)
class Reshape(Layer):
    """Reshape(shape): (n, ...) -> (n, *shape) with the same numbers.

    Parameters
    ----------
    shape : tuple of int
        Of one sample. Reshape((12,)) flattens images (2, 2, 3); Reshape(()) makes (n, 1) to (n,), at the end of D.
    """

    shape: tuple[int, ...]

    def output_shape(self, shape):
        if prod(shape) != prod(self.shape):
            raise UserError(f"Reshape: {shape} has {prod(shape)} numbers, {self.shape} takes {prod(self.shape)}")
        return self.shape

    def forward(self, params, x, statistics=None):
        floats(x)
        return x.reshape(len(x), *self.shape), x.shape

    def input_gradient(self, residuals, dy):
        floats(dy)
        return dy.reshape(residuals)
