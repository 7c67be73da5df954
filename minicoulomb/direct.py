"""The trilinear form of convolution by im2col and one matrix product, for any 2-D geometry.

    T(x, w, dy) = sum_{n,u,v,o} dy[n,u,v,o]  sum_{i,j,c} w[i,j,c,o]  xpad[n, s u + i, s v + j, c]

Every convolutional layer, forward and backward, is one partial derivative of T:

    correlate(x, w)          = dT/d(dy)    (n, u, v, o)       cols @ w
    correlate_input(dy, w)   = dT/dx       (n, h, w, c)       col2im(dy @ w^T)
    correlate_kernel(x, dy)  = dT/dw       (kh, kw, c, o)     cols^T @ dy, tap by tap

where im2col gathers cols[n,u,v,(i,j,c)] = xpad[n, s u + i, s v + j, c], and col2im, its adjoint, adds back.
Both are the same loop over the kernel's taps (i, j): `=` one way, `+=` the other. The work is split over blocks
of images, or over the taps, which threads may take side by side.

Axes: images n, height and width (h, w) of x and (u, v) of y, channels c in and o out, taps i, j; s the stride.
"""

from collections.abc import Iterator

from minicoulomb.backend import array_module
from minicoulomb.threads import for_each

# Images are taken in blocks with at most this many gathered elements (16 MB in float32): enough rows for BLAS to
# be at its best, and parts enough for the threads.
BLOCK_ELEMENTS = 2**22


def correlate(x, w, stride, padding):
    """y[n,u,v,o] = sum_{i,j,c} w[i,j,c,o] xpad[n, s u + i, s v + j, c].

    x (n, h, w, c), w (kh, kw, c, o), stride (sh, sw), padding ((top, bottom), (left, right)).
    """
    *kernel_size, _, c_out = w.shape
    size = output_size(x.shape[1:3], kernel_size, stride, padding)
    y = array_module(x).empty((len(x), *size, c_out), x.dtype)  # (n, u, v, o)
    w_matrix = w.reshape(-1, c_out)  # (i j c, o)

    def block_of_images(block):
        cols = _im2col(x[block], kernel_size, stride, padding, size)  # (n u v, i j c)
        array_module(x).matmul(cols, w_matrix, out=y[block].reshape(-1, c_out))

    for_each(block_of_images, _blocks(len(x), size, len(w_matrix)))
    return y


def correlate_input(dy, w, stride, padding, size):
    """dx[n, s u + i - top, s v + j - left, c] = sum_{u,v,i,j,o} w[i,j,c,o] dy[n,u,v,o]: the adjoint of correlate in x.

    dy (n, u, v, o), w (kh, kw, c, o), size (h, w) of x.
    """
    *kernel_size, c_in, c_out = w.shape
    dx = array_module(dy).empty((len(dy), *size, c_in), dy.dtype)  # (n, h, w, c)
    w_matrix = w.reshape(-1, c_out)  # (i j c, o)

    def block_of_images(block):
        dcols = dy[block].reshape(-1, c_out) @ w_matrix.T  # (n u v, i j c)
        dx[block] = _col2im(dcols.reshape(*dy[block].shape[:3], *kernel_size, c_in), stride, padding, size)

    for_each(block_of_images, _blocks(len(dy), dy.shape[1:3], len(w_matrix)))
    return dx


def correlate_kernel(x, dy, kernel_size, stride, padding):
    """dw[i,j,c,o] = sum_{n,u,v} xpad[n, s u + i, s v + j, c] dy[n,u,v,o]: the adjoint of correlate in w.

    x (n, h, w, c), dy (n, u, v, o), kernel_size (kh, kw).
    """
    xp, c_in, c_out = array_module(x), x.shape[-1], dy.shape[-1]
    dw = xp.empty((*kernel_size, c_in, c_out), x.dtype)
    dy_matrix = dy.reshape(-1, c_out)  # (n u v, o)

    def tap(part):
        i, j, window = part
        xp.matmul(window.reshape(-1, c_in).T, dy_matrix, out=dw[i, j])

    for_each(tap, _taps(_pad(x, padding), kernel_size, stride, dy.shape[1:3]))
    return dw


def output_size(size, kernel_size, stride, padding) -> tuple[int, ...]:
    """(h + before + after - k) // s + 1 along each axis."""
    return tuple((h + sum(p) - k) // s + 1 for h, k, s, p in zip(size, kernel_size, stride, padding, strict=True))


def _pad(x, padding):
    return array_module(x).pad(x, ((0, 0), *padding, (0, 0))) if any(map(any, padding)) else x


def _im2col(x, kernel_size, stride, padding, size):
    cols = array_module(x).empty((len(x), *size, *kernel_size, x.shape[-1]), x.dtype)  # (n, u, v, i, j, c)
    for i, j, window in _taps(_pad(x, padding), kernel_size, stride, size):
        cols[:, :, :, i, j] = window
    return cols.reshape(len(x) * size[0] * size[1], -1)


def _col2im(dcols, stride, padding, size):
    n, *out_size, kh, kw, c = dcols.shape
    (top, bottom), (left, right) = padding
    dxpad = array_module(dcols).zeros((n, size[0] + top + bottom, size[1] + left + right, c), dcols.dtype)
    for i, j, window in _taps(dxpad, (kh, kw), stride, out_size):
        window += dcols[:, :, :, i, j]
    return dxpad[:, top : top + size[0], left : left + size[1]]


def _taps(xpad, kernel_size, stride, size) -> Iterator:
    """For each tap (i, j) the view xpad[:, s u + i, s v + j, :], (n, u, v, c)."""
    (sh, sw), (u, v) = stride, size
    for i in range(kernel_size[0]):
        for j in range(kernel_size[1]):
            yield i, j, xpad[:, i : i + sh * (u - 1) + 1 : sh, j : j + sw * (v - 1) + 1 : sw]


def _blocks(n, size, row_length) -> Iterator[slice]:
    images = max(1, BLOCK_ELEMENTS // (size[0] * size[1] * row_length))
    return (slice(start, start + images) for start in range(0, n, images))
