"""Convolution with fewer multiplications: the trilinear form T through the decomposition of winograd_plan.py.

    T(x, w, dy) = sum_a (B x)_a (G w)_a (C dy)_a        for every tile of outputs, points a of both axes

Each of its three partial derivatives takes two transforms into the space of points, products at each point, which
are matrix products over the channels, and one transform back:

    correlate(x, w)          = C^T (B x . G w)
    correlate_input(dy, w)   = B^T (C dy . G w)
    correlate_kernel(x, dy)  = G^T (B x . C dy)        summed over tiles

A phase of the stride is a further channel. Transforms are small matrix products too, on numbers gathered tile by
tile; the products at a point have as many rows as a block of images has tiles.

Source: Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray, CVPR 2016.
Axes: tiles t of the images n, points a, phases p, channels c in and o out.
"""

from itertools import product
from math import prod

from minicoulomb.arrays.backend import array_module, on_gpu
from minicoulomb.arrays.blocks import blocks
from minicoulomb.arrays.matmul import batched_matmul
from minicoulomb.arrays.threads import for_each
from minicoulomb.arrays.workspace import NoWorkspace
from minicoulomb.conv import winograd_cuda as kernels

# Numbers in a block of transformed tiles (64 MB in float32): each point's matrix product then has hundreds of rows.
BLOCK_ELEMENTS = 2**24
# Numbers that one call of NumPy makes in a transform (1 MB in float32).
PART_ELEMENTS = 2**18
# Multiplications of a matrix product up to which OpenBLAS takes about half as long for each (measured with 0.3.31).
SMALL_PRODUCT = 10**6


class Kernel:
    """A kernel for the passes of one step, which share its transform; valid while the array w does not change.

    It takes the place of w in `correlate` and `correlate_input`. Work buffers come from `workspace`; with `keep` off,
    every pass transforms anew.
    """

    def __init__(self, w, workspace=NoWorkspace, keep: bool = True):
        self.w, self.workspace, self._keep = w, workspace, keep
        self._transforms = {}
        self._images: Kernel | None = None

    @classmethod
    def of(cls, w) -> "Kernel":
        """The kernel of one pass, for an array or a kernel."""
        if not isinstance(w, Kernel):
            return cls(w)
        return w if w._keep else cls(w.w, w.workspace)

    def on_images(self) -> "Kernel":
        """The kernel (k, c, o) of sequences as one of images of height 1, (1, k, c, o)."""
        self._images = self._images or Kernel(self.w[None], self.workspace)
        return self._images

    def transformed(self, plan):
        """U of `transform_kernel` for this plan."""
        if plan.key not in self._transforms:
            U = self.workspace.borrow(transformed_shape(self.w, plan), self.w, owner=self)
            self._transforms[plan.key] = transform_kernel(self.w, plan, out=U)
        return self._transforms[plan.key]


def correlate(x, U, plan, padding, size, workspace=NoWorkspace):
    """y[n,u,v,o] = sum_{i,j,c} w[i,j,c,o] xpad[n, s u + i, s v + j, c] for U = transform_kernel(w).

    x (n, h, w, c), U (points, phases * c, o), padding ((top, bottom), (left, right)), size (u, v) of y.
    """
    xp, c, c_out = array_module(x), x.shape[-1], U.shape[-1]
    tiles = plan.tiles(size)
    y = xp.empty((len(x), *size, c_out), x.dtype)
    for block in blocks(len(x), prod(tiles) * U[..., 0].size, x, BLOCK_ELEMENTS):
        V = _transform_inputs(x[block], plan, padding, tiles, workspace)  # (a, t, p c)
        M = workspace.empty("products", (*V.shape[:2], c_out), x)  # (a, t, o)
        batched_matmul((V[points, :, band], U[points, band], M[points]) for points, band in _bands(plan, c))
        _collect_outputs(M, y[block], plan, tiles, workspace)
    return y


def correlate_input(dy, U, plan, padding, size, workspace=NoWorkspace):
    """dx[n, s u + i - top, s v + j - left, c] = sum_{u,v,i,j,o} w[i,j,c,o] dy[n,u,v,o]: the adjoint of correlate in x.

    dy (n, u, v, o), U (points, phases * c, o), size (h, w) of x.
    """
    xp, c = array_module(dy), U.shape[1] // plan.phases
    tiles = plan.tiles(dy.shape[1:3])
    dx = xp.empty((len(dy), *size, c), dy.dtype)
    for block in blocks(len(dy), prod(tiles) * U[..., 0].size, dy, BLOCK_ELEMENTS):
        dM = _transform_outputs(dy[block], plan, tiles, workspace)  # (a, t, o)
        dV = workspace.empty("inputs", (*dM.shape[:2], U.shape[1]), dy)  # (a, t, p c)
        transposed, bands = U.swapaxes(1, 2), _bands(plan, c)  # (a, o, p c)
        batched_matmul((dM[points], transposed[points, :, band], dV[points, :, band]) for points, band in bands)
        _collect_inputs(dV, dx[block], plan, padding, tiles, workspace)
    return dx


def correlate_kernel(x, dy, plan, kernel_size, padding, workspace=NoWorkspace):
    """dw[i,j,c,o] = sum_{n,u,v} xpad[n, s u + i, s v + j, c] dy[n,u,v,o]: the adjoint of correlate in w.

    x (n, h, w, c), dy (n, u, v, o), kernel_size (kh, kw).
    """
    xp, c, c_out, tiles = array_module(x), x.shape[-1], dy.shape[-1], plan.tiles(dy.shape[1:3])
    dw = (xp.empty if on_gpu(x) else xp.zeros)((*kernel_size, c, c_out), x.dtype)
    numbers = len(plan.points) * max(c_out, plan.phases * c if on_gpu(x) else 0)
    for block in blocks(len(x), prod(tiles) * numbers, x, BLOCK_ELEMENTS):
        dM = _transform_outputs(dy[block], plan, tiles, workspace)  # (a, t, o)
        limit = BLOCK_ELEMENTS // (len(plan.points) * plan.phases * max(dM.shape[1], c_out))
        for part in [slice(c)] if on_gpu(x) else blocks(c, 1, x, limit):
            V = _transform_inputs(x[block][..., part], plan, padding, tiles, workspace)  # (a, t, p c)
            dU = workspace.empty("kernel", (len(V), V.shape[2], c_out), x)  # (a, p c, o)
            bands = _bands(plan, V.shape[2] // plan.phases)
            batched_matmul((V[points, :, band].swapaxes(1, 2), dM[points], dU[points, band]) for points, band in bands)
            _collect_kernel(dU, dw[..., part, :], plan, is_first=block.start == 0)
    return dw


def transformed_shape(w, plan) -> tuple[int, int, int]:
    """(points, phases * c, o) of the kernel's transform."""
    return len(plan.points), plan.phases * w.shape[2], w.shape[3]


def transform_kernel(w, plan, out):
    """U = G w, in `out`, of a kernel (kh, kw, c, o); where products vanish it stays undefined."""
    xp, c = array_module(w), w.shape[2]
    if on_gpu(w):
        kernels.transform_kernel(xp.ascontiguousarray(w), out, plan)
        return out

    def transform(part):
        group, phase, offset, channels = part
        taps = xp.ascontiguousarray(_taps(w, offset, plan.stride)[:, :, channels])
        U = out[group.points, phase * c : (phase + 1) * c][:, channels]
        xp.matmul(group.G, taps.reshape(group.G.shape[1], -1), out=U.reshape(len(U), -1))

    for_each(transform, _kernel_parts(plan, w))
    return out


def _collect_kernel(dU, dw, plan, is_first):
    """dw += G^T dU, the adjoint; on a GPU nothing is in dw yet if `is_first`."""
    if on_gpu(dw):
        return kernels.collect_kernel(dU, dw, plan, is_first)
    c = dw.shape[2]

    def collect(part):
        group, phase, offset, channels = part
        of_phase = dU[group.points, phase * c : (phase + 1) * c][:, channels]
        taps = _taps(dw, offset, plan.stride)[:, :, channels]
        taps += (group.G.T @ of_phase.reshape(len(of_phase), -1)).reshape(taps.shape)

    for_each(collect, _kernel_parts(plan, dw))


def _transform_inputs(x, plan, padding, tiles, workspace):
    """V = B x, (points, tiles, phases * c); x (n, h, w, c)."""
    xp, c = array_module(x), x.shape[-1]
    V = workspace.empty("inputs", (len(plan.points), len(x) * prod(tiles), plan.phases * c), x)
    if on_gpu(x):
        kernels.transform_inputs(xp.ascontiguousarray(x), V, plan, padding, tiles)
        return V

    def transform(images, tiles_of_images):
        xpad = workspace.empty("padded", (len(x[images]), *_padded_size(x, plan, padding, tiles), c), x)
        _copy_padded(x[images], xpad, padding)
        for group in plan.groups:
            windows = _windows(xpad, group, plan, tiles)  # (n, ty, tx, q0, q1, p0, p1, c)
            gathered = workspace.empty("gathered", windows.shape, x)
            gathered[...] = windows
            out = V[group.points, tiles_of_images, group.channels(c)].swapaxes(0, 1)  # (t, a, p c)
            xp.matmul(group.B, gathered.reshape(len(out), group.B.shape[1], -1), out=out)

    _for_each_part(transform, x, tiles, V[:, 0].size // len(plan.groups))
    return V


def _collect_inputs(dV, dx, plan, padding, tiles, workspace):
    """dx = B^T dV, the adjoint: tiles overlap and add up."""
    if on_gpu(dx):
        return kernels.collect_inputs(dV, dx, plan, padding, tiles)
    xp, c = array_module(dV), dx.shape[-1]
    (top, _), (left, _) = padding

    def collect(images, tiles_of_images):
        dxpad = workspace.empty("padded", (len(dx[images]), *_padded_size(dx, plan, padding, tiles), c), dx)
        dxpad[...] = 0
        for group in plan.groups:
            windows = _windows(dxpad, group, plan, tiles)  # (n, ty, tx, q0, q1, p0, p1, c)
            gathered = workspace.empty("gathered", windows.shape, dx)
            at_points = dV[group.points, tiles_of_images, group.channels(c)].swapaxes(0, 1)  # (t, a, p c)
            xp.matmul(group.B.T, at_points, out=gathered.reshape(len(at_points), group.B.shape[1], -1))
            # Windows start a tile apart: within a tile's length they do not overlap.
            for i, j in product(*(blocks(q, 1, dx, m) for q, m in zip(group.inputs, plan.tile))):
                windows[:, :, :, i, j] += gathered[:, :, :, i, j]
        dx[images] = dxpad[:, top : top + dx.shape[1], left : left + dx.shape[2]]

    _for_each_part(collect, dx, tiles, dV[:, 0].size // len(plan.groups))


def _transform_outputs(dy, plan, tiles, workspace):
    """dM = C dy, (points, tiles, o); dy (n, u, v, o)."""
    xp, c = array_module(dy), dy.shape[-1]
    dM = workspace.empty("products", (len(plan.points), len(dy) * prod(tiles), c), dy)
    if on_gpu(dy):
        kernels.transform_outputs(xp.ascontiguousarray(dy), dM, plan, tiles)
        return dM

    def transform(images, tiles_of_images):
        whole = dy[images]
        if whole.shape[1:3] != _covered(plan, tiles):
            whole = workspace.empty("padded", (len(whole), *_covered(plan, tiles), c), dy)
            _copy_padded(dy[images], whole, ((0, 0), (0, 0)))
        outputs = _outputs(whole, plan, tiles)  # (n, ty, tx, m0, m1, o)
        gathered = workspace.empty("gathered", outputs.shape, dy)
        gathered[...] = outputs
        out = dM[:, tiles_of_images].swapaxes(0, 1)  # (t, a, o)
        xp.matmul(plan.C, gathered.reshape(len(out), -1, c), out=out)

    _for_each_part(transform, dy, tiles, dM[:, 0].size)
    return dM


def _collect_outputs(M, y, plan, tiles, workspace):
    """y = C^T M, the adjoint; outputs of the tiles beyond y are dropped."""
    if on_gpu(y):
        return kernels.collect_outputs(M, y, plan, tiles)
    xp, (_, u, v, c) = array_module(M), y.shape

    def collect(images, tiles_of_images):
        exact = (u, v) == _covered(plan, tiles)
        whole = y[images] if exact else workspace.empty("padded", (len(y[images]), *_covered(plan, tiles), c), y)
        outputs = _outputs(whole, plan, tiles)  # (n, ty, tx, m0, m1, o)
        gathered = workspace.empty("gathered", outputs.shape, y)
        at_points = M[:, tiles_of_images].swapaxes(0, 1)  # (t, a, o)
        xp.matmul(plan.C.T, at_points, out=gathered.reshape(len(at_points), -1, c))
        outputs[...] = gathered
        if not exact:
            y[images] = whole[:, :u, :v]

    _for_each_part(collect, y, tiles, M[:, 0].size)


def _windows(xpad, group, plan, tiles):
    """The inputs of each tile as a view, (n, ty, tx, q0, q1, p0, p1, c): tiles start m apart and overlap."""
    (p0, p1), (s0, s1), (m0, m1) = group.offset, plan.stride, plan.tile
    n, h, w, c = xpad.strides
    shape = len(xpad), *tiles, *group.inputs, *group.count, xpad.shape[-1]
    strides = n, h * s0 * m0, w * s1 * m1, h * s0, w * s1, h, w, c
    return array_module(xpad).lib.stride_tricks.as_strided(xpad[:, p0:, p1:], shape, strides)


def _outputs(y, plan, tiles):
    """The outputs of each tile as a view, (n, ty, tx, m0, m1, o), of y (n, ty m0, tx m1, o)."""
    n, _, _, c = y.shape
    return y.reshape(n, tiles[0], plan.tile[0], tiles[1], plan.tile[1], c).swapaxes(2, 3)


def _taps(w, offset, stride):
    """A phase's taps as a view of w, (r0, r1, c, o)."""
    return w[offset[0] :: stride[0], offset[1] :: stride[1]]


def _kernel_parts(plan, w):
    """(group, index, offset, input channels) of parts of every phase of the kernel w, each a SMALL_PRODUCT."""
    (c, c_out), phases = w.shape[2:], [(group, *phase) for group in plan.groups for phase in group.phases()]
    return [(*phase, part) for phase in phases for part in blocks(c, c_out * phase[0].G.size, w, SMALL_PRODUCT)]


def _copy_padded(x, xpad, padding):
    """x into the middle of xpad, zeros around it."""
    (top, _), (left, _) = padding
    bottom, right = top + x.shape[1], left + x.shape[2]
    xpad[:, :top] = xpad[:, bottom:] = 0
    xpad[:, top:bottom, :left] = xpad[:, top:bottom, right:] = 0
    xpad[:, top:bottom, left:right] = x


def _padded_size(x, plan, padding, tiles):
    """The size that holds all inputs of the tiles, and x."""
    needed = [s * (m * t + r - 1) for s, m, t, r in zip(plan.stride, plan.tile, tiles, plan.taps)]
    return tuple(max(n, p[0] + h) for n, p, h in zip(needed, padding, x.shape[1:3]))


def _covered(plan, tiles):
    """The size of all tiles' outputs."""
    return tiles[0] * plan.tile[0], tiles[1] * plan.tile[1]


def _bands(plan, c):
    """(points, channels of their phases): the points that multiply the same channels, in one piece each."""
    return [(points, slice(phases.start * c, phases.stop * c)) for points, phases in plan.bands]


def _for_each_part(function, x, tiles, numbers):
    """function(images, their tiles) on parts of the images x with about PART_ELEMENTS, `numbers` in each tile."""
    count = prod(tiles)
    parts = blocks(len(x), count * numbers, x, PART_ELEMENTS)
    for_each(lambda part: function(part, slice(part.start * count, part.stop * count)), parts)
