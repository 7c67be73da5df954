"""The trilinear form of convolution by a rank decomposition (Toom-Cook, Winograd): fewer multiplications.

One axis, stride 1, r taps, a tile of m outputs, n = m + r - 1 inputs:

    T(x, w, dy) = sum_{u,i} dy[u] w[i] x[u + i] = sum_q x[q] (w dy)[q]

where w dy is the product of two polynomials with coefficients w[i] and dy[u]. It has n coefficients, and is known
from its values at n - 1 points a and its leading coefficient, "its value at infinity" w[r-1] dy[m-1]. Written as

    T = sum_a (B x)_a (G w)_a (C dy)_a

that takes n multiplications where the sum above has m r:

    C[a, u] = a^u                             the values of dy(t);    at infinity its last coefficient
    G[a, i] = a^i / prod_{b != a} (a - b)     those of w(t), with Lagrange's denominators
    B[a, q] = coefficient q of prod_{b != a} (t - b) over the finite b: Lagrange's numerators, at infinity prod (t - b)

Two axes: tensor products of these matrices. The three partial derivatives of T are convolution and its adjoints:

    correlate(x, w)          = C^T (B x . G w)         products at each point: a matrix product over the channels
    correlate_input(dy, w)   = B^T (C dy . G w)
    correlate_kernel(x, dy)  = G^T (B x . C dy)        summed over tiles

Stride 2 is stride 1 on the phases of x and w: with x_p[q] = x[2 q + p] and w_p[i] = w[2 i + p],

    sum_i w[i] x[2 u + i] = sum_p sum_i w_p[i] x_p[u + i]

so phases are further channels. An odd kernel leaves phase 1 a tap less: its coefficient r - 1 is zero and so is its
product at infinity, which is left out; and a finite point's row of B ends before the last input. A 5x5 kernel with
stride 2 takes (6 + 5)^2 = 121 multiplications for 4x4 outputs instead of 400. Phases with all r taps along an axis
are full there, those with r - 1 half. With phases and points in the order

    (half, full)       (full, full)      (full, half)        (half, half)
    (infinite, finite) (finite, finite)  (finite, infinite)  (infinite, infinite)

every point's products run over one range of the phases, and every phase has one range of points.

Source: Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray, CVPR 2016.
Axes: tiles t of the images n, points a, phases p, channels c in and o out.
"""

from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from minicoulomb.backend import array_module
from minicoulomb.threads import for_each
from minicoulomb.workspace import NoWorkspace

# With infinity the best six for float32 (errors grow with more): largest error 2e-6 to 6e-6 of the largest output.
POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2))

# Numbers in a block of transformed tiles (64 MB in float32): each point's matrix product then has hundreds of rows.
BLOCK_ELEMENTS = 2**24
# Numbers that one call of NumPy makes in a transform (1 MB in float32): they should stay in the processor's cache, and
# take long enough that several threads rarely wait for the interpreter.
PART_ELEMENTS = 2**18


def matrices(taps: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(B, G, C) of one axis in exact fractions: (n, n), (n, taps), (n, outputs), n = taps + outputs - 1 <= 6.

    The last point is infinity.
    """
    n = taps + outputs - 1
    finite = POINTS[: n - 1]
    others = lambda a: [b for b in finite if b != a]
    B = [[*_coefficients(others(a)), Fraction(0)] for a in finite] + [_coefficients(finite)]
    G = [[a**i / prod(a - b for b in others(a)) for i in range(taps)] for a in finite] + [_last(taps)]
    C = [[a**u for u in range(outputs)] for a in finite] + [_last(outputs)]
    return tuple(np.array(rows, object) for rows in (B, G, C))


def _coefficients(roots):
    """Of prod (t - root), lowest power first."""
    coefficients = [Fraction(1)]
    for root in roots:
        coefficients = [low - root * high for low, high in zip([0, *coefficients], [*coefficients, 0])]
    return coefficients


def _last(n):
    return [Fraction(int(i == n - 1)) for i in range(n)]


class Group(NamedTuple):
    """Phases that are full, or half, along the same axes: (start, start + 1, ...) in the order of all phases."""

    start: int
    count: tuple[int, int]
    offset: tuple[int, int]  # of the first: x_p[q] = x[s q + offset]
    inputs: tuple[int, int]  # of a tile, along each axis
    points: slice
    B: Any  # (points, inputs)
    G: Any  # (points, taps)

    def channels(self, c: int) -> slice:
        """Where its phases' channels stand, c for each."""
        return slice(self.start * c, (self.start + prod(self.count)) * c)

    def phases(self):
        """(index, offset) of each."""
        for number, (i, j) in enumerate(np.ndindex(self.count)):
            yield self.start + number, (self.offset[0] + i, self.offset[1] + j)


class Plan(NamedTuple):
    """The decomposition of one geometry, its matrices in one dtype."""

    key: tuple  # what it was made from
    stride: tuple[int, int]
    taps: tuple[int, int]  # r along each axis
    tile: tuple[int, int]  # m along each axis
    groups: tuple[Group, ...]
    phases: int  # in all groups
    points: tuple[slice, ...]  # for each point the range of phases that it multiplies
    C: Any  # (points, outputs)

    @property
    def multiplications(self) -> int:
        """Of a tile, for each pair of channels."""
        return sum(phases.stop - phases.start for phases in self.points)

    def tiles(self, size) -> tuple[int, int]:
        """How many tiles cover outputs of `size`, along each axis."""
        return tuple(-(-u // m) for u, m in zip(size, self.tile))


def applies(kernel_size, stride) -> bool:
    """Whether the points are enough: up to 5 taps along each axis, in each phase."""
    return all(-(-k // s) <= len(POINTS) for k, s in zip(kernel_size, stride))


def plan_for(x, kernel_size, stride, size) -> Plan:
    """The plan for outputs of `size`, in the dtype and library of x, with the fewest multiplications."""
    tile = tuple(_tile_size(k, s, u) for k, s, u in zip(kernel_size, stride, size))
    return make_plan(tuple(kernel_size), tuple(stride), tile, x.dtype, array_module(x))


def _tile_size(kernel_size, stride, outputs):
    taps, groups = _axis_groups(kernel_size, stride)
    cost = lambda m: -(-outputs // m) * sum(count * (m + own - 1) for _, count, own in groups)
    return min(range(1, len(POINTS) + 3 - taps), key=cost)


def _axis_groups(kernel_size, stride):
    """(r, [(first phase, number of phases, taps of each)]) of one axis: the full phases, then the half ones."""
    taps = [len(range(p, kernel_size, stride)) for p in range(min(kernel_size, stride))]
    full = taps.count(taps[0])
    half = [(full, len(taps) - full, taps[-1])] if full < len(taps) else []
    return taps[0], [(0, full, taps[0]), *half]


@lru_cache
def make_plan(kernel_size: tuple[int, int], stride: tuple[int, int], tile: tuple[int, int], dtype, xp) -> Plan:
    """The decomposition for a kernel (kh, kw) and tiles of (mh, mw) outputs; arrays of `xp`."""
    (r0, groups0), (r1, groups1) = (_axis_groups(k, s) for k, s in zip(kernel_size, stride))
    (B0, G0, C0), (B1, G1, C1) = matrices(r0, tile[0]), matrices(r1, tile[1])
    is_infinite = lambda point: (point[0] == len(B0) - 1, point[1] == len(B1) - 1)
    points = sorted(np.ndindex(len(B0), len(B1)), key=lambda point: POINT_ORDER[is_infinite(point)])
    rows = [a * len(B1) + b for a, b in points]
    as_array = lambda matrix: xp.asarray(matrix.astype(dtype))

    is_full = lambda group: (group[0][2] == r0, group[1][2] == r1)
    # At its infinite points an axis has no products with its half phases.
    meet = lambda group, point: all(full or not inf for full, inf in zip(is_full(group), is_infinite(point)))

    groups, of_points, start = [], [[] for _ in points], 0
    for group in sorted(product(groups0, groups1), key=lambda group: PHASE_ORDER[is_full(group)]):
        (p0, n0, t0), (p1, n1, t1) = group
        inputs = len(B0) - (t0 < r0), len(B1) - (t1 < r1)
        own = _range(meet(group, point) for point in points)
        B = np.kron(B0[:, : inputs[0]], B1[:, : inputs[1]])[rows][own]
        G = np.kron(G0[:, :t0], G1[:, :t1])[rows][own]
        groups.append(Group(start, (n0, n1), (p0, p1), inputs, own, as_array(B), as_array(G)))
        for phases in of_points[own]:
            phases += [start, start + n0 * n1]
        start += n0 * n1
    ranges = tuple(slice(min(phases), max(phases)) for phases in of_points)
    C = as_array(np.kron(C0, C1)[rows])
    return Plan((kernel_size, stride, tile), stride, (r0, r1), tile, tuple(groups), start, ranges, C)


POINT_ORDER = {(True, False): 0, (False, False): 1, (False, True): 2, (True, True): 3}  # infinite along each axis
PHASE_ORDER = {(False, True): 0, (True, True): 1, (True, False): 2, (False, False): 3}  # full along each axis


def _range(flags) -> slice:
    """Where flags are true, which they are in one piece."""
    where = [i for i, flag in enumerate(flags) if flag]
    return slice(where[0], where[-1] + 1)


def correlate(x, U, plan, padding, size, workspace=NoWorkspace):
    """y[n,u,v,o] = sum_{i,j,c} w[i,j,c,o] xpad[n, s u + i, s v + j, c] for U = transform_kernel(w).

    x (n, h, w, c), U (points, phases * c, o), padding ((top, bottom), (left, right)), size (u, v) of y.
    """
    xp, c, c_out = array_module(x), x.shape[-1], U.shape[-1]
    tiles = plan.tiles(size)
    y = xp.empty((len(x), *size, c_out), x.dtype)

    def block_of_images(block):
        V = _transform_inputs(x[block], plan, padding, tiles, workspace)  # (a, t, p c)
        M = workspace.empty("products", (*V.shape[:2], c_out), x)  # (a, t, o)

        def multiply(a, channels):
            xp.matmul(V[a, :, channels], U[a, channels], out=M[a])

        _for_each_point(multiply, plan, c)
        _collect_outputs(M, y[block], plan, tiles, workspace)

    for block in _blocks(len(x), BLOCK_ELEMENTS // (prod(tiles) * U[..., 0].size)):
        block_of_images(block)
    return y


def correlate_input(dy, U, plan, padding, size, workspace=NoWorkspace):
    """dx[n, s u + i - top, s v + j - left, c] = sum_{u,v,i,j,o} w[i,j,c,o] dy[n,u,v,o]: the adjoint of correlate in x.

    dy (n, u, v, o), U (points, phases * c, o), size (h, w) of x.
    """
    xp, c = array_module(dy), U.shape[1] // plan.phases
    tiles = plan.tiles(dy.shape[1:3])
    dx = xp.empty((len(dy), *size, c), dy.dtype)

    def block_of_images(block):
        dM = _transform_outputs(dy[block], plan, tiles, workspace)  # (a, t, o)
        dV = workspace.empty("inputs", (*dM.shape[:2], U.shape[1]), dy)  # (a, t, p c)

        def multiply(a, channels):
            xp.matmul(dM[a], U[a, channels].T, out=dV[a, :, channels])

        _for_each_point(multiply, plan, c)
        _collect_inputs(dV, dx[block], plan, padding, tiles, workspace)

    for block in _blocks(len(dy), BLOCK_ELEMENTS // (prod(tiles) * U[..., 0].size)):
        block_of_images(block)
    return dx


def correlate_kernel(x, dy, plan, kernel_size, padding, workspace=NoWorkspace):
    """dw[i,j,c,o] = sum_{n,u,v} xpad[n, s u + i, s v + j, c] dy[n,u,v,o]: the adjoint of correlate in w.

    x (n, h, w, c), dy (n, u, v, o), kernel_size (kh, kw).
    """
    xp, c, c_out, tiles = array_module(x), x.shape[-1], dy.shape[-1], plan.tiles(dy.shape[1:3])
    dw = xp.zeros((*kernel_size, c, c_out), x.dtype)

    def block_of_channels(x, dM, dw):
        V = _transform_inputs(x, plan, padding, tiles, workspace)  # (a, t, p c)
        dU = workspace.empty("kernel", (len(V), V.shape[2], c_out), x)  # (a, p c, o)

        def multiply(a, channels):
            xp.matmul(V[a, :, channels].T, dM[a], out=dU[a, channels])

        _for_each_point(multiply, plan, x.shape[-1])
        _collect_kernel(dU, dw, plan)

    for block in _blocks(len(x), BLOCK_ELEMENTS // (prod(tiles) * len(plan.points) * c_out)):
        dM = _transform_outputs(dy[block], plan, tiles, workspace)  # (a, t, o)
        for part in _blocks(c, BLOCK_ELEMENTS // (len(plan.points) * plan.phases * max(dM.shape[1], c_out))):
            block_of_channels(x[block][..., part], dM, dw[..., part, :])
    return dw


def transformed_shape(w, plan) -> tuple[int, int, int]:
    """(points, phases * c, o) of the kernel's transform."""
    return len(plan.points), plan.phases * w.shape[2], w.shape[3]


def transform_kernel(w, plan, out):
    """U = G w, in `out`, of a kernel (kh, kw, c, o); where products vanish it stays undefined."""
    xp, (_, _, c, c_out) = array_module(w), w.shape

    def transform(part):
        (group, phase, offset), channels = part
        taps = xp.ascontiguousarray(_taps(w, offset, plan.stride)[:, :, channels])
        own = out[group.points, phase * c : (phase + 1) * c][:, channels]
        xp.matmul(group.G, taps.reshape(group.G.shape[1], -1), out=own.reshape(len(own), -1))

    for_each(transform, product(_phases(plan), _blocks(c, PART_ELEMENTS // c_out)))
    return out


def _collect_kernel(dU, dw, plan):
    """dw += G^T dU, the adjoint."""
    c = dw.shape[2]

    def collect(part):
        group, phase, offset = part
        own = dU[group.points, phase * c : (phase + 1) * c]
        taps = _taps(dw, offset, plan.stride)
        taps += (group.G.T @ own.reshape(len(own), -1)).reshape(taps.shape)

    for_each(collect, _phases(plan))


def _transform_inputs(x, plan, padding, tiles, workspace):
    """V = B x, (points, tiles, phases * c); x (n, h, w, c)."""
    xp, c = array_module(x), x.shape[-1]
    V = workspace.empty("inputs", (len(plan.points), len(x) * prod(tiles), plan.phases * c), x)

    def transform(images, own_tiles):
        xpad = workspace.empty("padded", (len(x[images]), *_padded_size(x, plan, padding, tiles), c), x)
        _copy_padded(x[images], xpad, padding)
        for group in plan.groups:
            windows = _windows(xpad, group, plan, tiles)  # (n, ty, tx, q0, q1, p0, p1, c)
            gathered = workspace.empty("gathered", windows.shape, x)
            gathered[...] = windows
            out = V[group.points, own_tiles, group.channels(c)].swapaxes(0, 1)  # (t, a, p c)
            xp.matmul(group.B, gathered.reshape(len(out), group.B.shape[1], -1), out=out)

    _for_each_part(transform, len(x), tiles, V[:, 0].size // len(plan.groups))
    return V


def _collect_inputs(dV, dx, plan, padding, tiles, workspace):
    """dx = B^T dV, the adjoint: tiles overlap and add up."""
    xp, c = array_module(dV), dx.shape[-1]
    (top, _), (left, _) = padding

    def collect(images, own_tiles):
        own = dx[images]
        dxpad = workspace.empty("padded", (len(own), *_padded_size(dx, plan, padding, tiles), c), dx)
        dxpad[...] = 0
        for group in plan.groups:
            windows = _windows(dxpad, group, plan, tiles)  # (n, ty, tx, q0, q1, p0, p1, c)
            gathered = workspace.empty("gathered", windows.shape, dx)
            given = dV[group.points, own_tiles, group.channels(c)].swapaxes(0, 1)  # (t, a, p c)
            xp.matmul(group.B.T, given, out=gathered.reshape(len(given), group.B.shape[1], -1))
            # Windows start a tile apart: within a tile's length they do not overlap.
            for i, j in product(*(_blocks(q, m) for q, m in zip(group.inputs, plan.tile))):
                windows[:, :, :, i, j] += gathered[:, :, :, i, j]
        own[...] = dxpad[:, top : top + dx.shape[1], left : left + dx.shape[2]]

    _for_each_part(collect, len(dx), tiles, dV[:, 0].size // len(plan.groups))


def _transform_outputs(dy, plan, tiles, workspace):
    """dM = C dy, (points, tiles, o); dy (n, u, v, o)."""
    xp, c = array_module(dy), dy.shape[-1]
    dM = workspace.empty("products", (len(plan.points), len(dy) * prod(tiles), c), dy)

    def transform(images, own_tiles):
        whole = dy[images]
        if whole.shape[1:3] != _covered(plan, tiles):
            whole = workspace.empty("padded", (len(whole), *_covered(plan, tiles), c), dy)
            _copy_padded(dy[images], whole, ((0, 0), (0, 0)))
        outputs = _outputs(whole, plan, tiles)  # (n, ty, tx, m0, m1, o)
        gathered = workspace.empty("gathered", outputs.shape, dy)
        gathered[...] = outputs
        out = dM[:, own_tiles].swapaxes(0, 1)  # (t, a, o)
        xp.matmul(plan.C, gathered.reshape(len(out), -1, c), out=out)

    _for_each_part(transform, len(dy), tiles, dM[:, 0].size)
    return dM


def _collect_outputs(M, y, plan, tiles, workspace):
    """y = C^T M, the adjoint; what tiles make beyond y is dropped."""
    xp, (_, u, v, c) = array_module(M), y.shape

    def collect(images, own_tiles):
        exact = (u, v) == _covered(plan, tiles)
        own = y[images]
        whole = own if exact else workspace.empty("padded", (len(own), *_covered(plan, tiles), c), y)
        outputs = _outputs(whole, plan, tiles)  # (n, ty, tx, m0, m1, o)
        gathered = workspace.empty("gathered", outputs.shape, y)
        given = M[:, own_tiles].swapaxes(0, 1)  # (t, a, o)
        xp.matmul(plan.C.T, given, out=gathered.reshape(len(given), -1, c))
        outputs[...] = gathered
        if not exact:
            own[...] = whole[:, :u, :v]

    _for_each_part(collect, len(y), tiles, M[:, 0].size)


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
    """A phase's own taps as a view of w, (r0, r1, c, o)."""
    return w[offset[0] :: stride[0], offset[1] :: stride[1]]


def _phases(plan):
    """(group, index, offset) of every phase."""
    return [(group, *phase) for group in plan.groups for phase in group.phases()]


def _copy_padded(x, xpad, padding):
    """x into the middle of xpad, zeros around it."""
    (top, _), (left, _) = padding
    bottom, right = top + x.shape[1], left + x.shape[2]
    xpad[:, :top] = xpad[:, bottom:] = 0
    xpad[:, top:bottom, :left] = xpad[:, top:bottom, right:] = 0
    xpad[:, top:bottom, left:right] = x


def _padded_size(x, plan, padding, tiles):
    """What all inputs of the tiles and x itself take up."""
    needed = [s * (m * t + r - 1) for s, m, t, r in zip(plan.stride, plan.tile, tiles, plan.taps)]
    return tuple(max(n, p[0] + h) for n, p, h in zip(needed, padding, x.shape[1:3]))


def _covered(plan, tiles):
    """The size of all tiles' outputs."""
    return tiles[0] * plan.tile[0], tiles[1] * plan.tile[1]


def _for_each_point(function, plan, c):
    """function(a, channels) for each point, with the channels of its phases, on all threads."""

    def at(a):
        phases = plan.points[a]
        function(a, slice(phases.start * c, phases.stop * c))

    for_each(at, range(len(plan.points)))


def _for_each_part(function, n, tiles, numbers):
    """function(images, their tiles) for parts of n images with about PART_ELEMENTS, at `numbers` for each tile."""
    count = prod(tiles)
    parts = _blocks(n, PART_ELEMENTS // (count * numbers))
    for_each(lambda part: function(part, slice(part.start * count, part.stop * count)), parts)


def _blocks(n, length):
    length = max(1, length)
    return [slice(start, min(n, start + length)) for start in range(0, n, length)]
