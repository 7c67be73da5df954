"""Activations: an operation and its gradient side by side, the gradient written in the output y.

    relu         max(x, 0)                          dx = dy [y > 0]
    leaky_relu   max(x, slope x)                    dx = dy (1 if y > 0 else slope)
    elu          x if x > 0 else exp(x) - 1         dx = dy (1 + min(y, 0))
    tanh         A tanh(B x)                        dx = dy (A B - B/A y^2)
    softmax      exp(x_c) / sum_c exp(x_c)          dx = y (dy - sum_c y dy)       over the last axis

All take and return arrays of float32 or float64 of any shape but (); y, dy and dx have the shape of x.

>>> import numpy as np
>>> y = leaky_relu(np.array([-2.0, 3.0]))
>>> y, leaky_relu_gradient(y, np.array([10.0, 10.0]))
(array([-0.4,  3. ]), array([ 2., 10.]))
"""

from collections.abc import Callable
from dataclasses import dataclass

import minicoulomb.layers.activations_cuda as cuda
from minicoulomb.arrays.backend import Array, floats
from minicoulomb.arrays.blocks import map_blocks
from minicoulomb.errors import UserError
from minicoulomb.layers.layer import Layer


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return floats(x).clip(x, 0, float("inf"))  # NumPy's maximum with a number takes three times as long


def relu_gradient(y: Array, dy: Array) -> Array:
    """dx = dy [y > 0]."""
    floats(dy, y)
    return dy * (y > 0)


def leaky_relu(x: Array, slope: float = 0.2) -> Array:
    """max(x, slope x), 0 <= slope <= 1."""
    return floats(x).maximum(x, slope * x)


def leaky_relu_gradient(y: Array, dy: Array, slope: float = 0.2) -> Array:
    """dx = dy where y > 0, else slope dy."""
    return dy * floats(dy, y).clip((y > 0).astype(dy.dtype), slope, 1)


def elu(x: Array) -> Array:
    """x where x > 0, else exp(x) - 1."""
    xp = floats(x)
    return xp.maximum(x, 0) + xp.expm1(xp.minimum(x, 0))


def elu_gradient(y: Array, dy: Array) -> Array:
    """dx = dy (1 + min(y, 0))."""
    return dy * (floats(y, dy).minimum(y, 0) + 1)


def tanh(x: Array, amplitude: float = 1.0, slope: float = 1.0) -> Array:
    """amplitude tanh(slope x)."""
    return amplitude * floats(x).tanh(slope * x)


def tanh_gradient(y: Array, dy: Array, amplitude: float = 1.0, slope: float = 1.0) -> Array:
    """dx = dy (A B - B/A y^2), A the amplitude and B the slope."""
    return floats(dy, y).multiply(dy, amplitude * slope - (slope / amplitude) * (y * y))


def softmax(x: Array) -> Array:
    """exp(x_c) / sum_c exp(x_c) over the last axis."""
    exp = floats(x).exp(x - x.max(axis=-1, keepdims=True))  # the shift cancels, and keeps exp finite
    return exp / exp.sum(axis=-1, keepdims=True)


def softmax_gradient(y: Array, dy: Array) -> Array:
    """dx = y (dy - sum_c y dy) over the last axis."""
    return floats(y, dy).multiply(y, dy - (y * dy).sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class Activation(Layer):
    """An activation as a layer, y = f(x); residuals y.

    Parameters
    ----------
    function : (x, *arguments) -> y
    gradient : (y, dy, *arguments) -> dx
    arguments : tuple of float
    code : tuple of str, optional
        C++ of f(x) and of dx(y, dy) for a GPU's fused kernels, with {0}, {1}, ... for the arguments. None where y is
        not a function of a single x.

    Examples
    --------
    >>> import numpy as np
    >>> LeakyReLU(0.1).forward({}, np.array([-1.0, 2.0]))[0]
    array([-0.1,  2. ])
    """

    function: Callable
    gradient: Callable
    arguments: tuple[float, ...] = ()
    code: tuple[str, str] | None = None

    @property
    def name(self):
        return self.function.__name__

    def f(self, x):
        """y = f(x)."""
        return self.function(x, *self.arguments)

    def df(self, y, dy):
        """dx = f'(x) dy, by y = f(x)."""
        return self.gradient(y, dy, *self.arguments)

    def forward(self, params, x, statistics=None):
        y = cuda.forward(self, x) if cuda.applies(x, self) else map_blocks(self.f, x)
        return y, y

    def input_gradient(self, residuals, dy):
        y = residuals
        return cuda.input_gradient(self, y, dy) if cuda.applies(y, self) else map_blocks(self.df, y, dy)


def ReLU() -> Activation:
    """Layer max(x, 0).

    Examples
    --------
    >>> import numpy as np
    >>> y, residuals = ReLU().forward({}, np.array([-1.0, 2.0]))
    >>> y, ReLU().input_gradient(residuals, np.array([10.0, 10.0]))
    (array([0., 2.]), array([ 0., 10.]))
    """
    return Activation(relu, relu_gradient, (), ("x < 0 ? T(0) : x", "dy * T(y > 0)"))


def LeakyReLU(slope: float = 0.2) -> Activation:
    """Layer max(x, slope x).

    Parameters
    ----------
    slope : float
        From 0 to 1; the slope where x < 0.

    Raises
    ------
    UserError
        For another slope: the gradient is written in the sign of y.

    Examples
    --------
    >>> import numpy as np
    >>> LeakyReLU(0.1).forward({}, np.array([-1.0, 2.0]))[0]
    array([-0.1,  2. ])
    """
    if not 0 <= (slope := float(slope)) <= 1:
        raise UserError(f"slope {slope}: must be from 0 to 1; use 0.2")
    return Activation(leaky_relu, leaky_relu_gradient, (slope,), ("x < 0 ? {0} * x : x", "y > 0 ? dy : {0} * dy"))


def ELU() -> Activation:
    """Layer x where x > 0, else exp(x) - 1.

    Examples
    --------
    >>> import numpy as np
    >>> ELU().forward({}, np.array([-1.0, 2.0]))[0].round(3)
    array([-0.632,  2.   ])
    """
    return Activation(elu, elu_gradient, (), ("x < 0 ? expm1(x) : x", "y > 0 ? dy : dy * (y + 1)"))


def Tanh(amplitude: float = 1.0, slope: float = 1.0) -> Activation:
    """Layer amplitude tanh(slope x).

    Parameters
    ----------
    amplitude : float
        Bound of the output.
    slope : float
        Factor of the input.

    Examples
    --------
    >>> import numpy as np
    >>> Tanh(amplitude=2.0).forward({}, np.array([0.5, 100.0]))[0].round(3)
    array([0.924, 2.   ])
    """
    code = "{0} * tanh({1} * x)", "dy * ({0} * {1} - {1} / {0} * (y * y))"
    return Activation(tanh, tanh_gradient, (float(amplitude), float(slope)), code)


def ScaledTanh() -> Activation:
    """Layer 1.7159 tanh(2 x / 3), the output of the official code's generators.

    The constants are LeCun's: f(1) = 1.

    Examples
    --------
    >>> import numpy as np
    >>> ScaledTanh().forward({}, np.array([1.0]))[0].round(3)
    array([1.])
    """
    return Tanh(1.7159, 2 / 3)


def Softmax() -> Activation:
    """Layer exp(x_c) / sum_c exp(x_c) over the last axis.

    Examples
    --------
    >>> import numpy as np
    >>> Softmax().forward({}, np.log([[1.0, 3.0]]))[0].round(3)
    array([[0.25, 0.75]])
    """
    return Activation(softmax, softmax_gradient)
