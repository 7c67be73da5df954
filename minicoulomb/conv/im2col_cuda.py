"""im2col and col2im on a GPU, each in one pass over memory, with the numbers of im2col.py to the last bit.

    im2col    a thread has a position (n, u, v) and a number (j, c) of a row of taps, and copies it for every row i
    col2im    a thread has a number of x, and adds up all that lies on it, in the order of the taps

Nothing is padded. A row of taps is contiguous in x and in cols, so neighbouring threads read and write neighbouring
numbers. No two threads write the same number, and the order of a sum is fixed.
"""

from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.cuda import ElementwiseKernel, check_threads


def im2col(x, kernel_size, stride, padding, size):
    """cols[n,u,v,i,(j,c)] = xpad[n, s u + i, s v + j, c], (n, u, v, kh, kw c), for `size` (u, v)."""
    xp, (n, h, w, c), ((top, _), (left, _)) = array_module(x), x.shape, padding
    row = kernel_size[1] * c
    threads = check_threads(n, *size, row)
    check_threads(w, c)  # within a row of x, places are 32-bit numbers
    cols = xp.empty((n, *size, kernel_size[0], row), x.dtype)
    numbers = h, w * c, *size, kernel_size[0], row, stride[0], stride[1] * c, top, left * c
    _IM2COL(xp.ascontiguousarray(x), *numbers, cols, size=threads)
    return cols


def col2im(cols, kw, stride, padding, size):
    """x[n,p,q,c] = sum of cols[n,u,v,i,(j,c)] over s u + i - top = p, s v + j - left = q."""
    xp, (n, u, v, kh, row), ((top, _), (left, _)) = array_module(cols), cols.shape, padding
    shape = n, *size, row // kw
    threads, x = check_threads(*shape), xp.empty(shape, cols.dtype)
    numbers = *shape[1:], u, v, kh, kw, *stride, top, left
    _COL2IM(xp.ascontiguousarray(cols), *numbers, x, size=threads)
    return x


# Rows of taps whose numbers are on the way at the same time.
ROWS = 4

_IM2COL = ElementwiseKernel(
    "raw T x, int32 height, int32 width, int32 u, int32 v, int32 kh, int32 row, int32 stride0, int32 stride1, "
    "int32 top, int32 left",
    "raw T cols",
    f"""
    unsigned rest = i;
    const int number = rest % row; rest /= row;
    const size_t position = rest;
    const int column = int(rest % v) * stride1 - left + number; rest /= v;
    const int first = int(rest % u) * stride0 - top; rest /= u;
    const bool is_inside = column >= 0 && column < width;
    for (int begin = 0; begin < kh; begin += {ROWS}) {{
      T held[{ROWS}];
      #pragma unroll
      for (int k = 0; k < {ROWS}; ++k) {{
        const int line = first + begin + k;
        const bool exists = is_inside && begin + k < kh && line >= 0 && line < height;
        held[k] = exists ? x[(rest * ptrdiff_t(height) + line) * width + column] : T(0);
      }}
      #pragma unroll
      for (int k = 0; k < {ROWS}; ++k) {{
        if (begin + k < kh) cols[(position * kh + begin + k) * row + number] = held[k];
      }}
    }}
    """,
    "im2col",
)

_COL2IM = ElementwiseKernel(
    "raw T cols, int32 height, int32 width, int32 channels, int32 u, int32 v, int32 kh, int32 kw, int32 stride0, "
    "int32 stride1, int32 top, int32 left",
    "raw T x",
    """
    unsigned rest = i;
    const int k = rest % channels; rest /= channels;
    const int column = int(rest % width) + left; rest /= width;
    const int line = int(rest % height) + top; rest /= height;
    T sum = 0;
    for (int tap0 = line % stride0; tap0 < kh && tap0 <= line; tap0 += stride0) {
      const int y = (line - tap0) / stride0;
      if (y >= u) continue;
      const ptrdiff_t at = (rest * ptrdiff_t(u) + y) * v;
      for (int tap1 = column % stride1; tap1 < kw && tap1 <= column; tap1 += stride1) {
        const int z = (column - tap1) / stride1;
        if (z < v) sum += cols[(((at + z) * kh + tap0) * kw + tap1) * channels + k];
      }
    }
    x[i] = sum;
    """,
    "col2im",
)
