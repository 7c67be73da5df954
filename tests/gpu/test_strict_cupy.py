"""The stand-in for CuPy: every kind of strictness, and that what it computes is right."""

import copy
import ctypes
import pickle

import numpy as np
import pytest
import strict_cupy as xp
from hypothesis import given
from hypothesis import strategies as st
from strict_cupy import cuda

from minicoulomb.arrays.backend import array_module, on_gpu, to_host


@pytest.fixture
def x():
    """(3, 4), the numbers 0 .. 11 in float32."""
    return xp.asarray(np.arange(12, dtype=np.float32).reshape(3, 4))


def float32(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


# What leaves and enters the device


def test_the_array_finds_its_library_and_is_no_numpy_array(x):
    assert array_module(x) is xp
    assert on_gpu(x)
    assert not isinstance(x, np.ndarray)
    np.testing.assert_array_equal(to_host(x), np.arange(12).reshape(3, 4))
    assert xp.backend().to_device(np.ones(2), np.float32).dtype == np.float32


@pytest.mark.parametrize(
    "implicit",
    [
        lambda x: np.asarray(x),
        lambda x: np.array([x, x]),
        lambda x: np.exp(x),
        lambda x: np.isfinite(x),
        lambda x: np.sum(x),
        lambda x: np.concatenate([x, x]),
        lambda x: np.ones((3, 4)) * x,
        lambda x: np.ones((3, 4)) == x,
        lambda x: np.zeros((3, 4)).__setitem__(..., x),
        lambda x: np.copyto(np.zeros((3, 4)), x),
        lambda x: np.testing.assert_array_equal(x, x),
        lambda x: pickle.dumps(x),
        lambda x: range(x[0, 0]),
    ],
)
def test_nothing_leaves_the_device_unasked(x, implicit):
    with pytest.raises(TypeError):
        implicit(x)


@pytest.mark.parametrize("foreign", [np.ones(4, np.float32), np.float32(2), np.float64(2), np.bool_(True), 1j, None])
@pytest.mark.parametrize(
    "mix",
    [
        lambda x, y: x + y,
        lambda x, y: y - x,
        lambda x, y: x < y,
        lambda x, y: x == y,
        lambda x, y: x @ y,
        lambda x, y: x.__imul__(y),
        lambda x, y: x.__setitem__(0, y),
        lambda x, y: x.fill(y),
        lambda x, y: xp.maximum(x, y),
        lambda x, y: xp.full(3, y),
        lambda x, y: xp.where(x > 0, x, y),
        lambda x, y: xp.where(y, x, x),
        lambda x, y: xp.concatenate((x, y)),
        lambda x, y: xp.copyto(x, y),
        lambda x, y: xp.ElementwiseKernel("T x, T y", "T z", "z = x * y")(x, y),
    ],
)
def test_neither_numpys_arrays_nor_its_scalars_mix_with_device_arrays(x, mix, foreign):
    with pytest.raises((TypeError, AttributeError, ValueError)):
        mix(x, foreign)


def test_numpys_arrays_are_no_targets_and_no_indices(x):
    out = np.empty((3, 4), np.float32)
    for write in (lambda: xp.sqrt(x, out=out), lambda: xp.matmul(x, x.T, out=out), lambda: x.sum(axis=0, out=out[0])):
        with pytest.raises(TypeError, match="NumPy array"):
            write()
    for index in (np.array([0]), [0], True):
        with pytest.raises(TypeError, match="as an index"):
            x[index]
        with pytest.raises(TypeError, match="as an index"):
            x[index] = 0


@pytest.mark.parametrize(
    ("name", "wait"),
    [
        ("get", lambda x: x.get()),
        ("item", lambda x: x[0, 0].item()),
        ("float", lambda x: float(x[0, 0])),
        ("int", lambda x: int(x[0, 0])),
        ("bool", lambda x: 1 if x.any() else 0),
        ("tolist", lambda x: x.tolist()),
        ("str", lambda x: str(x)),
        ("repr", lambda x: repr(x)),
        ("format", lambda x: f"{x}"),
        ("nonzero", lambda x: xp.nonzero(x)),
        ("nonzero", lambda x: xp.where(x > 0)),
        ("unique", lambda x: xp.unique(x)),
        ("x[mask]", lambda x: x[x > 0]),
        ("x[mask] = ", lambda x: x.__setitem__(x > 0, 1)),
        ("Stream.synchronize", lambda x: cuda.get_current_stream().synchronize()),
        ("Event.synchronize", lambda x: cuda.Event().synchronize()),
        ("Device.synchronize", lambda x: cuda.Device().synchronize()),
    ],
)
def test_what_makes_the_host_wait_is_recorded_with_its_place(x, name, wait):
    with xp.recorded() as waits:
        wait(x)
    assert [call for call, _ in waits] == [name]
    assert "test_strict_cupy.py:" in waits[0][1]


def test_what_makes_nobody_wait_is_not_recorded(x):
    with xp.recorded() as waits:
        y = (x[1] * 2 - 1) ** 2 + x.sum(axis=0)
        for row in x:
            y += row
        x[xp.asarray(np.array([0, 2]))] = 1
        xp.where(x > 0, x, 0.0)
        xp.matmul(x, x.T)
        xp.ElementwiseKernel("T x", "T y", "y = x * x", "square")(x)
    assert waits == []
    assert [name for name, _ in waits.uploads] == ["asarray"]
    assert [name for name, _ in waits.launches][-2:] == ["matmul", "square"]


def test_uploads_are_recorded_apart(x):
    with xp.recorded() as waits:
        xp.asarray(np.ones(3))
        xp.array([1, 2])
        x.set(np.ones((3, 4), np.float32))
    assert [name for name, _ in waits.uploads] == ["asarray", "asarray", "set"]
    assert waits == []


# Arrays


def test_fresh_memory_is_garbage():
    for make in (xp.empty, xp.ndarray, lambda shape, dtype: xp.empty_like(xp.zeros(shape, dtype))):
        assert np.isnan(make((2, 3), np.float32).get()).all()
        assert (make(4, np.int32).get() != 0).all()
        assert make((2,), bool).get().all()
    (z,) = xp.ElementwiseKernel("T x", "T z", "if (i) z = x", return_tuple=True)(xp.ones(2))
    np.testing.assert_array_equal(z.get(), [np.nan, 1])


def test_reductions_and_elements_are_arrays_without_axes(x):
    for number in (x.sum(), x.max(), x[1, 2], x[0] @ x[0], xp.einsum("ij->", x), x.mean(), xp.sqrt(2.0)):
        assert type(number) is xp.ndarray
        assert number.shape == ()
    assert [float(number) for number in x[0]] == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8, np.bool_])
@pytest.mark.parametrize("number", [2, 2.5, True])
def test_dtypes_are_promoted_as_in_numpy_with_weak_python_numbers(dtype, number):
    ours, theirs = xp.ones(3, dtype), np.ones(3, dtype)
    for compute in (lambda a: a * number, lambda a: a / number, lambda a: number - a * 1, lambda a: a.sum()):
        assert compute(ours).dtype == compute(theirs).dtype
    with pytest.raises(TypeError, match="Cannot cast ufunc"):
        xp.ones(3, np.int32).__iadd__(1.5)


def test_results_are_contiguous_and_like_keeps_the_order(x):
    assert (x.T * 2).flags.c_contiguous
    assert not x.T.flags.c_contiguous
    assert xp.empty_like(x.T).flags.f_contiguous
    assert x.T.astype(np.float64).flags.f_contiguous
    assert x.T.copy().flags.c_contiguous
    assert xp.ascontiguousarray(x.T).flags.c_contiguous


def test_views_share_memory_and_copies_do_not(x):
    for view in (x[1:], x.T, x.reshape(4, 3), x.ravel(), x.swapaxes(0, 1), x[None], xp.moveaxis(x, 0, 1)):
        assert x.data.ptr <= view.data.ptr < x.data.ptr + x.nbytes
    for other in (x.copy(), copy.deepcopy(x), x.T.reshape(-1), x + 0, x.astype(np.float32), x[x > 0]):
        assert not x.data.ptr <= other.data.ptr < x.data.ptr + x.nbytes
    assert x.astype(np.float32, copy=False) is x


@given(st.integers(0, 2**32 - 1))
def test_functions_compute_what_numpys_do(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 3, 4))
    for compute in (
        lambda m, a, b: m.maximum(a, 0) + m.expm1(m.minimum(b, 0)),
        lambda m, a, b: m.where(a > b, a, 0.5),
        lambda m, a, b: m.logaddexp(a, 0) * b,
        lambda m, a, b: m.einsum("ij,kj->ik", a, b),
        lambda m, a, b: m.pad(m.concatenate((a, b)), ((1, 2), (0, 3))),
        lambda m, a, b: m.stack((a, b), axis=1).swapaxes(0, 2),
        lambda m, a, b: m.lib.stride_tricks.as_strided(a, (2, 2, 4), (a.strides[0], *a.strides)) * 1,
        lambda m, a, b: a[:, None] @ b.T,
        lambda m, a, b: m.subtract(a, b, dtype=m.float32),
        lambda m, a, b: -(abs(a) ** 2) / (1 + b * b),
        lambda m, a, b: m.broadcast_to(a[0], (5, 4)) + m.arange(4),
        lambda m, a, b: m.isfinite(m.divide(a, 0.0)),
        lambda m, a, b: a.mean(axis=-1, keepdims=True) - b.min(axis=0).max(),
    ):
        ours = compute(xp, xp.asarray(a), xp.asarray(b)).get()
        with np.errstate(divide="ignore"):
            theirs = compute(np, a, b)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: xp.sum(x, where=x > 0),
        lambda x: xp.maximum(x, 0, where=x > 0),
        lambda x: xp.einsum("ij->i", x, out=x[:, 0]),
        lambda x: x.astype(np.float64, casting="safe"),
        lambda x: xp.lib.stride_tricks.as_strided(x, (2,), (4,), writeable=False),
        lambda x: xp.zeros(3, like=x),
        lambda x: xp.ElementwiseKernel("T x", "T y", "y = x")(x, threads=3),
    ],
)
def test_keywords_that_cupy_has_not_are_refused(x, call):
    with pytest.raises(TypeError):
        call(x)


def test_names_that_cupy_has_not_are_not_there(x):
    for name in ("errstate", "testing", "nditer", "float128"):
        assert not hasattr(xp, name)
    for name in ("base", "ctypes", "__array_interface__", "tostring"):
        assert not hasattr(x, name)


# Writes that a GPU does in no order


def overlapping(x):
    """Windows of two rows, (2, 2, 4): the middle row is in both."""
    return xp.lib.stride_tricks.as_strided(x, (2, 2, 4), (x.strides[0], *x.strides))


@pytest.mark.parametrize(
    "write",
    [
        lambda view: view.__iadd__(1),
        lambda view: view.__setitem__(..., 0),
        lambda view: xp.sqrt(view, out=view),
        lambda view: xp.matmul(view, xp.ones((4, 4), np.float32), out=view),
        lambda view: xp.copyto(view, 0),
        lambda view: xp.ElementwiseKernel("T x", "T y", "y = x")(xp.ones_like(view), view),
        lambda view: xp.concatenate((view[:1], view[1:]), out=view),
        lambda view: view.sum(axis=0, out=xp.broadcast_to(view[0, 0, 0], (2, 4))),
    ],
)
def test_a_target_whose_elements_overlap_is_refused(x, write):
    view = overlapping(x)
    assert (view + 0).shape == (2, 2, 4)  # reading is fine
    view[0] *= 2  # and so is writing to windows that lie apart
    with pytest.raises(ValueError, match="overlap in memory"):
        write(view)


def test_interleaved_elements_do_not_overlap():
    x = xp.zeros(24)
    apart = xp.lib.stride_tricks.as_strided(x, (4, 3), (16, 64))  # meets in no element though rows reach past others
    apart += 1
    assert float(x.sum()) == 12


def test_a_view_outside_the_arrays_memory_is_refused(x):
    with pytest.raises(MemoryError, match="outside"):
        xp.lib.stride_tricks.as_strided(x, (4, 4))
    with pytest.raises(MemoryError, match="outside"):
        xp.lib.stride_tricks.as_strided(x, (2, 4), (-16, 4))


def test_assignment_through_an_index_with_duplicates_is_refused(x):
    twice, once = xp.asarray(np.array([1, 1])), xp.asarray(np.array([0, 2]))
    for write in (lambda: x.__setitem__(twice, 0), lambda: exec("x[twice] += 1", {"x": x, "twice": twice})):
        with pytest.raises(ValueError, match="duplicates"):
            write()
    x[once] += 1
    x[twice, xp.asarray(np.array([0, 1]))] = 7
    assert x[1].tolist() == [7, 7, 6, 7]


def test_assignment_to_what_is_read_is_refused_but_for_the_same_elements(x):
    x[1:] = x[1:]
    with pytest.raises(ValueError, match="overlaps the target"):
        x[1:] = x[:-1]


# Kernels


def test_a_kernel_broadcasts_its_arrays_and_reads_raw_ones_flat(x):
    kernel = xp.ElementwiseKernel(
        "T x, T y, raw T table, T a, int32 n, bool flag", "T z", "z = flag ? a * x + y * table[i % n] : T(0)"
    )
    table, y = float32(5), float32(3, 1)
    ours = kernel(x, xp.asarray(y), xp.asarray(table), 2.5, 5, True).get()
    theirs = np.float32(2.5) * x.get() + y * table[np.arange(12).reshape(3, 4) % 5]
    np.testing.assert_array_equal(ours, theirs)
    assert kernel(x, x, x, 1, 5, False).get().max() == 0


@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 3, 2), (1, 12, 1)])
def test_a_kernel_takes_views_of_any_strides(shape):
    x = xp.asarray(float32(*(2 * n for n in shape)))[tuple(slice(None, None, -2) for _ in shape)]
    z = xp.zeros((2, *shape[::-1]), np.float32)[1].T
    assert xp.ElementwiseKernel("T x", "T z", "z += x + i", "view")(x, z) is z
    np.testing.assert_array_equal(z.get(), x.get() + np.arange(12, dtype=np.float32).reshape(shape))


def test_outputs_are_new_or_given_and_may_be_read():
    kernel = xp.ElementwiseKernel("T g, T rate", "T m, T v", "m += rate * g; v = v * m", "moments")
    m, v = xp.ones(3), xp.full(3, 2.0)
    assert kernel(xp.ones(3), 0.5, m, v) == (m, v)
    assert (m.tolist(), v.tolist()) == ([1.5] * 3, [3.0] * 3)
    assert xp.ElementwiseKernel("T x", "T z", "z = x", no_return=True)(m) is None
    new, index = xp.ElementwiseKernel("T x", "T z, int64 k", "z = x; k = i", "pair")(xp.ones(3, np.float32))
    assert (new.dtype, index.dtype, index.tolist()) == (np.float32, np.int64, [0, 1, 2])


def test_size_is_given_if_and_only_if_all_arrays_are_raw(x):
    raw = xp.ElementwiseKernel(
        "raw T x, int32 n", "raw T z", "T sum = 0; for (int k = 0; k < n; ++k) sum += x[i * n + k]; z[i] = sum"
    )
    z = raw(x, 4, xp.empty(3, np.float32), size=3)
    np.testing.assert_array_equal(z.get(), x.get().sum(axis=1))
    assert raw(x, 4, size=3).shape == (3,)
    for wrong in (lambda: raw(x, 4, z), lambda: raw(x, 4)):
        with pytest.raises(ValueError, match="undecided"):
            wrong()
    with pytest.raises(ValueError, match="size"):
        xp.ElementwiseKernel("T x", "T z", "z = x")(x, size=12)
    assert raw(x, 4, z, size=0) is z


MATHS = "sqrt exp expm1 exp2 log log1p tanh sinh cosh sin cos fabs cbrt rint floor".split()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_cuda_have_the_precision_of_their_argument(dtype):
    x = np.linspace(0.1, 3, 40).astype(dtype)
    theirs = {name: getattr(np, name)(x) for name in MATHS}
    theirs["rsqrt"], theirs["abs"] = 1 / np.sqrt(x), x
    code = "".join(f"out[{k} * 40 + i] = {name}(x[i]);" for k, name in enumerate(theirs))
    out = xp.ElementwiseKernel("raw T x", "raw T out", code, "maths")(
        xp.asarray(x), xp.empty((len(theirs), 40), dtype), size=40
    )
    for ours, (name, expected) in zip(out.get(), theirs.items(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=4 * np.finfo(dtype).eps, err_msg=name)
    two = xp.ElementwiseKernel("T x", "T z", "z = pow(x, T(1.5)) + max(x, T(1)) * fma(x, x, min(x, T(2)))", "two")
    np.testing.assert_allclose(
        two(xp.asarray(x)).get(), x**1.5 + np.maximum(x, 1) * (x * x + np.minimum(x, 2)), rtol=8 * np.finfo(dtype).eps
    )


def test_a_float_that_becomes_a_double_is_noted():
    for number, promoted in (("0.5", True), ("T(0.5)", False)):
        xp.ElementwiseKernel("T x", "T z", f"z = x * {number}", "half")(xp.ones(2, np.float32))
        noted = [entry for entry in xp.compiled.values() if entry.operation == f"z = x * {number}"]
        assert ["double" in entry.warnings for entry in noted] == [promoted]


def test_what_was_compiled_is_listed_with_its_types(x):
    xp.ElementwiseKernel("T x, raw U k, int32 n", "T listed", "listed = x + n", "listed")(x.T, xp.ones(2, np.int32), 3)
    (entry,) = (entry for entry in xp.compiled.values() if entry.name == "listed")
    assert (entry.in_params, entry.out_params, entry.operation) == (
        "T x, raw U k, int32 n",
        "T listed",
        "listed = x + n",
    )
    assert entry.types == (("T", "float32"), ("U", "int32"))
    assert entry.arguments == (
        ("array", "float32", 2, False),
        ("raw", "int32", 1, True),
        ("number", "int32", 0, True),
        ("array", "float32", 2, True),
    )


RAW = xp.ElementwiseKernel("raw T x, int64 k", "raw T z", "z[i] = x[i + k]", "shifted")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: RAW(x, 1, xp.empty_like(x), size=12), IndexError, r"shifted: x\[12\] of an array of 12"),
        (lambda x: RAW(x, -1, xp.empty_like(x), size=1), IndexError, r"x\[-1\] of an array of 12"),
        (lambda x: RAW(x, 0, xp.empty(3, np.float32), size=12), IndexError, r"z\[3\] of an array of 3"),
        (lambda x: RAW(x.T, 0, xp.empty(3, np.float32), size=3), ValueError, "x: a raw array must be C-contiguous"),
        (lambda x: RAW(x, 0, x, size=3), ValueError, "shifted, x beside z: they overlap in memory"),
        (lambda x: RAW(x, 0.5, xp.empty(3, np.float32), size=3), TypeError, "k = 0.5: the parameter is int64"),
        (lambda x: RAW(x, 0, xp.empty(3), size=3), TypeError, "Type is mismatched"),
        (lambda x: RAW(x, 0, size=-2), ValueError, "size -2: an int >= 0"),
        (lambda x: RAW(x), TypeError, "Wrong number of arguments"),
        (lambda x: RAW(3.0, 0, size=2), TypeError, "raw parameters take arrays"),
    ],
)
def test_what_a_raw_kernel_must_not_do_raises(x, call, error, message):
    with pytest.raises(error, match=message):
        call(x)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("T x", "T z", "z = y"), xp.compiler.CompileException, "y"),
        (("T x", "T z", "x = 1; z = x"), xp.compiler.CompileException, "read-only"),
        (("raw T x, T y", "T z", "x[0] = 1; z = y"), xp.compiler.CompileException, "read-only"),
        (("T x", "T z", "z = max(x, 0)"), xp.compiler.CompileException, "ambiguous"),
        (("T x", "U z", "z = x"), TypeError, "no array decides the type U"),
        (("T x", "int32 i", "i = x"), ValueError, "i is the loop's"),
        (("T x", "T x", "x = x"), ValueError, "all must differ"),
        (("T x", "T z", "z = x", "a name"), ValueError, "Invalid kernel name"),
        (("cooked T x", "T z", "z = x"), ValueError, "Unknown keyword"),
        (("complex64 x", "T z", "z = x"), ValueError, "Unknown type"),
    ],
)
def test_what_is_no_kernel_is_refused(x, arguments, error, message):
    call = lambda: xp.ElementwiseKernel(*arguments)(*[x] * (1 + arguments[0].count(",")))
    with pytest.raises(error, match=message):
        call()


def test_outputs_have_the_loops_shape_and_share_no_memory_with_other_elements(x):
    kernel = xp.ElementwiseKernel("T x", "T z", "z = 2 * x", "twice")
    assert kernel(x, x) is x  # element for element
    with pytest.raises(ValueError, match="Out shape is mismatched"):
        kernel(x, xp.empty((2, 3, 4), np.float32)[:, :1, :].reshape(2, 4)[:1])
    with pytest.raises(ValueError, match="overlaps the target"):
        kernel(x[1:], x[:-1])
    with pytest.raises(ValueError, match="they overlap"):
        xp.ElementwiseKernel("T x", "T z, T y", "z = y = x")(x + 0, x, x)


def test_threads_that_touch_the_same_element_are_found_out(x):
    code = "z[i / 4] += x[i]"
    with pytest.raises(ValueError, match=r"z\[0\] is touched by thread 0 and another"):
        xp.ElementwiseKernel("raw T x", "raw T z", code)(x, xp.zeros(3, np.float32), size=12)
    atomic = xp.ElementwiseKernel("raw T x", "raw T z", "atomicAdd(&z[i / 4], x[i])")
    np.testing.assert_array_equal(atomic(x, xp.zeros(3, np.float32), size=12).get(), x.get().sum(axis=1))


def test_a_thread_that_returns_ends_the_loop_as_on_a_gpu_with_few_threads():
    z = xp.ElementwiseKernel("T x", "T z", "z = 0; if (i == 1) return")(xp.ones(3)).get()
    np.testing.assert_array_equal(z, [0, 0, np.nan])


def test_without_a_compiler_kernels_say_so(monkeypatch, x):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(xp.compiler.shutil, "which", lambda name: None)
    monkeypatch.setattr(xp.compiler.importlib.util, "find_spec", lambda name: None)
    for cached in (xp.compiler.command, xp.compiler.build):
        cached.cache_clear()
    with pytest.raises(xp.NoCompiler, match="install g.. or clang.., set CXX, or pip install ziglang"):
        xp.ElementwiseKernel("T x", "T z", "z = x")(x)


# cuBLAS


def gemm(a, b, c, m, n, k, *, transposed=(0, 0), lda, ldb, ldc, strides, count, alpha=1.0, beta=0.0, types=None):
    """cuBLAS's call for float32, or for the three types and the precision given."""
    cublas, ctype = cuda.cublas, ctypes.c_double if c.dtype == np.float64 else ctypes.c_float
    factors = ctype(alpha), ctype(beta)
    *kinds, compute = types or [cuda.runtime.CUDA_R_32F] * 3 + [cublas.CUBLAS_COMPUTE_32F]
    cublas.gemmStridedBatchedEx(
        *(cuda.Device().cublas_handle, *transposed, m, n, k, ctypes.addressof(factors[0])),
        *(a.data.ptr, kinds[0], lda, strides[0], b.data.ptr, kinds[1], ldb, strides[1]),
        *(ctypes.addressof(factors[1]), c.data.ptr, kinds[2], ldc, strides[2]),
        *(count, compute, cublas.CUBLAS_GEMM_DEFAULT),
    )


@pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (-2.0, 0.5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_strided_batched_product_is_column_by_column(transposed, alpha, beta, dtype):
    m, n, k, count, rng = 3, 4, 5, 2, np.random.default_rng(0)
    # Columns are two numbers longer than needed, and matrices a column apart.
    stored = [(k, m) if transposed[0] else (m, k), (n, k) if transposed[1] else (k, n), (m, n)]
    hosts = [rng.standard_normal((count, columns + 1, rows + 2)).astype(dtype) for rows, columns in stored]
    a, b, c = map(xp.asarray, hosts)
    matrices = [host[:, :-1, :-2].swapaxes(1, 2) for host in hosts]
    left, right = (host.swapaxes(1, 2) if t else host for host, t in zip(matrices, transposed))
    expected = alpha * (left @ right) + beta * matrices[2]
    cublas, runtime = cuda.cublas, cuda.runtime
    types = [runtime.CUDA_R_64F] * 3 + [cublas.CUBLAS_COMPUTE_64F] if dtype == np.float64 else None
    ld = dict(zip(("lda", "ldb", "ldc"), (host.shape[2] for host in hosts)))
    strides = [host[0].size for host in hosts]
    gemm(
        a, b, c, m, n, k, transposed=transposed, **ld, strides=strides, count=count, alpha=alpha, beta=beta, types=types
    )
    ours = c.get()
    np.testing.assert_allclose(ours[:, :-1, :-2].swapaxes(1, 2), expected, rtol=8 * np.finfo(dtype).eps, atol=1e-6)
    np.testing.assert_array_equal(ours[:, -1], hosts[2][:, -1])  # nothing else is touched


SIZES = {"lda": 2, "ldb": 2, "ldc": 2, "strides": (4, 4, 4), "count": 3}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({}, None, None),
        ({"lda": 1}, RuntimeError, "INVALID_VALUE: 3 matrices A of 2 rows and 2 columns, ld 1"),
        ({"ldb": 3}, MemoryError, "reaches outside"),
        ({"count": 4}, MemoryError, "reaches outside"),
        ({"strides": (4, 4, 3)}, ValueError, "elements overlap in memory"),
        ({"strides": (0, 4, 4)}, None, None),
        ({"types": [0, 0, 1, 68]}, RuntimeError, "NOT_SUPPORTED"),
        ({"types": [0, 0, 0, 70]}, RuntimeError, "NOT_SUPPORTED"),
        ({"types": [0, 0, 0, 77]}, None, None),
        ({"transposed": (3, 0)}, RuntimeError, "NOT_SUPPORTED"),
    ],
)
def test_what_cublas_cannot_do_raises(change, error, message):
    a, b, c = (xp.asarray(float32(3, 2, 2)) for _ in range(3))
    call = lambda: gemm(a, b, c, 2, 2, 2, **{**SIZES, **change})
    if error is None:
        call()
    else:
        with pytest.raises(error, match=message):
            call()


def test_a_products_target_is_neither_of_its_factors_nor_read_where_beta_is_zero():
    a, b, c = xp.asarray(float32(3, 2, 2)), xp.asarray(float32(3, 2, 2)), xp.empty((3, 2, 2), np.float32)
    gemm(a, b, c, 2, 2, 2, **SIZES)
    assert np.isfinite(c.get()).all()
    with pytest.raises(ValueError, match="overlaps the target"):
        gemm(a[:2], b, a[1:], 2, 2, 2, **{**SIZES, "count": 2})


# Streams


def pinned(array):
    """The array in pinned memory."""
    memory = cuda.alloc_pinned_memory(array.nbytes)
    host = np.frombuffer(memory, array.dtype, array.size).reshape(array.shape)
    host[...] = array
    return host


def test_a_copy_from_pinned_memory_arrives_when_it_is_waited_for():
    stream, host, device = cuda.Stream(non_blocking=True), pinned(np.arange(3.0)), xp.empty(3)
    with xp.recorded() as waits:
        device.set(host, stream=stream)
        copied = stream.record()
        early = device + 0  # nobody waited
        cuda.get_current_stream().wait_event(copied)
        late = device + 0
    assert waits == waits.uploads == []
    assert np.isnan(early.get()).all()
    np.testing.assert_array_equal(late.get(), [0, 1, 2])


def test_pinned_memory_that_is_reused_too_early_is_what_arrives():
    stream, host, device = cuda.Stream(non_blocking=True), pinned(np.arange(3.0)), xp.empty(3)
    device.set(host, stream=stream)
    host[...] = 7
    stream.synchronize()
    host[...] = 8
    assert device.tolist() == [7, 7, 7]
    pageable = np.arange(3.0)
    device.set(pageable, stream=stream)
    pageable[...] = 7
    stream.synchronize()
    assert device.tolist() == [0, 1, 2]


def test_streams_that_block_wait_for_the_null_stream_and_it_for_them():
    host = pinned(np.ones(3))
    for upload, compute, arrives in (
        (cuda.Stream(), cuda.Stream.null, True),
        (cuda.Stream.null, cuda.Stream(), True),
        (cuda.Stream(), cuda.Stream(), False),
        (cuda.Stream.null, cuda.Stream(non_blocking=True), False),
        (cuda.Stream(non_blocking=True), cuda.Stream.null, False),
    ):
        device = xp.empty(3)
        device.set(host, stream=upload)
        with compute:
            result = device + 0
        assert cuda.get_current_stream() is cuda.Stream.null
        cuda.Device().synchronize()
        assert np.isfinite(result.get()).all() == arrives


def test_a_copy_to_pinned_memory_has_the_numbers_of_its_turn():
    device, host = xp.ones(3), pinned(np.zeros(3))
    with xp.recorded() as waits:
        device.get(out=host, blocking=False)
    assert waits == []
    event = cuda.get_current_stream().record()
    assert host.tolist() == [0, 0, 0]
    device += 1
    event.synchronize()
    assert host.tolist() == [1, 1, 1]


def test_there_is_one_device():
    runtime = cuda.runtime
    assert runtime.getDeviceCount() == 1
    assert cuda.Device().use().id == 0
    assert int(cuda.Device(0).compute_capability) == 90
    assert runtime.getDeviceProperties(0)["name"] == b"strict stand-in"
    for call in (lambda: cuda.Device(1).use(), lambda: runtime.getDeviceProperties(1)):
        with pytest.raises(runtime.CUDARuntimeError, match="cudaErrorInvalidDevice"):
            call()
