"""Convolution and transposed convolution: each other's mirror image in the trilinear form T of conv/correlation.py.

                    Conv, kernel (kh, kw, c_in, c_out)       ConvTranspose, kernel (kh, kw, c_out, c_in)
    forward         y  = correlate(x, kernel) + bias         y  = correlate_input(x, kernel) + bias
    input gradient  dx = correlate_input(dy, kernel)         dx = correlate(dy, kernel)
    kernel gradient dk = correlate_kernel(x, dy)             dk = correlate_kernel(dy, x)

The bias, one number per output channel, has the gradient sum of dy over all other axes.
"""

from dataclasses import dataclass
from math import prod

from minicoulomb.arrays.backend import Array, floats, on_gpu
from minicoulomb.arrays.cuda import column_sums
from minicoulomb.conv.correlation import correlate, correlate_input, correlate_kernel
from minicoulomb.conv.geometry import Padding, PerAxis, normalize_geometry, transposed_size
from minicoulomb.conv.im2col import output_size
from minicoulomb.conv.winograd import Kernel
from minicoulomb.errors import UserError
from minicoulomb.layers.layer import LINEAR, He, Layer, Parameter, zeros


def bias_gradient(dy: Array) -> Array:
    """dbias[o] = sum of dy over every axis but the channels', (c_out,), for dy (n, ..., c_out).

    >>> import numpy as np
    >>> bias_gradient(np.ones((2, 4, 4, 3)))
    array([32., 32., 32.])
    """
    floats(dy)
    rows = dy.reshape(-1, dy.shape[-1])
    return column_sums(rows) if on_gpu(rows) else rows.sum(axis=0)


@dataclass(frozen=True)
class _Convolution(Layer):
    """The parts that both directions share: sizes, bias, and residuals (x, kernel)."""

    c_in: int
    c_out: int
    kernel_size: PerAxis
    stride: PerAxis = 1
    padding: Padding = 0
    bias: bool = True
    init: He = LINEAR
    algorithm: str = "auto"

    @property
    def _taps(self) -> tuple[int, ...]:
        return tuple(self.kernel_size) if isinstance(self.kernel_size, tuple | list) else (self.kernel_size,) * 2

    @property
    def _geometry(self):
        return normalize_geometry(len(self._taps), self.stride, self.padding)

    def parameters(self):
        kernel = {"kernel": self._kernel()}
        return {**kernel, "bias": Parameter((self.c_out,), zeros)} if self.bias else kernel

    def prepare(self, params, workspace, keep):
        return {**params, "kernel": Kernel(params["kernel"], workspace, keep)}

    def output_shape(self, shape):
        if len(shape) != len(self._taps) + 1 or shape[-1] != self.c_in:
            raise UserError(f"{self}: takes {len(self._taps)} spatial axes and {self.c_in} channels, got shape {shape}")
        size = self._output_size(shape[:-1])
        if min(size) < 1:
            raise UserError(f"{self}: makes size {size} of an input of shape {shape}; change the kernel or its padding")
        return (*size, self.c_out)

    def forward(self, params, x, statistics=None):
        y = self._correlate(x, params["kernel"])
        if self.bias:
            floats(params["bias"])
            y += params["bias"]
        return y, (x, params["kernel"])

    def param_gradient(self, residuals, dy):
        x, kernel = residuals
        left, right = self._sides(x, dy)
        workspace = Kernel.of(kernel).workspace
        dkernel = correlate_kernel(left, right, self._taps, self.stride, self.padding, self.algorithm, workspace)
        return {"kernel": dkernel, "bias": bias_gradient(dy)} if self.bias else {"kernel": dkernel}


class Conv(_Convolution):
    """Conv(c_in, c_out, kernel_size): y = correlate(x, kernel) + bias, (n, h, w, c_in) -> (n, u, v, c_out).

    Parameters
    ----------
    c_in, c_out : int
    kernel_size : int, or one int per axis
        An int means a square kernel on images (n, h, w, c); a tuple of one, as (5,), means sequences (n, l, c).
    stride, padding, algorithm
        As in `correlate`.
    bias : bool
    init : He
        Draws the kernel; the bias starts at 0.

    Examples
    --------
    >>> Conv(3, 64, 4, stride=2, padding=1).output_shape((32, 32, 3))
    (16, 16, 64)
    """

    def _kernel(self):
        return self.init.kernel((*self._taps, self.c_in, self.c_out), fan_in=prod(self._taps) * self.c_in)

    def _output_size(self, size):
        return output_size(size, self._taps, *self._geometry)

    def _correlate(self, x, kernel):
        return correlate(x, kernel, self.stride, self.padding, self.algorithm)

    def input_gradient(self, residuals, dy):
        x, kernel = residuals
        return correlate_input(dy, kernel, self.stride, self.padding, x.shape[1:-1], self.algorithm)

    def _sides(self, x, dy):
        return x, dy


class ConvTranspose(_Convolution):
    """ConvTranspose(c_in, c_out, kernel_size): the adjoint of a convolution, (n, u, v, c_in) -> (n, h, w, c_out).

    h = s (u - 1) + k - before - after: with stride 2, a 5x5 kernel and padding (1, 2), twice u.

    Parameters
    ----------
    c_in, c_out, kernel_size, stride, padding, bias, init, algorithm
        As in `Conv`; the kernel is (kh, kw, c_out, c_in).

    Examples
    --------
    >>> ConvTranspose(64, 3, 4, stride=2, padding=1).output_shape((16, 16, 64))
    (32, 32, 3)
    """

    def _kernel(self):
        # Each output number is the sum over c_in and every s-th tap of each axis.
        fan_in = self.c_in * prod(self._taps) / prod(self._geometry[0])
        return self.init.kernel((*self._taps, self.c_out, self.c_in), fan_in)

    def _output_size(self, size):
        return transposed_size(size, self._taps, *self._geometry)

    def _correlate(self, x, kernel):
        return correlate_input(x, kernel, self.stride, self.padding, None, self.algorithm)

    def input_gradient(self, residuals, dy):
        _, kernel = residuals
        return correlate(dy, kernel, self.stride, self.padding, self.algorithm)

    def _sides(self, x, dy):
        return dy, x
