"""Activations: an operation and its gradient side by side, the gradient written in the output y.

    relu         max(x, 0)                          dx = dy [y > 0]
    leaky_relu   max(x, slope x)                    dx = dy (1 if y > 0 else slope)
    elu          x if x > 0 else exp(x) - 1         dx = dy (1 + min(y, 0))
    tanh         A tanh(B x)                        dx = dy (A B - B/A y^2)
    softmax      exp(x_c) / sum_c exp(x_c)          dx = y (dy - sum_c y dy)       over the last axis

All take and return arrays of any shape; y, dy and dx have the shape of x. The result goes into `out` where one is
given, which may be x or dy itself. As a layer an activation has the same in C++ for the fused kernels of a GPU.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from minicoulomb.arrays.backend import array_module, on_gpu
from minicoulomb.arrays.cuda import ElementwiseKernel
from minicoulomb.arrays.threads import blocks, for_each
from minicoulomb.layers.layer import Layer

# Numbers per block, 1 MB in float32: the passes over it stay in the processor's cache.
BLOCK = 2**18


def relu(x, out=None):
    return array_module(x).maximum(x, 0, out=out)


def relu_gradient(y, dy, out=None):
    return array_module(y).multiply(dy, y > 0, out=out)


def leaky_relu(x, slope=0.2, out=None):
    return array_module(x).maximum(x, slope * x, out=out)


def leaky_relu_gradient(y, dy, slope=0.2, out=None):
    factor = (y > 0).astype(dy.dtype)
    factor *= 1 - slope
    factor += slope
    return array_module(y).multiply(dy, factor, out=out)


def elu(x, out=None):
    xp = array_module(x)
    return xp.add(xp.maximum(x, 0), xp.expm1(xp.minimum(x, 0)), out=out)


def elu_gradient(y, dy, out=None):
    xp = array_module(y)
    return xp.multiply(dy, xp.minimum(y, 0) + 1, out=out)


def tanh(x, amplitude=1.0, slope=1.0, out=None):
    xp = array_module(x)
    return xp.multiply(amplitude, xp.tanh(slope * x), out=out)


def tanh_gradient(y, dy, amplitude=1.0, slope=1.0, out=None):
    return array_module(y).multiply(dy, amplitude * slope - (slope / amplitude) * (y * y), out=out)


def softmax(x, out=None):
    xp = array_module(x)
    exp = xp.exp(x - x.max(axis=-1, keepdims=True))  # the shift cancels, and keeps exp finite
    return xp.divide(exp, exp.sum(axis=-1, keepdims=True), out=out)


def softmax_gradient(y, dy, out=None):
    return array_module(y).multiply(y, dy - (y * dy).sum(axis=-1, keepdims=True), out=out)


@dataclass(frozen=True)
class Activation(Layer):
    """A function and its gradient as a layer; residuals y.

    code   C++ of f(x) and of dx(y, dy), with {0}, {1}, ... for the arguments; None where it is no function of one x
    """

    function: Callable
    gradient: Callable
    arguments: tuple[float, ...] = ()
    code: tuple[str, str] | None = None

    @property
    def name(self):
        return self.function.__name__

    @property
    def preamble(self) -> str:
        """The functions activation(x) and activation_gradient(y, dy) for a fused kernel."""
        f, gradient = (code.format(*(f"T({argument!r})" for argument in self.arguments)) for code in self.code)
        return (
            f"template <typename T> __device__ T activation(T x) {{ return {f}; }}\n"
            f"template <typename T> __device__ T activation_gradient(T y, T dy) {{ return {gradient}; }}\n"
        )

    def forward(self, params, x, statistics=None):
        if on_gpu(x) and self.code:
            y = _fused(self)[0](x)
            return y, y
        y = _in_blocks(lambda x, out=None: self.function(x, *self.arguments, out=out), x)
        return y, y

    def input_gradient(self, residuals, dy):
        if on_gpu(dy) and self.code:
            return _fused(self)[1](residuals, dy)
        return _in_blocks(lambda y, dy, out=None: self.gradient(y, dy, *self.arguments, out=out), residuals, dy)


@lru_cache
def _fused(activation):
    """Both as kernels."""
    f = ElementwiseKernel("T x", "T y", "y = activation(x)", activation.name, activation.preamble)
    name = activation.gradient.__name__
    return f, ElementwiseKernel("T y, T dy", "T dx", "dx = activation_gradient(y, dy)", name, activation.preamble)


def _in_blocks(function, *arrays):
    """function(*arrays), block for block of the rows along the last axis."""
    like = arrays[-1]
    if like.size <= BLOCK:
        return function(*arrays)
    rows = [array.reshape(-1, like.shape[-1]) for array in arrays]
    result = array_module(like).empty_like(rows[-1])
    parts = blocks(len(result), BLOCK // like.shape[-1], result)
    for_each(lambda part: function(*(array[part] for array in rows), out=result[part]), parts)
    return result.reshape(like.shape)


def ReLU():
    return Activation(relu, relu_gradient, (), ("x < 0 ? T(0) : x", "dy * T(y > 0)"))


def LeakyReLU(slope=0.2):
    """max(x, slope x), 0 <= slope <= 1."""
    return Activation(leaky_relu, leaky_relu_gradient, (slope,), ("x < 0 ? {0} * x : x", "y > 0 ? dy : {0} * dy"))


def ELU():
    return Activation(elu, elu_gradient, (), ("x < 0 ? expm1(x) : x", "y > 0 ? dy : dy * (y + 1)"))


def Tanh(amplitude=1.0, slope=1.0):
    """amplitude tanh(slope x)."""
    code = "{0} * tanh({1} * x)", "dy * ({0} * {1} - {1} / {0} * (y * y))"
    return Activation(tanh, tanh_gradient, (amplitude, slope), code)


def ScaledTanh():
    """1.7159 tanh(2 x / 3), the output of the official code's generators (LeCun's constants: f(1) = 1)."""
    return Tanh(1.7159, 2 / 3)


def Softmax():
    return Activation(softmax, softmax_gradient)
