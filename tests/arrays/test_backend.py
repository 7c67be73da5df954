"""Why `--backend cupy` cannot compute is told as it is: what CuPy raises, in a stand-in, comes out as a remedy.

What the stand-in raises was seen in CuPy 14.2 without a driver and without libraries, or read in its source.
"""

import os
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from cupy_cases import CUDARuntimeError, Linalg, fake_cupy

from minicoulomb.arrays import backend as backends
from minicoulomb.arrays.backend import NoGPU, array_module, on_gpu, open_backend, to_host
from minicoulomb.errors import UserError

NO_DEVICE = "cudaErrorNoDevice: no CUDA-capable device is detected"
TOO_OLD = "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
NO_NVRTC = 'Failure finding "libnvrtc.so.13 or libnvrtc.so.12": No such file: libnvrtc.so.13 or libnvrtc.so.12'
NO_HEADERS = "Failed to find CUDA headers. Please install CUDA toolkit headers (e.g., pip install cupy-cuda12x[ctk])"
BROKEN = """
================================================================
Failed to import CuPy.

If you installed CuPy via wheels (cupy-cudaXXX), make sure that the package matches with the version of CUDA.

Original error:
  ImportError: libstdc++.so.6: version `GLIBCXX_3.4.30' not found
================================================================
"""


@pytest.fixture
def install(monkeypatch):
    """A function that makes the stand-in with these properties what `import cupy` gives."""
    monkeypatch.setenv("CUPY_TF32", "unset")  # so that it is put back
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(**properties):
        module = fake_cupy(**properties)
        monkeypatch.setitem(sys.modules, "cupy", module)
        return module

    return install


def raising(error):
    def function(*_):
        raise error

    return function


def tf32(a, b):
    """A product that keeps 10 bits of the mantissa, as TF32 does at worst: it cuts the others off."""
    cut = lambda array: (array.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
    return cut(a) @ cut(b)


def reason(*arguments, **options):
    with pytest.raises(NoGPU) as caught:
        open_backend("cupy", *arguments, **options)
    assert str(caught.value).startswith("backend cupy: ")
    assert str(caught.value).endswith("or use --backend numpy")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_gpu_that_computes_is_used(install):
    cupy = install()
    backend = open_backend("cupy", 1)
    assert (backend.name, backend.xp, backend.device, backend.tf32, backend.choice) == ("cupy", cupy, 1, False, None)
    assert cupy.used == [1]


def test_without_cupy_the_line_that_installs_it_is_told(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert "CuPy is not installed; pip install 'minicoulomb[cupy-cuda12x]'" in reason()


def test_a_cupy_that_does_not_import_is_told_with_the_cause(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(backends, "find_spec", lambda name: object())
    broken = SimpleNamespace(
        find_spec=lambda name, *_: raising(ImportError(BROKEN))() if name == "cupy" else None,
    )
    monkeypatch.setattr(sys, "meta_path", [broken, *sys.meta_path])
    said = reason()
    assert "installed but does not import (ImportError: libstdc++.so.6: version `GLIBCXX_3.4.30' not found)" in said
    assert "reinstall" in said


def test_an_old_cupy_is_told_with_the_version_that_is_needed(install):
    install(version="13.6.0")
    assert "CuPy 13.6.0 is too old: it must be 14 or later; pip install" in reason()


def test_without_a_driver_no_more_is_asked(install):
    install(driver=0, n=CUDARuntimeError(TOO_OLD))
    assert "no NVIDIA driver; install one" in reason()


def test_a_driver_that_is_too_old_is_told_with_both_versions(install):
    install(driver=11040, n=CUDARuntimeError(TOO_OLD))
    assert "too old: it is for CUDA 11.4, and CuPy 14.2.0 for CUDA 12.9; update the driver" in reason()


@pytest.mark.parametrize("visible", [None, "", "7"])
def test_without_a_gpu_the_variable_that_hides_one_is_named(install, monkeypatch, visible):
    install(n=CUDARuntimeError(NO_DEVICE))
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    said = reason()
    assert "the driver finds no GPU" in said
    assert ("CUDA_VISIBLE_DEVICES" in said) == (visible is not None)


def test_another_fault_of_the_driver_is_told_as_cuda_tells_it(install):
    install(n=CUDARuntimeError("cudaErrorSystemDriverMismatch: system has unsupported display driver"))
    assert "CUDA does not start (CUDARuntimeError: cudaErrorSystemDriverMismatch: system has" in reason()


@pytest.mark.parametrize(("n", "there", "remedy"), [(1, "there is 1 GPU", "0"), (4, "there are 4 GPUs", "3")])
def test_a_gpu_beyond_those_there_are_is_refused_with_their_number(install, n, there, remedy):
    install(n=n)
    said = reason(4)
    assert f"device 4: {there}; use --device {remedy} or less" in said


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ({"asarray": raising(RuntimeError(NO_NVRTC))}, "libnvrtc"),
        ({"asarray": raising(RuntimeError(NO_HEADERS))}, "CUDA headers"),
        ({"matmul": raising(ImportError(NO_NVRTC.replace("nvrtc", "cublasLt")))}, "libcublasLt"),
        ({"matmul": raising(ImportError("libcublas.so.12: cannot open shared object file"))}, "libcublas"),
        ({"matmul": raising(RuntimeError("failed to open libnvrtc-builtins.so.12.9."))}, "libnvrtc-builtins"),
    ],
)
def test_a_missing_part_of_the_cuda_toolkit_is_named_with_what_installs_it(install, broken, named):
    install(**broken)
    assert f"CuPy finds no {named}, a part of the CUDA toolkit; pip install 'cupy-cuda12x[ctk]'" in reason()


def test_what_else_stops_the_gpu_is_told_as_it_came(install):
    install(matmul=raising(MemoryError("Out of memory allocating 512 bytes\nmore")))
    assert "the GPU does not compute (MemoryError: Out of memory allocating 512 bytes)" in reason()


@pytest.mark.parametrize("wrong", [lambda a, b: a @ b + 1e-5, lambda a, b: a @ b * np.float32(np.nan), tf32])
def test_wrong_numbers_are_no_proof(install, wrong):
    install(matmul=wrong)
    assert "a matrix product on the GPU is off by" in reason()


def test_a_wrong_kernel_is_no_proof(install):
    install(asarray=lambda array: array + 1)
    assert "computes 2 x - 1 wrong" in reason()


# TF32


def test_tf32_is_told_to_cupy_and_to_our_own_products_and_taken_back(install):
    linalg = install(matmul=tf32)._core._routines_linalg
    assert open_backend("cupy", tf32=True).tf32
    assert (os.environ["CUPY_TF32"], linalg.chosen) == ("1", Linalg.COMPUTE_TYPE_TF32)
    linalg = install()._core._routines_linalg
    assert not open_backend("cupy").tf32
    assert (os.environ["CUPY_TF32"], linalg.chosen) == ("0", Linalg.COMPUTE_TYPE_DEFAULT)


def test_a_product_with_fewer_bits_than_tf32_is_no_proof_either(install):
    install(matmul=lambda a, b: np.floor(a) @ b)
    assert "is off by" in reason(tf32=True)


@pytest.mark.parametrize("name", ["cupy", "auto"])
def test_tf32_on_a_gpu_that_has_none_is_refused(install, name):
    install(capability="75")
    with pytest.raises(UserError, match=r"H100.* has compute capability 7.5, TF32 came with 8.0; use --no-tf32"):
        open_backend(name, tf32=True)
    assert open_backend(name).name == "cupy"


def test_tf32_in_numpy_is_refused():
    with pytest.raises(UserError, match=r"tf32: .* --no-tf32, or --backend cupy"):
        open_backend("numpy", tf32=True)


# auto


def test_auto_says_what_it_chose_and_why(install):
    install()
    backend = open_backend("auto", 1)
    assert (backend.name, backend.device, backend.choice) == ("cupy", 1, "auto: cupy, NVIDIA H100 80GB HBM3")
    install(driver=0)
    backend = open_backend("auto")
    assert (backend.name, backend.choice) == ("numpy", "auto: numpy, because there is no NVIDIA driver")
    assert open_backend("auto", tf32=True).choice.endswith("; --tf32 has no effect")


# What needs no stand-in


def test_an_unknown_backend_is_refused():
    with pytest.raises(UserError, match="backend 'torch': must be numpy, cupy or auto"):
        open_backend("torch")


def test_numpy_computes_where_it_is():
    backend = open_backend()
    array = backend.to_device(np.arange(3), np.float32)
    assert (backend.name, backend.choice, array.dtype) == ("numpy", None, np.float32)
    assert array_module(array) is np
    assert to_host(array) is array
    assert not on_gpu(array)
    backend.synchronize()


WITH_CUPY = pytest.mark.skipif(find_spec("cupy") is None, reason="CuPy is not installed; what it lacks is tested above")


@WITH_CUPY
def test_the_stand_in_has_no_name_that_cupy_lacks():
    import cupy

    def missing(fake, real, path):
        for name, value in vars(fake).items():
            if not hasattr(real, name):
                yield f"{path}.{name}"
            elif isinstance(value, SimpleNamespace):
                yield from missing(value, getattr(real, name), f"{path}.{name}")

    fake = fake_cupy()
    del fake.used  # the test's own
    if open_backend("auto").name == "numpy":
        del fake.cuda.cublas  # CuPy imports it with the library alone
    assert list(missing(fake, cupy, "cupy")) == []
    assert list(missing(fake.cuda.Device(0), cupy.cuda.Device, "Device")) == []
    for name in ("COMPUTE_TYPE_DEFAULT", "COMPUTE_TYPE_TF32", "get_compute_type", "set_compute_type"):
        assert hasattr(cupy._core._routines_linalg, name)


@WITH_CUPY
def test_the_installed_cupy_computes_or_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("CUPY_TF32", "0")
    backend = open_backend("auto")
    without_gpu = ("there is no NVIDIA driver", "the driver finds no GPU", "CuPy finds no ")
    if backend.name == "cupy":
        assert to_host(backend.xp.ones(2)).tolist() == [1, 1]
    else:
        assert reason()[len("backend cupy: ") :].startswith(without_gpu)


@pytest.mark.gpu
def test_tf32_rounds_products_and_its_absence_does_not(monkeypatch):
    cupy = pytest.importorskip("cupy", reason="needs CuPy and a GPU")
    monkeypatch.setenv("CUPY_TF32", "0")
    a = cupy.asarray(np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32))
    exact = to_host(a).astype(np.float64) @ to_host(a).astype(np.float64)
    error = {}
    for on in (True, False, True):  # in one process: CuPy asks the variable once, so it has to be told
        assert open_backend("cupy", tf32=on).tf32 == on
        error[on] = np.abs(to_host(a @ a) - exact).max() / np.abs(exact).max()
    open_backend("cupy")
    assert error[False] < 512 * 2**-24
    assert 2**-20 < error[True] < 2**-10
