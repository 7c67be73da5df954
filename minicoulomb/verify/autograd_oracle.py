"""The oracle that is quick to install: each layer as its defining sum, in float64, differentiated by HIPS autograd.

Convolution sums over taps (i, j) by a tensor that holds its geometry, S[i,u,p] = 1 where p = s u + i - before:

    y[n,u,v,o] = sum_{i,j,p,q,c} S[i,u,p] S'[j,v,q] x[n,p,q,c] w[i,j,c,o]

Padding with zeros is part of S: a tap outside the image meets no p. Transposed convolution sums over u, v, o instead.
"""

import autograd
import autograd.numpy as np

from minicoulomb.verify.oracle import Oracle


class AutogradOracle(Oracle):
    """The sums, products and exponentials of NumPy alone."""

    xp = np

    def _differentiate(self, function, *arguments):
        return autograd.value_and_grad(function, argnum=tuple(range(len(arguments))))(*arguments)

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


def _taps(size, k, s, padding):
    """S[i,u,p] = 1 where p = s u + i - before, and 0 elsewhere, (k, u, size)."""
    before, after = padding
    i, u, p = (np.arange(n) for n in (k, (size + before + after - k) // s + 1, size))
    return 1.0 * (p == s * u[:, None] + i[:, None, None] - before)
