"""Convolution and transposed convolution: each other's mirror image in the trilinear form T of conv.py.

                    Conv, kernel (kh, kw, c_in, c_out)       ConvTranspose, kernel (kh, kw, c_out, c_in)
    forward         y  = correlate(x, kernel) + bias         y  = correlate_input(x, kernel) + bias
    input gradient  dx = correlate_input(dy, kernel)         dx = correlate(dy, kernel)
    kernel gradient dk = correlate_kernel(x, dy)             dk = correlate_kernel(dy, x)

The bias, one number per output channel, has the gradient sum of dy over all other axes. An int as `kernel_size`
means a square kernel on images; one of one number, as (5,), means sequences (n, l, c).
"""

from dataclasses import dataclass
from math import prod

from minicoulomb.arrays.backend import on_gpu
from minicoulomb.arrays.cuda import column_sums
from minicoulomb.arrays.workspace import NoWorkspace
from minicoulomb.conv import im2col
from minicoulomb.conv.correlation import (
    Kernel,
    Padding,
    correlate,
    correlate_input,
    correlate_kernel,
    normalize_geometry,
    transposed_size,
)
from minicoulomb.errors import UserError
from minicoulomb.layers.layer import He, Layer, Parameter, kernel, zeros


def bias_gradient(dy):
    """dbias[o] = sum of dy over every axis but the channels'."""
    rows = dy.reshape(-1, dy.shape[-1])
    return column_sums(rows) if on_gpu(rows) else rows.sum(axis=0)


@dataclass(frozen=True)
class _Convolution(Layer):
    """What both directions share: sizes, bias, and residuals (x, kernel)."""

    c_in: int
    c_out: int
    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    padding: Padding = 0
    bias: bool = True
    init: object = He("linear")
    algorithm: str = "auto"

    @property
    def _taps(self) -> tuple[int, ...]:
        return (self.kernel_size,) * 2 if isinstance(self.kernel_size, int) else self.kernel_size

    @property
    def _geometry(self):
        return normalize_geometry(len(self._taps), self.stride, self.padding)

    def parameters(self):
        own = {"kernel": self._kernel()}
        return {**own, "bias": Parameter((self.c_out,), zeros)} if self.bias else own

    def _kernel(self) -> Parameter:
        raise NotImplementedError

    def _with_bias(self, params, y):
        if self.bias:
            y += params["bias"]
        return y

    def param_gradient(self, residuals, dy):
        x, kernel = residuals
        workspace = kernel.workspace if isinstance(kernel, Kernel) else NoWorkspace
        own = {"kernel": self._kernel_gradient(x, dy, workspace)}
        return {**own, "bias": bias_gradient(dy)} if self.bias else own

    def _kernel_gradient(self, x, dy, workspace):
        raise NotImplementedError

    def prepare(self, params, workspace, keep):
        return {**params, "kernel": Kernel(params["kernel"], workspace, keep)}

    def output_shape(self, shape):
        if len(shape) != len(self._taps) + 1 or shape[-1] != self.c_in:
            raise UserError(f"{self}: takes {len(self._taps)} spatial axes and {self.c_in} channels, got shape {shape}")
        size = self._output_size(shape[:-1])
        if min(size) < 1:
            raise UserError(f"{self}: makes size {size} of an input of shape {shape}; change the kernel or its padding")
        return (*size, self.c_out)

    def _output_size(self, size) -> tuple[int, ...]:
        raise NotImplementedError


class Conv(_Convolution):
    """Conv(c_in, c_out, kernel_size, stride, padding): (n, h, w, c_in) -> (n, u, v, c_out), or (n, l, c)."""

    def _kernel(self):
        taps = prod(self._taps)
        return kernel((*self._taps, self.c_in, self.c_out), self.init, taps * self.c_in, taps * self.c_out)

    def _output_size(self, size):
        return im2col.output_size(size, self._taps, *self._geometry)

    def forward(self, params, x, statistics=None):
        kernel = params["kernel"]
        y = correlate(x, kernel, self.stride, self.padding, self.algorithm)
        return self._with_bias(params, y), (x, kernel)

    def input_gradient(self, residuals, dy):
        x, kernel = residuals
        return correlate_input(dy, kernel, self.stride, self.padding, x.shape[1:-1], self.algorithm)

    def _kernel_gradient(self, x, dy, workspace):
        return correlate_kernel(x, dy, self._taps, self.stride, self.padding, self.algorithm, workspace)


class ConvTranspose(_Convolution):
    """ConvTranspose(c_in, c_out, kernel_size, stride, padding): (n, u, v, c_in) -> (n, h, w, c_out), or (n, l, c).

    h = s (u - 1) + k - before - after: with stride 2, a 5x5 kernel and padding (1, 2), twice u.
    """

    def _kernel(self):
        # Each output number is the sum over c_in and every s-th tap of each axis.
        taps = prod(self._taps)
        fan_in = self.c_in * taps / prod(self._geometry[0])
        return kernel((*self._taps, self.c_out, self.c_in), self.init, fan_in, taps * self.c_out)

    def _output_size(self, size):
        return transposed_size(size, self._taps, *self._geometry)

    def forward(self, params, x, statistics=None):
        kernel = params["kernel"]
        y = correlate_input(x, kernel, self.stride, self.padding, None, self.algorithm)
        return self._with_bias(params, y), (x, kernel)

    def input_gradient(self, residuals, dy):
        _, kernel = residuals
        return correlate(dy, kernel, self.stride, self.padding, self.algorithm)

    def _kernel_gradient(self, x, dy, workspace):
        return correlate_kernel(dy, x, self._taps, self.stride, self.padding, self.algorithm, workspace)
