"""Sums over all pairs of points on a GPU, for points of few coordinates, without storing anything for a pair.

    kernel_sums(a, p, q, d, eps)     sum_j q_j k(a_i, p_j)                   (n_a,)
    offset_sums(a, p, q, d, eps)     sum_j q_j (a_i - p_j) k(a_i, p_j)       (n_a, m)

with k(a, p) = (||a - p||^2 + eps^2)^(-d/2), or 0 where that is singular, for a (n_a, m), p (n_p, m), q (n_p,), m <= 4.

A thread holds POINTS of the a_i and runs through a part of the p_j; all threads of a block read the same p_j at a time,
which costs one access for all of them. In the plane, float32 and d = 2 a pair needs 2 subtractions, 2 multiply-adds,
a reciprocal and a multiply-add for the sum: arithmetic is the limit, by far. The reciprocal (1/16 of the rate of
an addition on the special function units) and the reciprocal root are the fast ones, wrong by two units in the last
place at most. A potential is the small difference of large sums, so these are computed in runs of RUN pairs, and the
runs are added up with compensation for what each addition loses (Kahan): the rounding error does not grow with the
number of points.
"""

from functools import lru_cache

from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.cuda import ElementwiseKernel, column_sums
from minicoulomb.coulomb.arguments import is_singular

# Points that a thread holds, and pairs between two compensated additions.
POINTS, RUN = 4, 32
# As many threads as keep a large GPU busy; with fewer points than that, several share the p_j of each.
THREADS = 2**18


def kernel_sums(a, p, q, d: float, eps: float):
    """sum_j q_j k(a_i, p_j), (n_a,)."""
    return _sums(a, p, q, d, eps, offsets=False)[:, 0]


def offset_sums(a, p, q, d: float, eps: float):
    """sum_j q_j (a_i - p_j) k(a_i, p_j), (n_a, m)."""
    return _sums(a, p, q, d, eps, offsets=True)


def _sums(a, p, q, d, eps, offsets):
    xp, m = array_module(a), a.shape[1]
    groups = -(-len(a) // POINTS)
    length = max(RUN, -(-len(p) * groups // THREADS))
    parts = -(-len(p) // length)
    sums = xp.empty((parts, len(a), m if offsets else 1), a.dtype)
    a, p, q = (xp.ascontiguousarray(array) for array in (a, p, q))
    _cuda_kernel(m, d, is_singular(eps), offsets)(
        a, p, q, eps, len(a), len(p), groups, length, sums, size=parts * groups
    )
    return column_sums(sums.reshape(parts, -1)).reshape(sums.shape[1:])


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


@lru_cache
def _cuda_kernel(m, d, is_singular, offsets):
    """The CUDA kernel for points with m coordinates; singular where eps = 0."""
    each = lambda code, number=m: "".join(code.format(k=k) for k in range(number))
    width = m if offsets else 1  # numbers in a sum
    term = "weight * offset{k}" if offsets else "weight"
    kernel = _KERNELS.get(d, f"pow(s, T({-d / 2!r}))")
    if is_singular:
        kernel = f"(s == 0 ? T(0) : {kernel})"
    return ElementwiseKernel(
        "raw T a, raw T p, raw T q, number T eps, int32 n_a, int32 n_p, int32 groups, int32 length",
        "raw T sums",
        f"""
        const int group = i % groups, part = i / groups;
        const int begin = part * length, end = min(begin + length, n_p);
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
              const T weight = charge * {kernel};
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
