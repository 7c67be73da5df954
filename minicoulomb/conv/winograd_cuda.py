"""The transforms of winograd.py on a GPU, each in one pass over memory.

A thread has one tile (or one kernel), one channel and one phase of the stride. It reads its numbers from x, w or the
space of points, multiplies them by the small matrix, and writes the results to their place: nothing is padded or
gathered in between. The matrix is part of the code, number by number, without its zeros. Neighbouring threads have
neighbouring channels, so all of them read and write neighbouring numbers.

    transform_inputs     V = B x          collect_inputs     dx = B^T dV      its adjoint
    transform_outputs    dM = C dy        collect_outputs    y = C^T M
    transform_kernel     U = G w          collect_kernel     dw += G^T dU

Tiles of inputs overlap. Their adjoint is computed from the side of dx: a thread adds up the contributions of all tiles
that cover its numbers. So no two threads write the same number, and the order of the sum is fixed.
"""

from functools import lru_cache
from itertools import product
from math import prod

import numpy as np

from minicoulomb.arrays.cuda import ElementwiseKernel, check_threads
from minicoulomb.conv.winograd_plan import make_plan

# Parameters of kernels for images: their sizes, the tiles of each, and how far outside the first tile begins. `step` is
# the distance of neighbouring points in memory.
_IMAGES = "int32 height, int32 width, int32 channels, int32 tiles0, int32 tiles1, int32 top, int32 left, int64 step"


def transform_inputs(x, V, plan, padding, tiles):
    """V (points, tiles, phases * c) of x (n, h, w, c)."""
    n, *sizes = x.shape
    threads = check_threads(n, plan.phases, *tiles, sizes[-1])
    _input_transform(*plan.key)(x, *sizes, *tiles, padding[0][0], padding[1][0], V[0].size, V, size=threads)


def collect_inputs(dV, dx, plan, padding, tiles):
    """dx (n, h, w, c) of dV (points, tiles, phases * c)."""
    n, *sizes = dx.shape
    if plan.phases < prod(plan.stride):
        dx[...] = 0  # between the taps of a kernel smaller than its stride
    begins = padding[0][0], padding[1][0]
    blocks = [-(-(h + begin) // (s * m)) for h, begin, s, m in zip(sizes, begins, plan.stride, plan.tile)]
    threads = check_threads(n, plan.phases, *blocks, sizes[-1])
    _input_adjoint(*plan.key)(dV, *sizes, *tiles, *begins, dV[0].size, *blocks, dx, size=threads)


def transform_outputs(dy, dM, plan, tiles):
    """dM (points, tiles, o) of dy (n, u, v, o)."""
    n, *sizes = dy.shape
    _output_transform(*plan.key)(dy, *sizes, *tiles, 0, 0, dM[0].size, dM, size=check_threads(n, *tiles, sizes[-1]))


def collect_outputs(M, y, plan, tiles):
    """y (n, u, v, o) of M (points, tiles, o)."""
    n, *sizes = y.shape
    _output_adjoint(*plan.key)(M, *sizes, *tiles, 0, 0, M[0].size, y, size=check_threads(n, *tiles, sizes[-1]))


def transform_kernel(w, U, plan):
    """U (points, phases * c, o) of w (kh, kw, c, o)."""
    _, width, c, c_out = w.shape
    _kernel_transform(*plan.key)(w, width, c, c_out, U[0].size, U, size=check_threads(plan.phases, c, c_out))


def collect_kernel(dU, dw, plan, is_first):
    """dw (kh, kw, c, o) += G^T dU, or = where it `is_first`; dU (points, phases * c, o)."""
    _, width, c, c_out = dw.shape
    threads = check_threads(plan.phases, c, c_out)
    _kernel_adjoint(*plan.key)(dU, width, c, c_out, dU[0].size, is_first, dw, size=threads)


@lru_cache
def _input_transform(*key):
    plan = _plan(key)
    s0, s1 = plan.stride
    of_group = lambda group: (
        f"""
        {_first_input(plan, group)}
        {_point(plan, "ty", "tx")}
        {_load(_number("x", s0 * i, s1 * j) for i, j in np.ndindex(group.inputs))}
        {_store(group.B, (f"V[{a} * step + at] = {{}};" for a in _range(group.points)))}
    """
    )
    return ElementwiseKernel(
        f"raw T x, {_IMAGES}",
        "raw T V",
        f"""
        {_thread(("k", "channels"), ("tx", "tiles1"), ("ty", "tiles0"), ("phase", plan.phases))}
        {_by_group(plan, of_group)}
        """,
        "winograd_transform_inputs",
    )


@lru_cache
def _input_adjoint(*key):
    plan = _plan(key)
    s0, s1 = plan.stride

    def of_group(group):
        sums = [(f"sum{i}_{j}", s0 * i, s1 * j) for i, j in np.ndindex(plan.tile)]
        return f"""
            {_first_input(plan, group)}
            {_lines(f"T {name} = 0;" for name, _, _ in sums)}
            {_lines(_sums_of_tile(plan, group, back) for back in np.ndindex(*_reach(plan, group)))}
            {_lines(f"if ({_is_inside(i, j)}) {_at('dx', i, j)} = {name};" for name, i, j in sums)}
        """

    return ElementwiseKernel(
        f"raw T dV, {_IMAGES}, int32 blocks0, int32 blocks1",
        "raw T dx",
        f"""
        {_thread(("k", "channels"), ("tx", "blocks1"), ("ty", "blocks0"), ("phase", plan.phases))}
        {_by_group(plan, of_group)}
        """,
        "winograd_collect_inputs",
    )


def _reach(plan, group):
    """How many tiles overlap a block of a tile's length, along each axis; the last one begins with the block."""
    return (-(-q // m) for q, m in zip(group.inputs, plan.tile))


def _sums_of_tile(plan, group, back):
    """C++ that adds the contributions of one tile, `back` tiles before the block, to the block's sums."""
    terms = []
    for a, row in zip(_range(group.points), group.B):
        factors = row.reshape(group.inputs)[tuple(slice(k * m, (k + 1) * m) for k, m in zip(back, plan.tile))]
        if factors.any():
            terms.append(f"const T point{a} = dV[{a} * step + at];")
            factors = np.ndenumerate(factors.astype(object))
            terms += [f"sum{i}_{j} += T({f!r}) * point{a};" for (i, j), f in factors if f]
    return f"""
            if (ty >= {back[0]} && ty - {back[0]} < tiles0 && tx >= {back[1]} && tx - {back[1]} < tiles1) {{
              {_point(plan, f"ty - {back[0]}", f"tx - {back[1]}")}
              {_lines(terms)}
            }}"""


@lru_cache
def _output_transform(*key):
    plan = _plan(key)
    return ElementwiseKernel(
        f"raw T dy, {_IMAGES}",
        "raw T dM",
        f"""
        {_output_thread(plan)}
        {_load(_number("dy", i, j) for i, j in np.ndindex(plan.tile))}
        {_store(plan.C, (f"dM[{a} * step + at] = {{}};" for a in range(len(plan.C))))}
        """,
        "winograd_transform_outputs",
    )


@lru_cache
def _output_adjoint(*key):
    plan = _plan(key)
    return ElementwiseKernel(
        f"raw T M, {_IMAGES}",
        "raw T y",
        f"""
        {_output_thread(plan)}
        {_load(f"M[{a} * step + at]" for a in range(len(plan.C)))}
        {_store(plan.C.T, (f"if ({_is_inside(i, j)}) {_at('y', i, j)} = {{}};" for i, j in np.ndindex(plan.tile)))}
        """,
        "winograd_collect_outputs",
    )


@lru_cache
def _kernel_transform(*key):
    plan = _plan(key)
    of_group = lambda group: (
        f"""
        {_first_tap(group)}
        {_load(f"w[{place}]" for place in _taps(plan, group))}
        {_store(group.G, (f"U[{a} * step + at] = {{}};" for a in _range(group.points)))}
    """
    )
    code = f"{_kernel_thread(plan)}\n{_by_group(plan, of_group)}"
    return ElementwiseKernel(f"raw T w, {_KERNELS}", "raw T U", code, "winograd_transform_kernel")


@lru_cache
def _kernel_adjoint(*key):
    plan = _plan(key)
    of_group = lambda group: (
        f"""
        {_first_tap(group)}
        {_load(f"dU[{a} * step + at]" for a in _range(group.points))}
        {_store(group.G.T, (f"dw[{p}] = {{}} + (is_first ? T(0) : dw[{p}]);" for p in _taps(plan, group)))}
    """
    )
    code = f"{_kernel_thread(plan)}\n{_by_group(plan, of_group)}"
    return ElementwiseKernel(f"raw T dU, {_KERNELS}, bool is_first", "raw T dw", code, "winograd_collect_kernel")


def _plan(key):
    return make_plan(*key, np.dtype(np.float64))


# The rest writes C++.


def _lines(lines):
    return "\n".join(lines)


def _thread(*axes):
    """C++ that splits a thread's number into (name, size), the fastest first; the rest is `image`."""
    return "unsigned image = i;" + "".join(
        f"const int {name} = image % {size}; image /= {size};" for name, size in axes
    )


def _first_input(plan, group):
    """C++: the place in x of the first input of this tile and phase."""
    (o0, o1), count = group.offset, group.count[1]
    length0, length1 = (s * m for s, m in zip(plan.stride, plan.tile))
    return f"""
            const int row = ty * {length0} + {o0} + (phase - {group.start}) / {count} - top;
            const int column = tx * {length1} + {o1} + (phase - {group.start}) % {count} - left;"""


def _by_group(plan, code) -> str:
    """C++: code(group) for the group of the thread's phase."""
    ends = (group.start + prod(group.count) for group in plan.groups)
    return " else ".join(f"if (phase < {end}) {{ {code(group)} }}" for end, group in zip(ends, plan.groups))


def _point(plan, ty, tx):
    """C++: the place of the numbers of a tile and this phase, at a point."""
    tile = f"((image * ptrdiff_t(tiles0) + {ty}) * tiles1 + {tx})"
    return f"const ptrdiff_t at = ({tile} * {plan.phases} + phase) * channels + k;"


def _output_thread(plan):
    """A thread has an image, a tile and a channel."""
    return f"""
        {_thread(("k", "channels"), ("tx", "tiles1"), ("ty", "tiles0"))}
        const int row = ty * {plan.tile[0]}, column = tx * {plan.tile[1]};
        const ptrdiff_t at = ((image * ptrdiff_t(tiles0) + ty) * tiles1 + tx) * channels + k;"""


def _is_inside(i, j):
    return f"row + {i} >= 0 && row + {i} < height && column + {j} >= 0 && column + {j} < width"


def _at(name, i, j):
    """C++: a number of the thread's image."""
    return f"{name}[((image * ptrdiff_t(height) + row + {i}) * width + column + {j}) * channels + k]"


def _number(name, i, j):
    return f"{_is_inside(i, j)} ? {_at(name, i, j)} : T(0)"


_KERNELS = "int32 width, int32 channels, int32 outputs, int64 step"


def _kernel_thread(plan):
    """A thread has a phase, an input channel k and an output channel o."""
    return f"""
        {_thread(("o", "outputs"), ("k", "channels"), ("phase", plan.phases))}
        const ptrdiff_t at = (phase * ptrdiff_t(channels) + k) * outputs + o;"""


def _first_tap(group):
    """C++: the place in w of the first tap of this phase."""
    (o0, o1), count = group.offset, group.count[1]
    phase = f"(phase - {group.start})"
    return f"const int tap0 = {o0} + {phase} / {count}, tap1 = {o1} + {phase} % {count};"


def _taps(plan, group):
    """C++: the places of a phase's taps in w."""
    kernel_size = plan.key[0]
    taps = (range(0, k - offset, s) for k, offset, s in zip(kernel_size, group.offset, plan.stride))
    return [f"(((tap0 + {i}) * width + tap1 + {j}) * ptrdiff_t(channels) + k) * outputs + o" for i, j in product(*taps)]


def _load(places):
    return _lines(f"const T from{j} = {place};" for j, place in enumerate(places))


def _store(matrix, statements):
    """C++ that writes matrix @ from, a row in each statement."""
    terms = ([f"T({f!r}) * from{j}" for j, f in enumerate(row) if f] for row in matrix.tolist())
    return _lines(statement.format(" + ".join(row) or "T(0)") for statement, row in zip(statements, terms, strict=True))


def _range(points):
    return range(points.start, points.stop)
