"""What tests of convolution share: the trilinear form's defining sums as loops over taps and positions, and arrays."""

import numpy as np
from hypothesis import strategies as st

from minicoulomb.conv import correlate, correlate_input, correlate_kernel

few = st.integers(1, 3)
seeds = st.integers(0, 2**32 - 1)


def defining_sums(x, w, dy, stride, padding):
    """(dT/d(dy), dT/dx, dT/dw) of T = sum dy[n,u,v,o] w[i,j,c,o] x[n,p,q,c], p = s u + i - before, in float64."""
    if x.ndim == 3:
        sums = defining_sums(x[:, None], w[None], dy[:, None], (1, *stride), ((0, 0), *padding))
        return sums[0][:, 0], sums[1][:, 0], sums[2][0]
    y, dx, dw = (np.zeros(array.shape) for array in (dy, x, w))
    for i, j in np.ndindex(w.shape[:2]):
        for u, v in np.ndindex(dy.shape[1:3]):
            p, q = stride[0] * u + i - padding[0][0], stride[1] * v + j - padding[1][0]
            if 0 <= p < x.shape[1] and 0 <= q < x.shape[2]:
                y[:, u, v] += x[:, p, q] @ w[i, j]
                dx[:, p, q] += dy[:, u, v] @ w[i, j].T
                dw[i, j] += x[:, p, q].T @ dy[:, u, v]
    return y, dx, dw


def our_sums(x, w, dy, stride, padding, algorithm):
    return (
        correlate(x, w, stride, padding, algorithm),
        correlate_input(dy, w, stride, padding, x.shape[1:-1], algorithm),
        correlate_kernel(x, dy, w.shape[:-2], stride, padding, algorithm),
    )


def arrays(geometry, n, c_in, c_out, rng, dtype=np.float64):
    """(x, w, dy, stride, padding) with normal numbers."""
    sizes, taps, stride, padding = zip(*geometry)
    shapes = (n, *sizes, c_in), (*taps, c_in, c_out), (n, *(axis.output_size for axis in geometry), c_out)
    return (*(rng.standard_normal(shape).astype(dtype) for shape in shapes), stride, padding)
