"""The linear layer.

y[n,o] = sum_c x[n,c] kernel[c,o] + bias[o]                                   (n, c_out)
dx = dy kernel^T,   dkernel = x^T dy,   dbias = sum_n dy
"""

from dataclasses import dataclass

from minicoulomb.errors import UserError
from minicoulomb.layers.layer import He, Layer, Parameter, kernel, zeros


def linear(x, kernel, bias):
    """y = x kernel + bias; x (n, c_in), kernel (c_in, c_out), bias (c_out,) -> (n, c_out)."""
    y = x @ kernel
    y += bias
    return y


def linear_input_gradient(dy, kernel):
    """dx = dy kernel^T; dy (n, c_out) -> (n, c_in)."""
    # BLAS takes five times as long as broadcasting for the product of a column and a row.
    return dy * kernel.T if kernel.shape[1] == 1 else dy @ kernel.T


def linear_param_gradient(x, dy):
    """(dkernel, dbias) = (x^T dy, sum_n dy), shapes (c_in, c_out) and (c_out,)."""
    return x.T @ dy, dy.sum(axis=0)


@dataclass(frozen=True)
class Linear(Layer):
    """Linear(c_in, c_out): (n, c_in) -> (n, c_out); residuals (x, kernel)."""

    c_in: int
    c_out: int
    init: object = He("linear")

    def parameters(self):
        weights = kernel((self.c_in, self.c_out), self.init, self.c_in, self.c_out)
        return {"kernel": weights, "bias": Parameter((self.c_out,), zeros)}

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
