"""The trilinear form of convolution as a sum of few products: Toom-Cook, in exact fractions.

One axis, stride 1, r taps, a tile of m outputs, n = m + r - 1 inputs:

    T(x, w, dy) = sum_{u,i} dy[u] w[i] x[u + i] = sum_q x[q] (w dy)[q]

where w dy is the product of two polynomials with coefficients w[i] and dy[u]. It has n coefficients, and is known
from its values at n - 1 points a and its leading coefficient, "its value at infinity" w[r-1] dy[m-1]. Written as

    T = sum_a (B x)_a (G w)_a (C dy)_a

that takes n multiplications where the sum above has m r:

    C[a, u] = a^u                             the values of dy(t);    at infinity its last coefficient
    G[a, i] = a^i / prod_{b != a} (a - b)     those of w(t), with Lagrange's denominators
    B[a, q] = coefficient q of prod_{b != a} (t - b) over the finite b: Lagrange's numerators, at infinity prod (t - b)

Two axes: tensor products of these matrices.

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
Axes: points a, inputs q, outputs u, taps i, phases p.
"""

from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from minicoulomb.arrays.backend import on_gpu
from minicoulomb.conv import cost_cuda
from minicoulomb.errors import UserError

ALGORITHMS = ("auto", "direct", "winograd")

# With infinity the best six and eight for float32. Errors grow with the points of both axes: in images with six along
# each the largest is 2e-6 to 6e-6 of the largest output, in sequences with eight 2e-6.
POINTS = tuple(Fraction(n) / 2 for n in (0, 2, -2, 1, -4, 4, -1))
MOST_OF_IMAGES, MOST_OF_SEQUENCES = 6, len(POINTS) + 1
TAPS = 5


def matrices(taps: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(B, G, C) of one axis in exact fractions: (n, n), (n, taps), (n, outputs), n = taps + outputs - 1 <= 8.

    The last point is infinity.
    """
    n = taps + outputs - 1
    finite = POINTS[: n - 1]
    others = lambda a: [b for b in finite if b != a]
    B = [[*_coefficients(others(a)), Fraction(0)] for a in finite] + [_coefficients(finite)]
    G = [[a**i / prod(a - b for b in others(a)) for i in range(taps)] for a in finite] + [_last(taps)]
    C = [[a**u for u in range(outputs)] for a in finite] + [_last(outputs)]
    return np.array(B, object), np.array(G, object), np.array(C, object)


def _coefficients(roots):
    """The coefficients of prod (t - root), lowest power first."""
    coefficients = [Fraction(1)]
    for root in roots:
        coefficients = [low - root * high for low, high in zip([0, *coefficients], [*coefficients, 0])]
    return coefficients


def _last(n):
    return [Fraction(int(i == n - 1)) for i in range(n)]


class Group(NamedTuple):
    """Phases that are full, or half, along the same axes: (start, start + 1, ...) in the order of all phases."""

    start: int
    count: tuple[int, int]  # type: ignore[assignment]  # hides the method of tuples
    offset: tuple[int, int]  # of the first: x_p[q] = x[s q + offset]
    inputs: tuple[int, int]  # of a tile, along each axis
    points: slice
    B: np.ndarray  # (points, inputs)
    G: np.ndarray  # (points, taps)

    def channels(self, c: int) -> slice:
        """The channels of its phases, c for each."""
        return slice(self.start * c, (self.start + prod(self.count)) * c)

    def phases(self):
        """(index, offset) of each phase."""
        for number, (i, j) in enumerate(np.ndindex(self.count)):
            yield self.start + number, (self.offset[0] + i, self.offset[1] + j)


class Plan(NamedTuple):
    """The decomposition of one geometry, its matrices in one dtype, on the host."""

    key: tuple  # the arguments of make_plan, but dtype
    stride: tuple[int, int]
    taps: tuple[int, int]  # r along each axis
    tile: tuple[int, int]  # m along each axis
    groups: tuple[Group, ...]
    phases: int  # in all groups
    points: tuple[slice, ...]  # for each point the range of phases that it multiplies
    C: np.ndarray  # (points, outputs)

    @property
    def multiplications(self) -> int:
        """The number of multiplications of a tile, for each pair of channels."""
        return sum(phases.stop - phases.start for phases in self.points)

    @property
    def bands(self) -> list[tuple[slice, slice]]:
        """(points, their phases): the points that multiply the same range of phases, in one piece each."""
        starts = [a for a, phases in enumerate(self.points) if a == 0 or phases != self.points[a - 1]]
        stops = [*starts[1:], len(self.points)]
        return [(slice(start, stop), self.points[start]) for start, stop in zip(starts, stops)]

    def tiles(self, size) -> tuple[int, int]:
        """How many tiles cover outputs of `size`, along each axis."""
        return tuple(-(-u // m) for u, m in zip(size, self.tile))


def applies(kernel_size, stride) -> bool:
    """Whether the points are enough: up to 5 taps along each axis, in each phase."""
    return all(-(-k // s) <= TAPS for k, s in zip(kernel_size, stride))


def plan_for(x, kernel_size, stride, size) -> Plan:
    """The plan for outputs of `size`, in the dtype of x, with the fewest multiplications."""
    most = MOST_OF_SEQUENCES if 1 in kernel_size else MOST_OF_IMAGES
    tile = tuple(_tile_size(k, s, u, most) for k, s, u in zip(kernel_size, stride, size))
    return make_plan(tuple(kernel_size), tuple(stride), tile, x.dtype)


def _tile_size(kernel_size, stride, outputs, most):
    """The number of outputs of a tile along an axis, with at most so many points."""
    taps, groups = _axis_groups(kernel_size, stride)
    cost = lambda m: -(-outputs // m) * sum(count * (m + r - 1) for _, count, r in groups)
    return min(range(1, most + 2 - taps), key=cost)


def _axis_groups(kernel_size, stride):
    """(r, [(first phase, number of phases, taps of each)]) of one axis: the full phases, then the half ones."""
    taps = [len(range(p, kernel_size, stride)) for p in range(min(kernel_size, stride))]
    full = taps.count(taps[0])
    half = [(full, len(taps) - full, taps[-1])] if full < len(taps) else []
    return taps[0], [(0, full, taps[0]), *half]


@lru_cache
def make_plan(kernel_size: tuple[int, int], stride: tuple[int, int], tile: tuple[int, int], dtype) -> Plan:
    """The decomposition for a kernel (kh, kw) and tiles of (mh, mw) outputs."""
    (r0, groups0), (r1, groups1) = (_axis_groups(k, s) for k, s in zip(kernel_size, stride))
    (B0, G0, C0), (B1, G1, C1) = matrices(r0, tile[0]), matrices(r1, tile[1])
    is_infinite = lambda point: (point[0] == len(B0) - 1, point[1] == len(B1) - 1)
    points = sorted(np.ndindex(len(B0), len(B1)), key=lambda point: POINT_ORDER[is_infinite(point)])
    rows = [a * len(B1) + b for a, b in points]
    in_dtype = lambda matrix: matrix.astype(dtype)

    is_full = lambda group: (group[0][2] == r0, group[1][2] == r1)
    # At its infinite points an axis has no products with its half phases.
    meet = lambda group, point: all(full or not inf for full, inf in zip(is_full(group), is_infinite(point)))

    groups, of_points, start = [], [[] for _ in points], 0
    for group in sorted(product(groups0, groups1), key=lambda group: PHASE_ORDER[is_full(group)]):
        (p0, n0, t0), (p1, n1, t1) = group
        inputs = len(B0) - (t0 < r0), len(B1) - (t1 < r1)
        multiplied = _range(meet(group, point) for point in points)
        B = np.kron(B0[:, : inputs[0]], B1[:, : inputs[1]])[rows][multiplied]
        G = np.kron(G0[:, :t0], G1[:, :t1])[rows][multiplied]
        groups.append(Group(start, (n0, n1), (p0, p1), inputs, multiplied, in_dtype(B), in_dtype(G)))
        for phases in of_points[multiplied]:
            phases += [start, start + n0 * n1]
        start += n0 * n1
    ranges = tuple(slice(min(phases), max(phases)) for phases in of_points)
    C = in_dtype(np.kron(C0, C1)[rows])
    return Plan((kernel_size, stride, tile), stride, (r0, r1), tile, tuple(groups), start, ranges, C)


POINT_ORDER = {(True, False): 0, (False, False): 1, (False, True): 2, (True, True): 3}  # infinite along each axis
PHASE_ORDER = {(False, True): 0, (True, True): 1, (True, False): 2, (False, False): 3}  # full along each axis


def _range(flags) -> slice:
    """The range in which flags are true, one piece."""
    where = [i for i, flag in enumerate(flags) if flag]
    return slice(where[0], where[-1] + 1)


# The cost model of a host counts multiplications of large matrix products and weighs other work against them.
MOVE = 20  # a number gathered into a matrix, or added back from one
SMALL = 2  # a multiplication by one of Winograd's small matrices


def direct_cost(n: int, kernel_shape, size) -> int:
    """The cost of im2col and one product, for n images, a kernel (kh, kw, c_in, c_out) and outputs of `size`."""
    *numbers, c_out = kernel_shape
    return n * prod(size) * prod(numbers) * (c_out + MOVE)


def winograd_cost(n: int, kernel_shape, size, plan: Plan) -> int:
    """The cost of the products at the points and of the transforms of inputs, outputs and kernel."""
    *_, c_in, c_out = kernel_shape
    tiles = n * prod(plan.tiles(size))
    inputs = sum(prod(group.count) * (SMALL * group.B.size + MOVE * group.B.shape[1]) for group in plan.groups) * c_in
    outputs = (SMALL * plan.C.size + MOVE * plan.C.shape[1]) * c_out
    kernel = SMALL * sum(prod(group.count) * group.G.size for group in plan.groups) * c_in * c_out
    return tiles * (plan.multiplications * c_in * c_out + inputs + outputs) + kernel


def choose(algorithm: str, x, kernel_shape, stride, size) -> Plan | None:
    """Winograd's plan for images x and outputs of `size`, or None for the direct algorithm."""
    if algorithm not in ALGORITHMS:
        raise UserError(f"algorithm {algorithm!r}: must be one of {', '.join(ALGORITHMS)}")
    kernel_size = kernel_shape[:2]
    possible = applies(kernel_size, stride)
    if algorithm == "winograd" and not possible:
        raise UserError(f"kernel {kernel_size} with stride {stride}: too large for winograd; use algorithm auto")
    if algorithm == "direct" or not possible:
        return None
    plan = plan_for(x, kernel_size, stride, size)
    if algorithm == "winograd":
        return plan
    if on_gpu(x):
        return plan if cost_cuda.winograd_pays(x, kernel_shape, size, plan) else None
    pays = winograd_cost(len(x), kernel_shape, size, plan) < direct_cost(len(x), kernel_shape, size)
    return plan if pays else None
