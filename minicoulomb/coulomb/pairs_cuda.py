"""Sums over all pairs of points on a GPU, for points of few coordinates: nothing is stored for a pair.

    pair_sums(a, b, q, d, eps)       sum_j q_j k(a_i, b_j)                   (n_a,)
    offset_sums(a, b, q, d, eps)     sum_j q_j (a_i - b_j) k(a_i, b_j)       (n_a, m)

with k(a, b) = (||a - b||^2 + eps^2)^(-d/2), and 0 where both are 0, for a (n_a, m), b (n_b, m), q (n_b,), m <= 4.

A thread holds POINTS of the a_i, and a part of the b_j pass by; all threads of a block read the same b_j at a time,
which costs one access for all of them. In the plane, float32 and d = 2 a pair takes 2 subtractions, 2 multiply-adds,
a reciprocal and a multiply-add for the sum: the arithmetic is the limit, by far. The reciprocal (1/16 of the rate of
an addition on the special function units) and its kin are the fast ones, off by two units in the last place at most.
A potential is the small difference of large sums, so these are taken in runs of RUN pairs, and the runs added up with
what each addition loses (Kahan): rounding does not grow with the number of points.
"""

from functools import lru_cache

from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.cuda import ElementwiseKernel, column_sums

POINTS, RUN = 4, 32
# As many threads as keep a large GPU busy; with fewer points than that, several share the b_j of each.
THREADS = 2**18


def pair_sums(a, b, q, d: float, eps: float):
    """sum_j q_j k(a_i, b_j), (n_a,)."""
    return _sums(a, b, q, d, eps, offsets=False)[:, 0]


def offset_sums(a, b, q, d: float, eps: float):
    """sum_j q_j (a_i - b_j) k(a_i, b_j), (n_a, m)."""
    return _sums(a, b, q, d, eps, offsets=True)


def _sums(a, b, q, d, eps, offsets):
    xp, m = array_module(a), a.shape[1]
    groups = -(-len(a) // POINTS)
    length = max(RUN, -(-len(b) * groups // THREADS))
    parts = -(-len(b) // length)
    sums = xp.empty((parts, len(a), m if offsets else 1), a.dtype)
    a, b, q = (xp.ascontiguousarray(array) for array in (a, b, q))
    _kernel(m, float(d), eps == 0, offsets)(
        a, b, q, eps * eps, len(a), len(b), groups, length, sums, size=parts * groups
    )
    return column_sums(sums.reshape(parts, -1)).reshape(sums.shape[1:])


# k for s = r^2 + eps^2, which is above 0.
_KERNELS = {
    1.0: "reciprocal_root(s)",
    2.0: "reciprocal(s)",
    3.0: "cube(reciprocal_root(s))",
    4.0: "square(reciprocal(s))",
}
# CuPy has numbers below 1e-38 flushed to 0, with which both of float32 are one instruction.
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
def _kernel(m, d, is_singular, offsets):
    """Of points with m coordinates; singular where eps = 0."""
    each = lambda code, number=m: "".join(code.format(k=k) for k in range(number))
    width = m if offsets else 1  # numbers in a sum
    term = "weight * offset{k}" if offsets else "weight"
    kernel = _KERNELS.get(d, f"pow(s, T({-d / 2!r}))")
    if is_singular:
        kernel = f"(s == 0 ? T(0) : {kernel})"
    return ElementwiseKernel(
        "raw T a, raw T b, raw T q, T eps2, int32 n_a, int32 n_b, int32 groups, int32 length",
        "raw T sums",
        f"""
        const int group = i % groups, part = i / groups;
        const int begin = part * length, end = min(begin + length, n_b);
        T own[{POINTS}][{m}], total[{POINTS}][{width}] = {{}}, lost[{POINTS}][{width}] = {{}};
        for (int p = 0; p < {POINTS}; ++p) {{
          const ptrdiff_t point = min(group + p * groups, n_a - 1);
          {each(f"own[p][{{k}}] = a[point * {m} + {{k}}];")}
        }}
        for (int first = begin; first < end; first += {RUN}) {{
          T sum[{POINTS}][{width}] = {{}};
          #pragma unroll 4
          for (int j = first; j < min(first + {RUN}, end); ++j) {{
            {each(f"const T b{{k}} = b[j * ptrdiff_t({m}) + {{k}}];")}
            const T charge = q[j];
            #pragma unroll
            for (int p = 0; p < {POINTS}; ++p) {{
              {each("const T offset{k} = own[p][{k}] - b{k};")}
              T s = eps2;
              {each("s += offset{k} * offset{k};")}
              const T weight = charge * {kernel};
              {each(f"sum[p][{{k}}] += {term};", width)}
            }}
          }}
          for (int p = 0; p < {POINTS}; ++p) {{
            {each("add(total[p][{k}], sum[p][{k}], lost[p][{k}]);", width)}
          }}
        }}
        for (int p = 0; p < {POINTS}; ++p) {{
          const int point = group + p * groups;
          const ptrdiff_t at = (part * ptrdiff_t(n_a) + point) * {width};
          if (point < n_a) {{ {each("sums[at + {k}] = total[p][{k}];", width)} }}
        }}
        """,
        "offset_sums" if offsets else "pair_sums",
        _PREAMBLE,
    )
