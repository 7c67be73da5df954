"""The linear layer.

y[n,o] = sum_c x[n,c] kernel[c,o] + bias[o]                                   (n, c_out)
dx = dy kernel^T,   dkernel = x^T dy,   dbias = sum_n dy
"""

from dataclasses import dataclass

from minicoulomb.arrays.backend import Array, floats
from minicoulomb.arrays.matmul import matmul
from minicoulomb.errors import UserError
from minicoulomb.layers.layer import LINEAR, He, Layer, Parameter, zeros


def linear(x: Array, kernel: Array, bias: Array) -> Array:
    """y = x kernel + bias.

    Parameters
    ----------
    x : array (n, c_in)
    kernel : array (c_in, c_out)
    bias : array (c_out,)

    Returns
    -------
    y : array (n, c_out)

    Examples
    --------
    >>> import numpy as np
    >>> linear(np.array([[1.0, 2.0]]), np.eye(2), np.array([0.5, 0.5]))
    array([[1.5, 2.5]])
    """
    floats(x, kernel, bias)
    return matmul(x, kernel) + bias


def linear_input_gradient(dy: Array, kernel: Array) -> Array:
    """dx = dy kernel^T, (n, c_in), for dy (n, c_out).

    >>> import numpy as np
    >>> linear_input_gradient(np.array([[2.0]]), np.array([[1.0], [3.0]]))
    array([[2., 6.]])
    """
    floats(dy, kernel)
    # BLAS takes five times as long as broadcasting for the product of a column and a row.
    return dy * kernel.T if kernel.shape[1] == 1 else matmul(dy, kernel.T)


def linear_param_gradient(x: Array, dy: Array) -> tuple[Array, Array]:
    """(dkernel, dbias) = (x^T dy, sum_n dy), (c_in, c_out) and (c_out,), for x (n, c_in) and dy (n, c_out).

    >>> import numpy as np
    >>> linear_param_gradient(np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]]))
    (array([[11.]]), array([7.]))
    """
    floats(x, dy)
    return matmul(x.T, dy), dy.sum(axis=0)


@dataclass(frozen=True)
class Linear(Layer):
    """Linear(c_in, c_out): y = x kernel + bias, (n, c_in) -> (n, c_out); residuals (x, kernel).

    Parameters
    ----------
    c_in, c_out : int
    init : He
        Draws the kernel; the bias starts at 0.

    Examples
    --------
    >>> {name: parameter.shape for name, parameter in Linear(3, 2).parameters().items()}
    {'kernel': (3, 2), 'bias': (2,)}
    """

    c_in: int
    c_out: int
    init: He = LINEAR

    def parameters(self):
        kernel = self.init.kernel((self.c_in, self.c_out), fan_in=self.c_in)
        return {"kernel": kernel, "bias": Parameter((self.c_out,), zeros)}

    def output_shape(self, shape):
        if shape != (self.c_in,):
            raise UserError(f"Linear({self.c_in}, {self.c_out}): takes ({self.c_in},), got {shape}; Reshape before it")
        return (self.c_out,)

    def forward(self, params, x, statistics=None):
        return linear(x, params["kernel"], params["bias"]), (x, params["kernel"])

    def input_gradient(self, residuals, dy):
        _, kernel = residuals
        return linear_input_gradient(dy, kernel)

    def param_gradient(self, residuals, dy):
        x, _ = residuals
        dkernel, dbias = linear_param_gradient(x, dy)
        return {"kernel": dkernel, "bias": dbias}
