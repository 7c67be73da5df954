"""Convolution in 1-D and 2-D as the three partial derivatives of one trilinear form.

    T(x, w, dy) = sum_{n,u,v,o} dy[n,u,v,o]  sum_{i,j,c} w[i,j,c,o]  xpad[n, s u + i, s v + j, c]

    correlate(x, w)          = dT/d(dy)    Conv forward,            ConvTranspose input gradient
    correlate_input(dy, w)   = dT/dx       Conv input gradient,     ConvTranspose forward
    correlate_kernel(x, dy)  = dT/dw       the kernel gradient of both

Layout: images (n, h, w, c), sequences (n, l, c); kernels (kh, kw, c_in, c_out), (k, c_in, c_out).
`stride` is an int or one int per axis. `padding` is an int or, per axis, an int or (before, after):
zeros around x. TensorFlow's 'same' of a 5x5 kernel with stride 2 is padding=((1, 2), (1, 2)).

`algorithm` is "direct" (im2col and one matrix product, im2col.py), "winograd" (fewer multiplications, winograd.py,
equal up to rounding) or "auto", the one that costs less by a model: on a host that of winograd_plan.py, which counts
multiplications and gathered numbers; on a GPU that of cost_cuda.py, which counts bytes, too, with rates for float32,
float64 and TF32. Both know sizes, library and precision alone, so every machine chooses alike.
"""

from math import prod

from minicoulomb.arrays.backend import Array
from minicoulomb.arrays.blocks import map_blocks, sum_blocks
from minicoulomb.arrays.workspace import NoWorkspace
from minicoulomb.conv import im2col, winograd
from minicoulomb.conv.geometry import Padding, PerAxis, check_fit, geometry_of, per_axis, transposed_size
from minicoulomb.conv.im2col import output_size
from minicoulomb.conv.winograd_plan import choose
from minicoulomb.errors import UserError

# im2col works on blocks of images with about this many gathered numbers (2 MB in float32): enough rows for BLAS, few
# enough to be still in the processor's cache when they are used.
BLOCK_ELEMENTS = 2**19
# Numbers in the partial sums of a kernel's gradient, at most eight.
SUM_ELEMENTS = 2**24


def correlate(x: Array, w: Array, stride: PerAxis = 1, padding: Padding = 0, algorithm: str = "auto") -> Array:
    """Cross-correlation, which deep learning calls convolution.

    y[n,u,v,o] = sum_{i,j,c} w[i,j,c,o] xpad[n, s u + i, s v + j, c]

    Parameters
    ----------
    x : array (n, h, w, c_in) or (n, l, c_in)
    w : array (kh, kw, c_in, c_out) or (k, c_in, c_out)
    stride : int, or one int per axis
    padding : int, or per axis an int or (before, after)
        Zeros around x.
    algorithm : {"auto", "direct", "winograd"}

    Returns
    -------
    y : array (n, u, v, c_out) or (n, u, c_out)
        u = (h + before + after - kh) // s + 1.

    Raises
    ------
    UserError
        If the shapes do not fit, the batch is empty, or `algorithm` cannot compute this kernel.

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.arange(5.0).reshape(1, 5, 1), np.ones((3, 1, 1))
    >>> correlate(x, w, padding=1).ravel()
    array([1., 3., 6., 9., 7.])
    """
    kernel = winograd.Kernel.of(w)
    w = kernel.w
    stride, padding = geometry_of(x, w, stride, padding)
    if x.shape[-1] != w.shape[-2]:
        raise UserError(f"x has {x.shape[-1]} channels: the kernel takes {w.shape[-2]}; w is (..., c_in, c_out)")
    check_fit(x.shape[1:-1], w.shape[:-2], padding)
    if x.ndim == 3:  # a sequence is an image of height 1
        return correlate(x[:, None], kernel.on_images(), (1, *stride), ((0, 0), *padding), algorithm)[:, 0]
    size = output_size(x.shape[1:3], w.shape[:2], stride, padding)
    if plan := choose(algorithm, x, w.shape, stride, size):
        return winograd.correlate(x, kernel.transformed(plan), plan, padding, size, kernel.workspace)
    images = {"shape": (*size, w.shape[-1]), "numbers": prod(size) * w[..., 0].size, "limit": BLOCK_ELEMENTS}
    return map_blocks(lambda x: im2col.correlate(x, w, stride, padding), x, **images)


def correlate_input(
    dy: Array,
    w: Array,
    stride: PerAxis = 1,
    padding: Padding = 0,
    size: PerAxis | None = None,
    algorithm: str = "auto",
) -> Array:
    """The adjoint of `correlate` in x, which deep learning calls transposed convolution.

    dx[n,p,q,c] = sum of w[i,j,c,o] dy[n,u,v,o] over all i, j, u, v, o with s u + i - before = (p, q)

    Parameters
    ----------
    dy : array (n, u, v, c_out) or (n, u, c_out)
    w, stride, padding, algorithm
        As in `correlate`.
    size : int or one int per axis, optional
        The spatial size (h, w) of x; by default the smallest that gives dy, s (u - 1) + k - before - after.

    Returns
    -------
    dx : array (n, h, w, c_in) or (n, l, c_in)

    Raises
    ------
    UserError
        If the shapes do not fit, an x of `size` does not give dy, or the batch is empty.

    Examples
    --------
    >>> import numpy as np
    >>> dy, w = np.array([1.0, 10.0]).reshape(1, 2, 1), np.arange(1.0, 4.0).reshape(3, 1, 1)
    >>> correlate_input(dy, w, stride=2).ravel()
    array([ 1.,  2., 13., 20., 30.])
    """
    kernel = winograd.Kernel.of(w)
    w = kernel.w
    stride, padding = geometry_of(dy, w, stride, padding)
    if dy.shape[-1] != w.shape[-1]:
        raise UserError(f"dy has {dy.shape[-1]} channels: the kernel gives {w.shape[-1]}; w is (..., c_in, c_out)")
    if size is None:
        size = transposed_size(dy.shape[1:-1], w.shape[:-2], stride, padding)
    size = per_axis(size, len(stride), "size")
    check_fit(size, w.shape[:-2], padding)
    if (expected := output_size(size, w.shape[:-2], stride, padding)) != dy.shape[1:-1]:
        raise UserError(f"dy of size {dy.shape[1:-1]}: an input of size {size} gives {expected}; pass the size of x")
    if dy.ndim == 3:
        stride, padding, size = (1, *stride), ((0, 0), *padding), (1, *size)
        return correlate_input(dy[:, None], kernel.on_images(), stride, padding, size, algorithm)[:, 0]
    if plan := choose(algorithm, dy, w.shape, stride, dy.shape[1:3]):
        return winograd.correlate_input(dy, kernel.transformed(plan), plan, padding, size, kernel.workspace)
    numbers = prod(dy.shape[1:3]) * w[..., 0].size
    images = {"shape": (*size, w.shape[-2]), "numbers": numbers, "limit": BLOCK_ELEMENTS}
    return map_blocks(lambda dy: im2col.correlate_input(dy, w, stride, padding, size), dy, **images)


def correlate_kernel(
    x: Array,
    dy: Array,
    kernel_size: PerAxis,
    stride: PerAxis = 1,
    padding: Padding = 0,
    algorithm: str = "auto",
    workspace=NoWorkspace,
) -> Array:
    """The adjoint of `correlate` in w: the kernel's gradient.

    dw[i,j,c,o] = sum_{n,u,v} xpad[n, s u + i, s v + j, c] dy[n,u,v,o]

    Parameters
    ----------
    x : array (n, h, w, c_in) or (n, l, c_in)
    dy : array (n, u, v, c_out) or (n, u, c_out)
    kernel_size : int or (kh, kw), or (k,)
    stride, padding, algorithm
        As in `correlate`.
    workspace : minicoulomb.arrays.workspace.Workspace, optional
        Memory for Winograd's temporary arrays, for callers that pass the same one again and again.

    Returns
    -------
    dw : array (kh, kw, c_in, c_out) or (k, c_in, c_out)

    Raises
    ------
    UserError
        If the shapes do not fit or the batch is empty.

    Examples
    --------
    >>> import numpy as np
    >>> x, dy = np.arange(5.0).reshape(1, 5, 1), np.ones((1, 3, 1))
    >>> correlate_kernel(x, dy, 3).ravel()
    array([3., 6., 9.])
    """
    stride, padding = geometry_of(x, dy, stride, padding)
    kernel_size = per_axis(kernel_size, len(stride), "kernel_size")
    check_fit(x.shape[1:-1], kernel_size, padding)
    expected = (len(x), *output_size(x.shape[1:-1], kernel_size, stride, padding))
    if dy.shape[:-1] != expected:
        raise UserError(f"dy of shape {dy.shape}: this x gives {expected} before the channels; check the geometry")
    if x.ndim == 3:
        kernel_size, stride, padding = (1, *kernel_size), (1, *stride), ((0, 0), *padding)
        return correlate_kernel(x[:, None], dy[:, None], kernel_size, stride, padding, algorithm, workspace)[0]
    shape = *kernel_size, x.shape[-1], dy.shape[-1]
    if plan := choose(algorithm, x, shape, stride, dy.shape[1:3]):
        return winograd.correlate_kernel(x, dy, plan, kernel_size, padding, workspace)
    of_block = lambda x, dy: im2col.correlate_kernel(x, dy, kernel_size, stride, padding)
    most = max(1, min(8, SUM_ELEMENTS // prod(shape)))
    return sum_blocks(of_block, x, dy, numbers=prod(dy.shape[1:3]) * prod(shape[:3]), limit=BLOCK_ELEMENTS, most=most)
