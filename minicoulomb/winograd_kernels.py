"""The transforms of winograd.py on a GPU, each in one pass over memory.

A thread has one tile (or one kernel) and one channel. It reads its numbers from where they lie, in x, w or the space
of points, multiplies them by the small matrix, and writes the results to where they belong: nothing is padded or
gathered in between. The matrix is part of the code, number by number, without its zeros. Neighbouring threads have
neighbouring channels, so all of them read and write neighbouring numbers.

    transform_inputs     V = B x          collect_inputs     dx = B^T dV      its adjoint
    transform_outputs    dM = C dy        collect_outputs    y = C^T M
    transform_kernel     U = G w          collect_kernel     dw += G^T dU

Tiles of inputs overlap. Their adjoint is computed from the side of dx: a thread adds up what the tiles before its
own along each axis say of its numbers, so no two threads write the same one, and the order of the sum is fixed.
"""

from functools import lru_cache
from itertools import product
from math import prod

import numpy as np

from minicoulomb.fused import Fused
from minicoulomb.toom_cook import make_plan

# `step` is how many numbers lie between a point and the next.
_IMAGES = "int32 height, int32 width, int32 channels, int32 tiles0, int32 tiles1, int32 top, int32 left"


def transform_inputs(x, V, plan, padding, tiles):
    """V (points, tiles, phases * c) of x (n, h, w, c)."""
    n, *sizes = x.shape
    for group, kernel in zip(plan.groups, _input_transforms(*plan.key)):
        threads = n * prod(tiles) * prod(group.count) * sizes[-1]
        kernel(x, *sizes, *tiles, padding[0][0], padding[1][0], V[0].size, V, size=threads)


def collect_inputs(dV, dx, plan, padding, tiles):
    """dx (n, h, w, c) of dV (points, tiles, phases * c)."""
    n, *sizes = dx.shape
    if plan.phases < prod(plan.stride):
        dx[...] = 0  # between the taps of a kernel smaller than its stride
    for group, kernel in zip(plan.groups, _input_adjoints(*plan.key)):
        begins = padding[0][0], padding[1][0]
        blocks = [
            -(-(h + begin - offset) // (s * m))
            for h, begin, offset, s, m in zip(sizes, begins, group.offset, plan.stride, plan.tile)
        ]
        threads = n * prod(blocks) * prod(group.count) * sizes[-1]
        if threads > 0:
            kernel(dV, *sizes, *tiles, *begins, *blocks, dV[0].size, dx, size=threads)


def transform_outputs(dy, dM, plan, tiles):
    """dM (points, tiles, o) of dy (n, u, v, o)."""
    n, *sizes = dy.shape
    _output_transform(*plan.key)(dy, *sizes, *tiles, 0, 0, dM[0].size, dM, size=n * prod(tiles) * sizes[-1])


def collect_outputs(M, y, plan, tiles):
    """y (n, u, v, o) of M (points, tiles, o)."""
    n, *sizes = y.shape
    _output_adjoint(*plan.key)(M, *sizes, *tiles, 0, 0, M[0].size, y, size=n * prod(tiles) * sizes[-1])


def transform_kernel(w, U, plan):
    """U (points, phases * c, o) of w (kh, kw, c, o)."""
    _, width, c, c_out = w.shape
    for group, kernel in zip(plan.groups, _kernel_transforms(*plan.key)):
        kernel(w, width, c, c_out, U[0].size, U, size=prod(group.count) * c * c_out)


def collect_kernel(dU, dw, plan):
    """dw (kh, kw, c, o) += what dU (points, phases * c, o) says of it."""
    _, width, c, c_out = dw.shape
    for group, kernel in zip(plan.groups, _kernel_adjoints(*plan.key)):
        kernel(dU, width, c, c_out, dU[0].size, dw, size=prod(group.count) * c * c_out)


@lru_cache
def _input_transforms(*key):
    plan = _plan(key)
    return [
        Fused(
            f"raw T x, {_IMAGES}, int64 step",
            "raw T V",
            _thread(("k", "channels"), ("phase", prod(group.count)), ("tx", "tiles1"), ("ty", "tiles0"))
            + _position(group, plan)
            + "const ptrdiff_t begin = rest * ptrdiff_t(height) * width * channels + k;\n"
            + "const ptrdiff_t tile = (rest * ptrdiff_t(tiles0) + ty) * tiles1 + tx;\n"
            + f"const ptrdiff_t at = (tile * {plan.phases} + {group.start} + phase) * channels + k;\n"
            + _load(
                [
                    _inside(f"row + {plan.stride[0] * i}", f"column + {plan.stride[1] * j}", "x")
                    for i, j in np.ndindex(group.inputs)
                ]
            )
            + _store(group.B, [f"V[{a} * step + at] = {{}};\n" for a in _numbers(group.points)]),
            "winograd_transform_inputs",
        )
        for group in plan.groups
    ]


@lru_cache
def _input_adjoints(*key):
    plan = _plan(key)
    return [
        Fused(
            f"raw T dV, {_IMAGES}, int32 blocks0, int32 blocks1, int64 step",
            "raw T dx",
            _thread(("k", "channels"), ("phase", prod(group.count)), ("tx", "blocks1"), ("ty", "blocks0"))
            + _position(group, plan)
            + "const ptrdiff_t begin = rest * ptrdiff_t(height) * width * channels + k;\n"
            + "".join(f"T sum{i}_{j} = 0;\n" for i, j in np.ndindex(plan.tile))
            + _sums_over_tiles(group, plan)
            + "".join(
                f"if (row + {plan.stride[0] * i} >= 0 && row + {plan.stride[0] * i} < height"
                f" && column + {plan.stride[1] * j} >= 0 && column + {plan.stride[1] * j} < width)\n"
                f"  dx[begin + ((row + {plan.stride[0] * i}) * ptrdiff_t(width) + column + {plan.stride[1] * j})"
                f" * channels] = sum{i}_{j};\n"
                for i, j in np.ndindex(plan.tile)
            ),
            "winograd_collect_inputs",
        )
        for group in plan.groups
    ]


def _sums_over_tiles(group, plan):
    """C++ that adds up, for the block (ty, tx) of a tile's length, what the tiles that reach into it say of it."""
    code = ""
    for back in np.ndindex(*(-(-q // m) for q, m in zip(group.inputs, plan.tile))):
        terms = ""
        for a, row in zip(_numbers(group.points), group.B):
            own = row.reshape(group.inputs)[tuple(slice(k * m, (k + 1) * m) for k, m in zip(back, plan.tile))]
            if own.any():
                terms += f"  const T point{a} = dV[{a} * step + at];\n"
                terms += "".join(
                    f"  sum{i}_{j} += T({float(factor)!r}) * point{a};\n" for (i, j), factor in np.ndenumerate(own) if factor
                )
        code += (
            f"if (ty >= {back[0]} && ty - {back[0]} < tiles0 && tx >= {back[1]} && tx - {back[1]} < tiles1) {{\n"
            f"  const ptrdiff_t tile = (rest * ptrdiff_t(tiles0) + ty - {back[0]}) * tiles1 + tx - {back[1]};\n"
            f"  const ptrdiff_t at = (tile * {plan.phases} + {group.start} + phase) * channels + k;\n{terms}}}\n"
        )
    return code


@lru_cache
def _output_transform(*key):
    plan = _plan(key)
    return Fused(
        f"raw T dy, {_IMAGES}, int64 step",
        "raw T dM",
        _output_thread(plan)
        + _load([_inside(f"row + {i}", f"column + {j}", "dy") for i, j in np.ndindex(plan.tile)])
        + _store(plan.C, [f"dM[{a} * step + at] = {{}};\n" for a in range(len(plan.C))]),
        "winograd_transform_outputs",
    )


@lru_cache
def _output_adjoint(*key):
    plan = _plan(key)
    return Fused(
        f"raw T M, {_IMAGES}, int64 step",
        "raw T y",
        _output_thread(plan)
        + _load([f"M[{a} * step + at]" for a in range(len(plan.C))])
        + _store(
            plan.C.T,
            [
                f"if (row + {i} < height && column + {j} < width)\n"
                f"  y[begin + ((row + {i}) * ptrdiff_t(width) + column + {j}) * channels] = {{}};\n"
                for i, j in np.ndindex(plan.tile)
            ],
        ),
        "winograd_collect_outputs",
    )


@lru_cache
def _kernel_transforms(*key):
    plan = _plan(key)
    return [
        Fused(
            "raw T w, int32 width, int32 channels, int32 outputs, int64 step",
            "raw T U",
            _kernel_thread(group)
            + _load([f"w[{place}]" for place in _taps(group, plan)])
            + _store(group.G, [f"U[{a} * step + at] = {{}};\n" for a in _numbers(group.points)]),
            "winograd_transform_kernel",
        )
        for group in plan.groups
    ]


@lru_cache
def _kernel_adjoints(*key):
    plan = _plan(key)
    return [
        Fused(
            "raw T dU, int32 width, int32 channels, int32 outputs, int64 step",
            "raw T dw",
            _kernel_thread(group)
            + _load([f"dU[{a} * step + at]" for a in _numbers(group.points)])
            + _store(group.G.T, [f"dw[{place}] += {{}};\n" for place in _taps(group, plan)]),
            "winograd_collect_kernel",
        )
        for group in plan.groups
    ]


def _plan(key):
    return make_plan(*key, np.dtype(np.float64))


def _thread(*axes):
    """C++ that takes the number of a thread apart, the fastest axis first; `rest` is what is left: the image."""
    code = "unsigned rest = i;\n"
    for name, size in axes:
        code += f"const int {name} = rest % {size};\nrest /= {size};\n"
    return code


def _position(group, plan):
    """C++ for where a tile's first input of a phase lies in x."""
    (o0, o1), count = group.offset, group.count[1]
    length0, length1 = (s * m for s, m in zip(plan.stride, plan.tile))
    return (
        f"const int row = ty * {length0} + {o0} + phase / {count} - top;\n"
        f"const int column = tx * {length1} + {o1} + phase % {count} - left;\n"
    )


def _output_thread(plan):
    m0, m1 = plan.tile
    return (
        _thread(("k", "channels"), ("tx", "tiles1"), ("ty", "tiles0"))
        + f"const int row = ty * {m0}, column = tx * {m1};\n"
        + "const ptrdiff_t begin = rest * ptrdiff_t(height) * width * channels + k;\n"
        + "const ptrdiff_t at = ((rest * ptrdiff_t(tiles0) + ty) * tiles1 + tx) * channels + k;\n"
    )


def _kernel_thread(group):
    """A thread has a phase, an input channel and an output channel o."""
    return (
        _thread(("o", "outputs"), ("k", "channels"))
        + f"const int tap0 = {group.offset[0]} + rest / {group.count[1]};\n"
        + f"const int tap1 = {group.offset[1]} + rest % {group.count[1]};\n"
        + f"const ptrdiff_t at = (ptrdiff_t({group.start} + rest) * channels + k) * outputs + o;\n"
    )


def _taps(group, plan):
    """C++ for where each of a phase's taps lies in w."""
    kernel_size = plan.key[0]
    taps = (range(0, k - offset, s) for k, offset, s in zip(kernel_size, group.offset, plan.stride))
    return [
        f"((ptrdiff_t(tap0 + {i}) * width + tap1 + {j}) * channels + k) * outputs + o" for i, j in product(*taps)
    ]


def _inside(row, column, name):
    """C++ for a number of image `rest`, 0 outside."""
    return (
        f"{row} >= 0 && {row} < height && {column} >= 0 && {column} < width"
        f" ? {name}[begin + (({row}) * ptrdiff_t(width) + {column}) * channels] : T(0)"
    )


def _load(places):
    return "".join(f"const T from{j} = {place};\n" for j, place in enumerate(places))


def _store(matrix, statements):
    """C++ that writes matrix @ from, one row by each statement."""
    rows = (
        " + ".join(f"T({float(factor)!r}) * from{j}" for j, factor in enumerate(row) if factor) or "T(0)" for row in matrix
    )
    return "".join(statement.format(row) for statement, row in zip(statements, rows, strict=True))


def _numbers(points):
    return range(points.start, points.stop)
