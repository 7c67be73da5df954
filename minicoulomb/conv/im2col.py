"""The trilinear form of convolution by im2col and one matrix product, for any 2-D geometry.

    T(x, w, dy) = sum_{n,u,v,o} dy[n,u,v,o]  sum_{i,j,c} w[i,j,c,o]  xpad[n, s u + i, s v + j, c]

Every convolutional layer, forward and backward, is one partial derivative of T:

    correlate(x, w)          = dT/d(dy)    (n, u, v, o)       cols @ w
    correlate_input(dy, w)   = dT/dx       (n, h, w, c)       col2im(dy @ w^T)
    correlate_kernel(x, dy)  = dT/dw       (kh, kw, c, o)     cols^T @ dy

where im2col gathers cols[n,u,v,(i,j,c)] = xpad[n, s u + i, s v + j, c], and col2im, its adjoint, adds back. A row
of taps (j, c) is contiguous in x, so both move whole rows. The work is split over blocks of images, which threads
may take side by side.

Axes: images n, height and width (h, w) of x and (u, v) of y, channels c in and o out, taps i, j; s the stride.
"""

from collections.abc import Iterator

from minicoulomb.arrays.backend import array_module, on_gpu
from minicoulomb.arrays.threads import for_each

# Images are taken in blocks with about this many gathered numbers (2 MB in float32): enough rows for BLAS to be at
# its best, few enough to be still in the processor's cache when they are used. A GPU takes more at a time (1 GB).
BLOCK_ELEMENTS, GPU_BLOCK_ELEMENTS = 2**19, 2**28
# Numbers in the partial sums of a kernel's gradient, of which there are at most eight.
SUM_ELEMENTS = 2**24


def correlate(x, w, stride, padding):
    """y[n,u,v,o] = sum_{i,j,c} w[i,j,c,o] xpad[n, s u + i, s v + j, c].

    x (n, h, w, c), w (kh, kw, c, o), stride (sh, sw), padding ((top, bottom), (left, right)).
    """
    *kernel_size, _, c_out = w.shape
    xp, size = array_module(x), output_size(x.shape[1:3], kernel_size, stride, padding)
    y = xp.empty((len(x), *size, c_out), x.dtype)  # (n, u, v, o)
    w_matrix = w.reshape(-1, c_out)  # (i j c, o)

    def block_of_images(block):
        cols = xp.ascontiguousarray(_windows(_pad(x[block], padding), kernel_size, stride, size))  # (n, u, v, i, j c)
        xp.matmul(cols.reshape(-1, len(w_matrix)), w_matrix, out=y[block].reshape(-1, c_out))

    for_each(block_of_images, _blocks(x, size, len(w_matrix)))
    return y


def correlate_input(dy, w, stride, padding, size):
    """dx[n, s u + i - top, s v + j - left, c] = sum_{u,v,i,j,o} w[i,j,c,o] dy[n,u,v,o]: the adjoint of correlate in x.

    dy (n, u, v, o), w (kh, kw, c, o), size (h, w) of x.
    """
    xp, (kh, kw, c_in, c_out) = array_module(dy), w.shape
    (top, bottom), (left, right) = padding
    dx = xp.empty((len(dy), *size, c_in), dy.dtype)  # (n, h, w, c)
    w_matrix = w.reshape(-1, c_out)  # (i j c, o)

    def block_of_images(block):
        own = dy[block]
        dcols = (own.reshape(-1, c_out) @ w_matrix.T).reshape(*own.shape[:3], kh, kw * c_in)  # (n, u, v, i, j c)
        dxpad = xp.zeros((len(own), size[0] + top + bottom, size[1] + left + right, c_in), dy.dtype)
        windows = _windows(dxpad, (kh, kw), stride, dy.shape[1:3])
        # Windows start a stride apart: within a stride's length they do not overlap.
        for i in range(kh):
            for start in range(0, kw, stride[1]):
                taps = slice(start * c_in, min(start + stride[1], kw) * c_in)
                windows[:, :, :, i, taps] += dcols[:, :, :, i, taps]
        dx[block] = dxpad[:, top : top + size[0], left : left + size[1]]

    for_each(block_of_images, _blocks(dy, dy.shape[1:3], len(w_matrix)))
    return dx


def correlate_kernel(x, dy, kernel_size, stride, padding):
    """dw[i,j,c,o] = sum_{n,u,v} xpad[n, s u + i, s v + j, c] dy[n,u,v,o]: the adjoint of correlate in w.

    x (n, h, w, c), dy (n, u, v, o), kernel_size (kh, kw).
    """
    xp, size, c_out = array_module(x), dy.shape[1:3], dy.shape[-1]
    row_length = kernel_size[0] * kernel_size[1] * x.shape[-1]
    blocks = list(_blocks(x, size, row_length))
    # How many there are depends on sizes alone, so that the result does not depend on the number of threads.
    count = max(1, min(8, len(blocks), SUM_ELEMENTS // (row_length * c_out)))
    sums = xp.zeros((count, row_length, c_out), x.dtype)

    def add(number):
        for block in blocks[number::count]:
            cols = xp.ascontiguousarray(_windows(_pad(x[block], padding), kernel_size, stride, size))
            sums[number] += cols.reshape(-1, row_length).T @ dy[block].reshape(-1, c_out)

    for_each(add, range(count))
    return sums.sum(axis=0).reshape(*kernel_size, x.shape[-1], c_out)


def output_size(size, kernel_size, stride, padding) -> tuple[int, ...]:
    """(h + before + after - k) // s + 1 along each axis."""
    return tuple((h + sum(p) - k) // s + 1 for h, k, s, p in zip(size, kernel_size, stride, padding, strict=True))


def _pad(x, padding):
    xp = array_module(x)
    return xp.pad(x, ((0, 0), *padding, (0, 0))) if any(map(any, padding)) else xp.ascontiguousarray(x)


def _windows(xpad, kernel_size, stride, size):
    """xpad[n, s u + i, s v + j, c] as a view, (n, u, v, i, j c): neighbouring positions overlap."""
    n, h, w, c = xpad.strides
    shape = len(xpad), *size, kernel_size[0], kernel_size[1] * xpad.shape[-1]
    return array_module(xpad).lib.stride_tricks.as_strided(xpad, shape, (n, h * stride[0], w * stride[1], h, c))


def _blocks(x, size, row_length) -> Iterator[slice]:
    images = max(1, (GPU_BLOCK_ELEMENTS if on_gpu(x) else BLOCK_ELEMENTS) // (size[0] * size[1] * row_length))
    return (slice(start, start + images) for start in range(0, len(x), images))
