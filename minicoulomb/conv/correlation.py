"""Convolution in 1-D and 2-D as the three partial derivatives of one trilinear form (see im2col.py).

    T(x, w, dy) = sum_{n,u,v,o} dy[n,u,v,o]  sum_{i,j,c} w[i,j,c,o]  xpad[n, s u + i, s v + j, c]

    correlate(x, w)          = dT/d(dy)    Conv forward,            ConvTranspose input gradient
    correlate_input(dy, w)   = dT/dx       Conv input gradient,     ConvTranspose forward
    correlate_kernel(x, dy)  = dT/dw       the kernel gradient of both

Layout: images (n, h, w, c), sequences (n, l, c); kernels (kh, kw, c_in, c_out), (k, c_in, c_out).
`stride` is an int or one int per axis. `padding` is an int or, per axis, an int or (before, after):
zeros around x. TensorFlow's 'same' of a 5x5 kernel with stride 2 is padding=((1, 2), (1, 2)).

`algorithm` is "direct" (im2col and one matrix product, im2col.py), "winograd" (fewer multiplications, winograd.py:
the same to rounding) or "auto": whichever costs less by the model at the end of this file, which knows sizes alone.
Another name, or winograd for a kernel with too many taps, raises UserError.
"""

from math import prod

from minicoulomb.arrays.workspace import NoWorkspace
from minicoulomb.conv import im2col, winograd, winograd_plan
from minicoulomb.errors import UserError

ALGORITHMS = ("auto", "direct", "winograd")

Padding = int | tuple[int | tuple[int, int], ...]


class Kernel:
    """A kernel for the passes of one step, which share its transform; valid while the array w does not change.

    Takes the place of w below. Work buffers come from `workspace`; with `keep` off, every pass transforms anew.
    """

    def __init__(self, w, workspace=NoWorkspace, keep: bool = True):
        self.w, self.workspace, self._keep = w, workspace, keep
        self._transforms = {}

    @classmethod
    def of(cls, w) -> "Kernel":
        """The kernel for one pass, of an array or a kernel."""
        if not isinstance(w, Kernel):
            return cls(w)
        return w if w._keep else cls(w.w, w.workspace)

    def transformed(self, plan):
        """U of winograd.transform_kernel for this plan."""
        U = self._transforms.get(plan.key)
        if U is None:
            w = self.w if self.w.ndim == 4 else self.w[None]
            U = self.workspace.borrow(winograd.transformed_shape(w, plan), w, owner=self)
            self._transforms[plan.key] = winograd.transform_kernel(w, plan, out=U)
        return U


def correlate(x, w, stride: int | tuple[int, ...] = 1, padding: Padding = 0, algorithm: str = "auto"):
    """Cross-correlation, which deep learning calls convolution.

    y[n,u,v,o] = sum_{i,j,c} w[i,j,c,o] xpad[n, s u + i, s v + j, c]

    x (n, h, w, c_in), w (kh, kw, c_in, c_out) -> y (n, u, v, c_out), u = (h + before + after - kh) // s + 1.
    Raises UserError where the shapes do not fit or the batch is empty.
    """
    kernel = Kernel.of(w)
    w = kernel.w
    stride, padding = _geometry(x, w, stride, padding)
    if x.shape[-1] != w.shape[-2]:
        raise UserError(f"x has {x.shape[-1]} channels: the kernel takes {w.shape[-2]}; w is (..., c_in, c_out)")
    _check_fit(x.shape[1:-1], w.shape[:-2], padding)
    ndim, (x, w), (stride, padding) = x.ndim, _as_2d(x, w), _geometry_2d(stride, padding)
    size = im2col.output_size(x.shape[1:3], w.shape[:2], stride, padding)
    plan = _plan(algorithm, x, w.shape, stride, size)
    if plan is None:
        return _drop_axis(ndim, im2col.correlate(x, w, stride, padding))
    return _drop_axis(ndim, winograd.correlate(x, kernel.transformed(plan), plan, padding, size, kernel.workspace))


def correlate_input(dy, w, stride: int | tuple[int, ...] = 1, padding: Padding = 0, size=None, algorithm: str = "auto"):
    """The adjoint of `correlate` in x, which deep learning calls transposed convolution.

    dx[n,p,q,c] = sum of w[i,j,c,o] dy[n,u,v,o] over all i, j, u, v, o with s u + i - before = (p, q)

    dy (n, u, v, c_out), w (kh, kw, c_in, c_out) -> dx (n, *size, c_in). `size` is the spatial size of x;
    by default the smallest that gives dy: s (u - 1) + k - before - after.
    Raises UserError where the shapes do not fit, `size` would not give dy, or the batch is empty.
    """
    kernel = Kernel.of(w)
    w = kernel.w
    stride, padding = _geometry(dy, w, stride, padding)
    if dy.shape[-1] != w.shape[-1]:
        raise UserError(f"dy has {dy.shape[-1]} channels: the kernel gives {w.shape[-1]}; w is (..., c_in, c_out)")
    if size is None:
        size = transposed_size(dy.shape[1:-1], w.shape[:-2], stride, padding)
    size = _per_axis(size, len(stride), "size")
    _check_fit(size, w.shape[:-2], padding)
    if im2col.output_size(size, w.shape[:-2], stride, padding) != dy.shape[1:-1]:
        expected = im2col.output_size(size, w.shape[:-2], stride, padding)
        raise UserError(f"dy of size {dy.shape[1:-1]}: an input of size {size} gives {expected}; pass x's own size")
    size = size if len(size) == 2 else (1, *size)
    ndim, (dy, w), (stride, padding) = dy.ndim, _as_2d(dy, w), _geometry_2d(stride, padding)
    plan = _plan(algorithm, dy, w.shape, stride, dy.shape[1:3])
    if plan is None:
        return _drop_axis(ndim, im2col.correlate_input(dy, w, stride, padding, size))
    U, workspace = kernel.transformed(plan), kernel.workspace
    return _drop_axis(ndim, winograd.correlate_input(dy, U, plan, padding, size, workspace))


def correlate_kernel(
    x,
    dy,
    kernel_size,
    stride: int | tuple[int, ...] = 1,
    padding: Padding = 0,
    algorithm: str = "auto",
    workspace=NoWorkspace,
):
    """The adjoint of `correlate` in w: the kernel's gradient.

    dw[i,j,c,o] = sum_{n,u,v} xpad[n, s u + i, s v + j, c] dy[n,u,v,o]

    x (n, h, w, c_in), dy (n, u, v, c_out), kernel_size (kh, kw) -> dw (kh, kw, c_in, c_out).
    Work buffers come from `workspace`.
    Raises UserError where the shapes do not fit or the batch is empty.
    """
    kernel_size = _per_axis(kernel_size, x.ndim - 2, "kernel_size")
    stride, padding = _geometry(x, None, stride, padding)
    _check_fit(x.shape[1:-1], kernel_size, padding)
    expected = (len(x), *im2col.output_size(x.shape[1:-1], kernel_size, stride, padding))
    if dy.shape[:-1] != expected:
        raise UserError(f"dy of shape {dy.shape}: this x gives {expected} before the channels; check the geometry")
    ndim, (stride, padding) = x.ndim, _geometry_2d(stride, padding)
    if ndim == 3:
        x, dy, kernel_size = x[:, None], dy[:, None], (1, *kernel_size)
    plan = _plan(algorithm, x, (*kernel_size, x.shape[-1], dy.shape[-1]), stride, dy.shape[1:3])
    if plan is None:
        dw = im2col.correlate_kernel(x, dy, kernel_size, stride, padding)
    else:
        dw = winograd.correlate_kernel(x, dy, plan, kernel_size, padding, workspace)
    return dw if ndim == 4 else dw[0]


def transposed_size(size, kernel_size, stride, padding) -> tuple[int, ...]:
    """The size of a transposed convolution's output: s (u - 1) + k - before - after along each axis."""
    return tuple(s * (u - 1) + k - sum(p) for u, k, s, p in zip(size, kernel_size, stride, padding, strict=True))


def normalize_geometry(dimensions: int, stride, padding):
    """`stride` as one int and `padding` as (before, after) for each of the axes."""
    stride = _per_axis(stride, dimensions, "stride")
    if isinstance(padding, int):
        padding = (padding,) * dimensions
    pairs = tuple((p, p) if isinstance(p, int) else tuple(p) for p in padding)
    if len(pairs) != dimensions or any(len(p) != 2 or min(p) < 0 for p in pairs):
        raise UserError(f"padding {padding}: an int >= 0, or an int or (before, after) for each of {dimensions} axes")
    return stride, pairs


def _per_axis(value, dimensions, name) -> tuple[int, ...]:
    values = (value,) * dimensions if isinstance(value, int) else tuple(value)
    if len(values) != dimensions or min(values) < 1:
        raise UserError(f"{name} {value}: an int >= 1, or one for each of {dimensions} axes")
    return values


def _geometry(x, w, stride, padding):
    if x.ndim not in (3, 4):
        raise UserError(f"array of shape {x.shape}: convolution takes (n, l, c) or (n, h, w, c)")
    if w is not None and w.ndim != x.ndim:
        raise UserError(f"kernel of shape {w.shape}: arrays of shape {x.shape} take one of {x.ndim} axes")
    if len(x) == 0:
        raise UserError(f"array of shape {x.shape}: the batch is empty; pass at least one sample")
    return normalize_geometry(x.ndim - 2, stride, padding)


def _check_fit(size, kernel_size, padding):
    for h, k, p in zip(size, kernel_size, padding, strict=True):
        if h < 1 or h + sum(p) < k:
            raise UserError(f"kernel of size {k}: larger than the padded input of {h} + {sum(p)}; pad more")


def _as_2d(x, w):
    """A sequence is an image of height 1."""
    return (x, w) if x.ndim == 4 else (x[:, None], w[None])


def _geometry_2d(stride, padding):
    return (stride, padding) if len(stride) == 2 else ((1, *stride), ((0, 0), *padding))


def _drop_axis(ndim, y):
    return y if ndim == 4 else y[:, 0]


# The cost model counts multiplications of large matrix products and weighs other work against them.
MOVE = 20  # a number gathered into a matrix, or added back from one
SMALL = 2  # a multiplication by one of Winograd's small matrices


def direct_cost(n: int, kernel_shape, size) -> int:
    """Of im2col and one product, for n images, a kernel (kh, kw, c_in, c_out) and outputs of `size`."""
    *numbers, c_out = kernel_shape
    return n * prod(size) * prod(numbers) * (c_out + MOVE)


def winograd_cost(n: int, kernel_shape, size, plan) -> int:
    """Of the products at the points and the transforms of inputs, outputs and kernel."""
    *_, c_in, c_out = kernel_shape
    tiles = n * prod(plan.tiles(size))
    inputs = sum(prod(group.count) * (SMALL * group.B.size + MOVE * group.B.shape[1]) for group in plan.groups) * c_in
    outputs = (SMALL * plan.C.size + MOVE * plan.C.shape[1]) * c_out
    kernel = SMALL * sum(prod(group.count) * group.G.size for group in plan.groups) * c_in * c_out
    return tiles * (plan.multiplications * c_in * c_out + inputs + outputs) + kernel


def _plan(algorithm, x, kernel_shape, stride, size):
    """Winograd's plan for outputs of `size`, or None for the direct algorithm."""
    if algorithm not in ALGORITHMS:
        raise UserError(f"algorithm {algorithm!r}: must be one of {', '.join(ALGORITHMS)}")
    kernel_size = kernel_shape[:2]
    possible = winograd_plan.applies(kernel_size, stride)
    if algorithm == "winograd" and not possible:
        raise UserError(f"kernel {kernel_size} with stride {stride}: too large for winograd; use --convolution auto")
    if algorithm == "direct" or not possible:
        return None
    plan = winograd_plan.plan_for(x, kernel_size, stride, size)
    if algorithm == "winograd":
        return plan
    pays = winograd_cost(len(x), kernel_shape, size, plan) < direct_cost(len(x), kernel_shape, size)
    return plan if pays else None
