"""Sums over all pairs of points on a GPU.

    kernel(a, b, d, eps)             k(a_i, b_j)                             (n_a, n_b)
    kernel_sums(a, p, q, d, eps)     sum_j q_j k(a_i, p_j)                   (n_a,)
    offset_sums(a, p, q, d, eps)     sum_j q_j (a_i - p_j) k(a_i, p_j)       (n_a, m)

with k(a, p) = (||a - p||^2 + eps^2)^(-d/2), or 0 where that is singular, for a (n_a, m), p (n_p, m), q (n_p,).

Distances come from differences, which are exact to the last place but one where points nearly coincide. |a|^2 + |p|^2 -
2 a.p would need float64 there, and a GPU has few units for it.

Up to FEW_COORDINATES nothing is stored for a pair. A thread holds POINTS of the a_i and runs through a part of the p_j;
all threads of a block read the same p_j at a time, which costs one access for all of them. In the plane, float32 and
d = 2 a pair needs 2 subtractions, 2 multiply-adds, a reciprocal and a multiply-add for the sum: arithmetic is the
limit, by far. The reciprocal (1/16 of the rate of an addition on the special function units) and the reciprocal root
are the fast ones, wrong by two units in the last place at most. A potential is the small difference of large sums, so
these are computed in runs of RUN pairs, and the runs are added up with compensation for what each addition loses
(Kahan): the rounding error does not grow with the number of points.

Images have many coordinates and fewer pairs. So three kernels share the work, on a tile of pairs at a time:

    squares    a thread has POINTS of the a_i, OTHERS of the p_j, and a part of the coordinates
    weights    a thread has a pair, adds up its parts, and computes q_j k(a_i, p_j)
    forces     a thread has POINTS of the a_i, a coordinate, and a part of the p_j
"""

from functools import lru_cache, reduce
from operator import add

from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.cuda import ElementwiseKernel, check_threads, column_sums, concatenate
from minicoulomb.coulomb.arguments import is_singular

# Up to this many coordinates a thread keeps all of a point's.
FEW_COORDINATES = 4
# Points that a thread holds, and pairs between two compensated additions.
POINTS, RUN = 4, 32
# As many threads as keep a large GPU busy; with fewer points than that, several share the p_j of each.
THREADS = 2**18
# Points p that a thread compares with its POINTS of a, if there are many coordinates, and the points in a tile. For
# these a thread takes so many registers that a large GPU holds no more threads.
OTHERS, TILE, TILE_THREADS = 8, 2**11, 2**16
# Coordinates of which a thread adds up the squares, at least and at most.
SHORTEST, LONGEST = 2**5, 2**11


def kernel(a, b, d, eps):
    """k(a_i, b_j), (n_a, n_b)."""
    k, rows = array_module(a).empty((len(a), len(b)), a.dtype), _tiles(a)
    columns = rows if b is a else _tiles(b)
    for tile, turned in rows:
        for others, turned_others in columns:
            k[tile, others] = _weights(turned, turned_others, d, eps)
    return k


def kernel_sums(a, p, q, d, eps):
    """sum_j q_j k(a_i, p_j), (n_a,)."""
    return (_sums if a.shape[1] <= FEW_COORDINATES else _sums_by_tiles)(a, p, q, d, eps, False)[:, 0]


def offset_sums(a, p, q, d, eps):
    """sum_j q_j (a_i - p_j) k(a_i, p_j), (n_a, m)."""
    return (_sums if a.shape[1] <= FEW_COORDINATES else _sums_by_tiles)(a, p, q, d, eps, True)


def _sums(a, p, q, d, eps, offsets):
    """Both sums for few coordinates, (n_a, 1) or (n_a, m)."""
    xp, m = array_module(a), a.shape[1]
    check_threads(max(len(a), len(p)) + RUN)  # places are 32-bit numbers, also those behind the last
    groups = -(-len(a) // POINTS)
    length = max(RUN, -(-len(p) * groups // THREADS))
    parts = -(-len(p) // length)
    sums = xp.empty((parts, len(a), m if offsets else 1), a.dtype)
    a, p, q = (xp.ascontiguousarray(array) for array in (a, p, q))
    numbers = eps, len(a), len(p), groups, length
    _sums_of(m, d, is_singular(eps), offsets)(a, p, q, *numbers, sums, size=parts * groups)
    return column_sums(sums.reshape(parts, -1)).reshape(sums.shape[1:])


def _sums_by_tiles(a, p, q, d, eps, offsets):
    """Both sums for many coordinates, (n_a, 1) or (n_a, m)."""
    a, p, q = (array_module(a).ascontiguousarray(array) for array in (a, p, q))
    rows = _tiles(a)
    columns = rows if p is a else _tiles(p)

    def of_tiles(tile, turned, others, turned_others):
        weights = _weights(turned_others, turned, d, eps, q[others])  # (tile of p, tile of a)
        return _forces(a[tile], p[others], weights) if offsets else column_sums(weights)[:, None]

    sums = [reduce(add, (of_tiles(*row, *column) for column in columns)) for row in rows]
    return sums[0] if len(sums) == 1 else concatenate(sums)


def _tiles(points):
    """(slice, points of it turned, (m, n)) for each tile of points (n, m)."""
    slices = [slice(first, first + TILE) for first in range(0, len(points), TILE)]
    return [(tile, array_module(points).ascontiguousarray(points[tile].T)) for tile in slices]


def _weights(p, a, d, eps, q=None):
    """q_j k(a_i, p_j), (n_p, n_a), or k alone, for points p (m, n_p) and a (m, n_a)."""
    xp, (m, n_p), n_a = array_module(a), p.shape, a.shape[1]
    groups, blocks = -(-n_a // POINTS), -(-n_p // OTHERS)
    length = max(SHORTEST, min(LONGEST, -(-m * groups * blocks // TILE_THREADS)))
    parts = -(-m // length)
    squares, weights = xp.empty((parts, n_p, n_a), a.dtype), xp.empty((n_p, n_a), a.dtype)
    _SQUARES(a, p, m, n_a, n_p, groups, blocks, length, squares, size=parts * groups * blocks)
    charges = () if q is None else (q,)
    _weights_of(d, is_singular(eps), q is None)(squares, *charges, eps, n_a, parts, weights, size=weights.size)
    return weights


def _forces(a, p, weights):
    """sum_j w_ji (a_i - p_j), (n_a, m), for weights (n_p, n_a)."""
    (n_a, m), n_p = a.shape, len(p)
    groups = -(-n_a // POINTS)
    length = max(RUN, -(-n_p * groups * m // THREADS))
    parts = -(-n_p // length)
    sums = array_module(a).empty((parts, n_a, m), a.dtype)
    _FORCES(a, p, weights, n_a, n_p, m, groups, length, sums, size=parts * groups * m)
    return column_sums(sums.reshape(parts, -1)).reshape(n_a, m)


# k, where s = r^2 + eps^2 is above 0.
_KERNELS = {
    1: "reciprocal_root(s)",
    2: "reciprocal(s)",
    3: "cube(reciprocal_root(s))",
    4: "square(reciprocal(s))",
}
# CuPy flushes numbers below 1e-38 to 0, so that both functions of float32 are one instruction.
_PREAMBLE = """
    __device__ inline float reciprocal(float s) { return __fdividef(1.0f, s); }
    __device__ inline float reciprocal_root(float s) { return rsqrtf(s); }
    __device__ inline double reciprocal(double s) { return 1.0 / s; }
    __device__ inline double reciprocal_root(double s) { return 1.0 / sqrt(s); }
    template <typename T> __device__ void add(T &total, T term, T &lost) {
      term -= lost;
      const T sum = total + term;
      lost = (sum - total) - term;
      total = sum;
    }
    template <typename T> __device__ T square(T s) { return s * s; }
    template <typename T> __device__ T cube(T s) { return s * s * s; }
"""


def _kernel(d, singular) -> str:
    """C++: k of s = r^2 + eps^2; singular where eps = 0."""
    k = _KERNELS.get(d, f"pow(s, T({-d / 2!r}))")
    return f"(s == 0 ? T(0) : {k})" if singular else k


@lru_cache
def _sums_of(m, d, singular, offsets):
    """The CUDA kernel of both sums for points with m coordinates."""
    each = lambda code, number=m: "".join(code.format(k=k) for k in range(number))
    width = m if offsets else 1  # numbers in a sum
    term = "weight * offset{k}" if offsets else "weight"
    return ElementwiseKernel(
        "raw T a, raw T p, raw T q, number T eps, int32 n_a, int32 n_p, int32 groups, int32 length",
        "raw T sums",
        f"""
        const int group = i % groups, part = i / groups;
        const int begin = part * length, end = begin + min(length, n_p - begin);
        T held[{POINTS}][{m}], total[{POINTS}][{width}] = {{}}, lost[{POINTS}][{width}] = {{}};
        for (int h = 0; h < {POINTS}; ++h) {{
          const ptrdiff_t point = min(group + h * groups, n_a - 1);
          {each(f"held[h][{{k}}] = a[point * {m} + {{k}}];")}
        }}
        for (int first = begin; first < end; first += {RUN}) {{
          T sum[{POINTS}][{width}] = {{}};
          #pragma unroll 4
          for (int j = first; j < min(first + {RUN}, end); ++j) {{
            {each(f"const T p{{k}} = p[j * ptrdiff_t({m}) + {{k}}];")}
            const T charge = q[j];
            #pragma unroll
            for (int h = 0; h < {POINTS}; ++h) {{
              {each("const T offset{k} = held[h][{k}] - p{k};")}
              T s = eps * eps;
              {each("s += offset{k} * offset{k};")}
              const T weight = charge * {_kernel(d, singular)};
              {each(f"sum[h][{{k}}] += {term};", width)}
            }}
          }}
          for (int h = 0; h < {POINTS}; ++h) {{
            {each("add(total[h][{k}], sum[h][{k}], lost[h][{k}]);", width)}
          }}
        }}
        for (int h = 0; h < {POINTS}; ++h) {{
          const int point = group + h * groups;
          const ptrdiff_t at = (part * ptrdiff_t(n_a) + point) * {width};
          if (point < n_a) {{ {each("sums[at + {k}] = total[h][{k}];", width)} }}
        }}
        """,
        "offset_sums" if offsets else "kernel_sums",
        _PREAMBLE,
    )


# Points a and p are turned, (m, n), so that neighbouring threads read neighbouring points.
_SQUARES = ElementwiseKernel(
    "raw T a, raw T p, int64 m, int32 n_a, int32 n_p, int32 groups, int32 blocks, int64 length",
    "raw T squares",
    f"""
    const int group = i % groups, block = i / groups % blocks;
    const ptrdiff_t part = i / groups / blocks, begin = part * length, end = begin + length < m ? begin + length : m;
    int points[{POINTS}], others[{OTHERS}];
    for (int h = 0; h < {POINTS}; ++h) points[h] = min(group + h * groups, n_a - 1);
    for (int g = 0; g < {OTHERS}; ++g) others[g] = min(block * {OTHERS} + g, n_p - 1);
    T sums[{POINTS}][{OTHERS}] = {{}};
    for (ptrdiff_t c = begin; c < end; ++c) {{
      T held[{POINTS}];
      for (int h = 0; h < {POINTS}; ++h) held[h] = a[c * n_a + points[h]];
      #pragma unroll
      for (int g = 0; g < {OTHERS}; ++g) {{
        const T other = p[c * n_p + others[g]];
        for (int h = 0; h < {POINTS}; ++h) sums[h][g] += (held[h] - other) * (held[h] - other);
      }}
    }}
    #pragma unroll
    for (int g = 0; g < {OTHERS}; ++g) {{
      const int j = block * {OTHERS} + g;
      for (int h = 0; h < {POINTS}; ++h) {{
        const int point = group + h * groups;
        if (j < n_p && point < n_a) squares[(part * n_p + j) * n_a + point] = sums[h][g];
      }}
    }}
    """,
    "pair_squares",
)


@lru_cache
def _weights_of(d, singular, alone):
    """The CUDA kernel q_j k(a_i, p_j) of the parts of squared distances; `alone` without q."""
    return ElementwiseKernel(
        f"raw T squares, {'' if alone else 'raw T q, '}number T eps, uint32 n_a, int32 parts",
        "raw T weights",
        f"""
        T s = 0;
        #pragma unroll 8
        for (int part = 0; part < parts; ++part) s += squares[part * _ind.size() + i];
        s += eps * eps;
        weights[i] = {"" if alone else "q[unsigned(i) / n_a] * "}{_kernel(d, singular)};
        """,
        "pair_weights",
        _PREAMBLE,
    )


_FORCES = ElementwiseKernel(
    "raw T a, raw T p, raw T weights, int32 n_a, int32 n_p, int64 m, int32 groups, int32 length",
    "raw T sums",
    f"""
    const ptrdiff_t c = i % m;
    const int group = i / m % groups, part = i / m / groups;
    const int begin = part * length, end = min(begin + length, n_p);
    int points[{POINTS}];
    T held[{POINTS}], total[{POINTS}] = {{}};
    for (int h = 0; h < {POINTS}; ++h) {{
      points[h] = min(group + h * groups, n_a - 1);
      held[h] = a[points[h] * m + c];
    }}
    for (int first = begin; first < end; first += {RUN}) {{
      T sum[{POINTS}] = {{}};
      #pragma unroll 4
      for (int j = first; j < min(first + {RUN}, end); ++j) {{
        const T other = p[j * m + c];
        for (int h = 0; h < {POINTS}; ++h) sum[h] += weights[ptrdiff_t(j) * n_a + points[h]] * (held[h] - other);
      }}
      for (int h = 0; h < {POINTS}; ++h) total[h] += sum[h];
    }}
    for (int h = 0; h < {POINTS}; ++h) {{
      const int point = group + h * groups;
      if (point < n_a) sums[(ptrdiff_t(part) * n_a + point) * m + c] = total[h];
    }}
    """,
    "pair_forces",
)
