"""Activations: an operation and its gradient side by side, the gradient written in the output y.

    relu         max(x, 0)                          dx = dy [y > 0]
    leaky_relu   max(x, slope x)                    dx = dy (1 if y > 0 else slope)
    elu          x if x > 0 else exp(x) - 1         dx = dy (1 + min(y, 0))
    tanh         A tanh(B x)                        dx = dy (A B - B/A y^2)
    softmax      exp(x_c) / sum_c exp(x_c)          dx = y (dy - sum_c y dy)       over the last axis

All take and return arrays of any shape; y, dy and dx have the shape of x.
"""

from collections.abc import Callable
from dataclasses import dataclass

from minicoulomb.backend import array_module
from minicoulomb.layers.layer import Layer
from minicoulomb.threads import blocks, for_each

# Numbers per block, 512 KB in float32: the passes over it stay in the processor's cache.
BLOCK = 2**17


def relu(x):
    return _in_blocks(lambda xp, x, y: xp.maximum(x, 0, out=y), x)


def relu_gradient(y, dy):
    def gradient(xp, y, dy, dx):
        xp.greater(y, 0, out=dx)
        dx *= dy

    return _in_blocks(gradient, y, dy)


def leaky_relu(x, slope=0.2):
    def function(xp, x, y):
        xp.multiply(x, slope, out=y)
        xp.maximum(x, y, out=y)

    return _in_blocks(function, x)


def leaky_relu_gradient(y, dy, slope=0.2):
    def gradient(xp, y, dy, dx):
        xp.greater(y, 0, out=dx)
        dx *= 1 - slope
        dx += slope
        dx *= dy

    return _in_blocks(gradient, y, dy)


def elu(x):
    xp = array_module(x)
    return xp.maximum(x, 0) + xp.expm1(xp.minimum(x, 0))


def elu_gradient(y, dy):
    return dy * (array_module(y).minimum(y, 0) + 1)


def tanh(x, amplitude=1.0, slope=1.0):
    return amplitude * array_module(x).tanh(slope * x)


def tanh_gradient(y, dy, amplitude=1.0, slope=1.0):
    return dy * (amplitude * slope - (slope / amplitude) * (y * y))


def softmax(x):
    exp = array_module(x).exp(x - x.max(axis=-1, keepdims=True))  # the shift cancels, and keeps exp finite
    return exp / exp.sum(axis=-1, keepdims=True)


def softmax_gradient(y, dy):
    return y * (dy - (y * dy).sum(axis=-1, keepdims=True))


def _in_blocks(function, *arrays):
    """A new array like the last of `arrays`, block for block filled by function(xp, *arrays, out)."""
    like = arrays[-1]
    xp, result = array_module(like), array_module(like).empty(like.shape, like.dtype)
    if like.size <= BLOCK:
        function(xp, *arrays, result)
        return result
    flat = [array.reshape(-1) for array in (*arrays, result)]
    for_each(lambda block: function(xp, *(array[block] for array in flat)), blocks(like.size, BLOCK, like))
    return result


@dataclass(frozen=True)
class Activation(Layer):
    """A function and its gradient as a layer; residuals y."""

    function: Callable
    gradient: Callable
    arguments: tuple[float, ...] = ()

    @property
    def name(self):
        return self.function.__name__

    def forward(self, params, x, statistics=None):
        y = self.function(x, *self.arguments)
        return y, y

    def input_gradient(self, residuals, dy):
        return self.gradient(residuals, dy, *self.arguments)


def ReLU():
    return Activation(relu, relu_gradient)


def LeakyReLU(slope=0.2):
    """max(x, slope x), 0 <= slope <= 1."""
    return Activation(leaky_relu, leaky_relu_gradient, (slope,))


def ELU():
    return Activation(elu, elu_gradient)


def Tanh(amplitude=1.0, slope=1.0):
    """amplitude tanh(slope x)."""
    return Activation(tanh, tanh_gradient, (amplitude, slope))


def ScaledTanh():
    """1.7159 tanh(2 x / 3), the output of the official code's generators (LeCun's constants: f(1) = 1)."""
    return Tanh(1.7159, 2 / 3)


def Softmax():
    return Activation(softmax, softmax_gradient)
