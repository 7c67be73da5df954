"""The oracle that is quick to install: each layer as its defining sum, in float64, differentiated by HIPS autograd.

Convolution sums over taps (i, j) by a tensor that holds its geometry, S[i,u,p] = 1 where p = s u + i - before:

    y[n,u,v,o] = sum_{i,j,p,q,c} S[i,u,p] S'[j,v,q] x[n,p,q,c] w[i,j,c,o]

Zero padding needs no word: a tap outside the image meets no p. Transposed convolution sums over u, v, o instead.
"""

import autograd
import autograd.numpy as np

from minicoulomb.layers import elu, leaky_relu, relu, softmax, tanh
from minicoulomb.verify.oracle import Oracle


class AutogradOracle(Oracle):
    """NumPy's sums, products and exponentials alone: autograd has no convolution and no normalization of its own."""

    activations = {  # noqa: RUF012
        relu: lambda x: np.where(x > 0, x, 0),
        leaky_relu: lambda x, slope: np.where(x > 0, x, slope * x),
        elu: lambda x: np.where(x > 0, x, np.exp(x) - 1),
        tanh: lambda x, amplitude, slope: amplitude * np.tanh(slope * x),
        softmax: lambda x: np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True),
    }

    def _array(self, numbers):
        return np.asarray(numbers, dtype=np.float64)

    def _differentiate(self, function, *arguments):
        return autograd.value_and_grad(function, argnum=tuple(range(len(arguments))))(*arguments)

    def _log_sigmoid(self, x):
        return -np.logaddexp(0, -x)

    def _conv(self, x, kernel, stride, padding):
        if x.ndim == 3:
            return self._conv(x[:, None], kernel[None], (1, *stride), ((0, 0), *padding))[:, 0]
        rows, columns = (_taps(*axis) for axis in zip(x.shape[1:3], kernel.shape, stride, padding))
        return np.einsum("iup,jvq,npqc,ijco->nuvo", rows, columns, x, kernel, optimize=True)

    def _conv_transpose(self, x, kernel, stride, padding):
        if x.ndim == 3:
            return self._conv_transpose(x[:, None], kernel[None], (1, *stride), ((0, 0), *padding))[:, 0]
        sizes = [s * (u - 1) + k - sum(p) for u, k, s, p in zip(x.shape[1:3], kernel.shape, stride, padding)]
        rows, columns = (_taps(*axis) for axis in zip(sizes, kernel.shape, stride, padding))
        return np.einsum("iup,jvq,nuvo,ijco->npqc", rows, columns, x, kernel, optimize=True)

    def _batch_norm(self, x, scale, shift, epsilon, statistics):
        axes = tuple(range(x.ndim - 1))
        mean = np.mean(x, axis=axes) if statistics is None else statistics["mean"]
        variance = np.mean((x - mean) ** 2, axis=axes) if statistics is None else statistics["variance"]
        return (x - mean) / np.sqrt(variance + epsilon) * scale + shift

    def _upsample(self, x):
        rows, columns = (_copies(size) for size in x.shape[1:3])
        return np.einsum("pu,qv,nuvc->npqc", rows, columns, x)

    def _average_pool(self, x):
        rows, columns = (_copies(size // 2) for size in x.shape[1:3])
        return np.einsum("pu,qv,npqc->nuvc", rows, columns, x) / 4


def _copies(size):
    """C[p,u] = 1 where p lies in the u-th pair, p // 2 = u, (2 size, size)."""
    return 1.0 * (np.arange(2 * size)[:, None] // 2 == np.arange(size))


def _taps(size, k, s, padding):
    """S[i,u,p] = 1 where p = s u + i - before, and 0 elsewhere, (k, u, size)."""
    before, after = padding
    i, u, p = (np.arange(n) for n in (k, (size + before + after - k) // s + 1, size))
    return 1.0 * (p == s * u[:, None] + i[:, None, None] - before)
