"""The three derivatives of convolution's trilinear form by im2col and one matrix product, for any 2-D geometry.

    T(x, w, dy) = sum_{n,u,v,o} dy[n,u,v,o]  sum_{i,j,c} w[i,j,c,o]  xpad[n, s u + i, s v + j, c]

With cols[n,u,v,(i,j,c)] = xpad[n, s u + i, s v + j, c], w is a matrix with the rows (i,j,c) and the columns o:

    correlate(x, w)          = dT/d(dy) = cols @ w            (n, u, v, o)
    correlate_input(dy, w)   = dT/dx    = col2im(dy @ w^T)    (n, h, w, c)
    correlate_kernel(x, dy)  = dT/dw    = cols^T @ dy         (kh, kw, c, o)

im2col gathers cols from x, and col2im, its adjoint, adds them back.

Axes: images n, height and width (h, w) of x and (u, v) of y, channels c in and o out, taps i, j; s the stride.
Arguments: x (n, h, w, c), w (kh, kw, c, o), dy (n, u, v, o), stride (sh, sw), padding ((top, bottom), (left, right)).
"""

from minicoulomb.arrays.backend import array_module, on_gpu
from minicoulomb.arrays.matmul import matmul
from minicoulomb.conv import im2col_cuda


def correlate(x, w, stride, padding):
    """y[n,u,v,o] = sum_{i,j,c} w[i,j,c,o] xpad[n, s u + i, s v + j, c]."""
    cols = im2col(x, w.shape[:2], stride, padding)  # (n, u, v, i, j c)
    y = matmul(cols.reshape(-1, w[..., 0].size), w.reshape(-1, w.shape[-1]))  # (n u v, o)
    return y.reshape(*cols.shape[:3], w.shape[-1])


def correlate_input(dy, w, stride, padding, size):
    """dx[n, s u + i - top, s v + j - left, c] = sum_{u,v,i,j,o} w[i,j,c,o] dy[n,u,v,o], for x of `size` (h, w)."""
    kh, kw, c_in, c_out = w.shape
    cols = matmul(dy.reshape(-1, c_out), w.reshape(-1, c_out).T)  # (n u v, i j c)
    return col2im(cols.reshape(*dy.shape[:3], kh, kw * c_in), kw, stride, padding, size)


def correlate_kernel(x, dy, kernel_size, stride, padding):
    """dw[i,j,c,o] = sum_{n,u,v} xpad[n, s u + i, s v + j, c] dy[n,u,v,o], kernel_size (kh, kw)."""
    c_in, c_out = x.shape[-1], dy.shape[-1]
    cols = im2col(x, kernel_size, stride, padding).reshape(-1, kernel_size[0] * kernel_size[1] * c_in)
    return matmul(cols.T, dy.reshape(-1, c_out)).reshape(*kernel_size, c_in, c_out)


def im2col(x, kernel_size, stride, padding):
    """cols[n,u,v,i,(j,c)] = xpad[n, s u + i, s v + j, c], (n, u, v, kh, kw c)."""
    size = output_size(x.shape[1:3], kernel_size, stride, padding)
    if on_gpu(x):
        return im2col_cuda.im2col(x, kernel_size, stride, padding, size)
    xp = array_module(x)
    xpad = xp.ascontiguousarray(xp.pad(x, ((0, 0), *padding, (0, 0))) if any(map(any, padding)) else x)
    return xp.ascontiguousarray(_windows(xpad, kernel_size, stride, size))


def col2im(cols, kw, stride, padding, size):
    """x[n,p,q,c] = sum of cols[n,u,v,i,(j,c)] over s u + i - top = p, s v + j - left = q: the adjoint of im2col."""
    if on_gpu(cols):
        return im2col_cuda.col2im(cols, kw, stride, padding, size)
    n, *positions, kh, row = cols.shape  # a row of taps (j, c) is contiguous in x
    c, ((top, bottom), (left, right)) = row // kw, padding
    xpad = array_module(cols).zeros((n, size[0] + top + bottom, size[1] + left + right, c), cols.dtype)
    windows = _windows(xpad, (kh, kw), stride, positions)
    for i in range(kh):
        for j in range(0, kw, stride[1]):  # windows start a stride apart: within a stride's length they do not overlap
            taps = slice(j * c, (j + stride[1]) * c)
            windows[:, :, :, i, taps] += cols[:, :, :, i, taps]
    return xpad[:, top : top + size[0], left : left + size[1]]


def output_size(size, kernel_size, stride, padding) -> tuple[int, ...]:
    """(h + before + after - k) // s + 1 along each axis."""
    return tuple((h + sum(p) - k) // s + 1 for h, k, s, p in zip(size, kernel_size, stride, padding, strict=True))


def _windows(xpad, kernel_size, stride, size):
    """xpad[n, s u + i, s v + j, c] as a view, (n, u, v, i, j c), of xpad in C order: neighbouring positions overlap."""
    n, h, w, c = xpad.shape
    shape = n, *size, kernel_size[0], kernel_size[1] * c
    strides = h * w * c, stride[0] * w * c, stride[1] * c, w * c, 1  # xpad.strides may be any along an axis of length 1
    return array_module(xpad).lib.stride_tricks.as_strided(xpad, shape, tuple(s * xpad.itemsize for s in strides))
