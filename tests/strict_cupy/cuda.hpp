// What CUDA C++ has and C++ has not, for kernels that run on the CPU. No headers, so that they compile in milliseconds.

#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __restrict__ __restrict
typedef __PTRDIFF_TYPE__ ptrdiff_t;
typedef __SIZE_TYPE__ size_t;

// Functions for float and for double. Neither stands in for the other: a call with both types does not compile, so
// that a float kernel computes in float.
#define ONE(name) \
    static inline float name(float x) { return __builtin_##name##f(x); } \
    static inline double name(double x) { return __builtin_##name(x); } \
    static inline float name##f(float x) { return __builtin_##name##f(x); }
#define TWO(name) \
    static inline float name(float x, float y) { return __builtin_##name##f(x, y); } \
    static inline double name(double x, double y) { return __builtin_##name(x, y); } \
    static inline float name##f(float x, float y) { return __builtin_##name##f(x, y); }
ONE(sqrt) ONE(cbrt) ONE(exp) ONE(exp2) ONE(exp10) ONE(expm1) ONE(log) ONE(log1p) ONE(log2) ONE(log10)
ONE(sin) ONE(cos) ONE(tan) ONE(asin) ONE(acos) ONE(atan) ONE(sinh) ONE(cosh) ONE(tanh) ONE(erf) ONE(erfc)
ONE(ceil) ONE(floor) ONE(rint) ONE(round) ONE(trunc) ONE(fabs)
TWO(pow) TWO(fmod) TWO(atan2) TWO(hypot) TWO(copysign) TWO(fmin) TWO(fmax)
static inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
static inline double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
static inline float fmaf(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
static inline float rsqrt(float x) { return 1.0f / sqrt(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float rsqrtf(float x) { return rsqrt(x); }
static inline bool isfinite(float x) { return __builtin_isfinite(x); }
static inline bool isfinite(double x) { return __builtin_isfinite(x); }
static inline bool isnan(float x) { return __builtin_isnan(x); }
static inline bool isnan(double x) { return __builtin_isnan(x); }
static inline bool isinf(float x) { return __builtin_isinf(x); }
static inline bool isinf(double x) { return __builtin_isinf(x); }
static inline float abs(float x) { return __builtin_fabsf(x); }
static inline double abs(double x) { return __builtin_fabs(x); }
static inline int abs(int x) { return x < 0 ? -x : x; }
static inline long abs(long x) { return x < 0 ? -x : x; }
static inline long long abs(long long x) { return x < 0 ? -x : x; }
#define ORDER(type) \
    static inline type min(type x, type y) { return y < x ? y : x; } \
    static inline type max(type x, type y) { return x < y ? y : x; }
ORDER(int) ORDER(unsigned) ORDER(long) ORDER(unsigned long) ORDER(long long) ORDER(unsigned long long)
static inline float min(float x, float y) { return fmin(x, y); }
static inline float max(float x, float y) { return fmax(x, y); }
static inline double min(double x, double y) { return fmin(x, y); }
static inline double max(double x, double y) { return fmax(x, y); }

static inline float __expf(float x) { return exp(x); }
static inline float __logf(float x) { return log(x); }
static inline float __powf(float x, float y) { return pow(x, y); }
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fsqrt_rn(float x) { return sqrt(x); }
static inline float __frsqrt_rn(float x) { return rsqrt(x); }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline float __int_as_float(int x) { float y; __builtin_memcpy(&y, &x, 4); return y; }
static inline int __float_as_int(float x) { int y; __builtin_memcpy(&y, &x, 4); return y; }
static inline double __longlong_as_double(long long x) { double y; __builtin_memcpy(&y, &x, 8); return y; }
static inline long long __double_as_longlong(double x) { long long y; __builtin_memcpy(&y, &x, 8); return y; }
template <class T> static inline T __ldg(const T *x) { return *x; }
template <class T> static inline T atomicAdd(T *x, T y) { T old = *x; *x += y; return old; }
#define CUDART_INF_F __int_as_float(0x7f800000)
#define CUDART_NAN_F __int_as_float(0x7fffffff)
#define CUDART_INF __longlong_as_double(0x7ff0000000000000ULL)
#define CUDART_NAN __longlong_as_double(0xfff8000000000000ULL)

struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
struct double2 { double x, y; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline double2 make_double2(double x, double y) { return {x, y}; }

// The launch: a table with a row for the loop, one for each parameter, and one for what went wrong.

const int ROW = 40, LAYOUT = 8;
struct Fault { ptrdiff_t kind, parameter, index, other; };
static Fault *fault_;
static ptrdiff_t thread_;
static long long nowhere_[8];

// CuPy's CArray of a contiguous array: x[k] counts elements in C order. An output remembers which thread touched an
// element, for another one must not; where that is what an atomic function is for, `touched` is null.
template <class T> struct Raw {
    T *data_;
    ptrdiff_t size_, *touched_, parameter_;
    const ptrdiff_t *shape_;
    Raw(const ptrdiff_t *row, ptrdiff_t parameter)
        : data_((T *)row[0]), size_(row[1]), touched_((ptrdiff_t *)row[2]), parameter_(parameter), shape_(row + LAYOUT) {}
    ptrdiff_t size() const { return size_; }
    const ptrdiff_t *shape() const { return shape_; }
    T &operator[](ptrdiff_t k) const {
        if (k < 0 || k >= size_) {
            if (!fault_->kind) *fault_ = {1, parameter_, k, size_};
            return *(T *)nowhere_;
        }
        if (touched_) {
            if (touched_[k] && touched_[k] != thread_ + 1 && !fault_->kind)
                *fault_ = {2, parameter_, k, touched_[k] - 1};
            touched_[k] = thread_ + 1;
        }
        return data_[k];
    }
};

struct Indexer {
    ptrdiff_t size_;
    ptrdiff_t size() const { return size_; }
};

static inline ptrdiff_t offset_(ptrdiff_t i, const ptrdiff_t *loop, const ptrdiff_t *row) {
    const ptrdiff_t axes = loop[1], *shape = loop + LAYOUT, *strides = row + LAYOUT;
    if (axes == 1) return i * strides[0];
    ptrdiff_t offset = 0;
    for (ptrdiff_t axis = axes - 1; axis >= 0; --axis) {
        offset += i % shape[axis] * strides[axis];
        i /= shape[axis];
    }
    return offset;
}
