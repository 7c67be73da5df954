"""`minicoulomb info`: what is installed, and what is missing."""

import json
import sys
from importlib.util import find_spec

import pytest
from cli_cases import run
from cupy_cases import CUDARuntimeError, fake_cupy

from minicoulomb.arrays import backend as backends
from minicoulomb.arrays.backend import open_backend
from minicoulomb.cli.console import table
from minicoulomb.cli.environment import describe
from minicoulomb.errors import UserError

HOST = ["minicoulomb", "Python", "NumPy", "Pillow", "click", "system", "processor", "cores", "threads", "memory"]


@pytest.fixture
def gpu(monkeypatch):
    """The stand-in as CuPy, with its GPUs."""
    monkeypatch.setenv("CUPY_TF32", "unset")  # so that it is put back
    cupy = fake_cupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy


def test_on_the_host_alone_cupy_is_not_asked(monkeypatch):
    monkeypatch.setattr("minicoulomb.cli.environment.backends.load_cupy", lambda: pytest.fail("asked"))
    assert list(describe("numpy")) == [*HOST, "backend"]


def test_a_gpu_is_described(gpu):
    about = describe(device=1)
    assert {name: about[name] for name in list(about)[len(HOST) :]} == {
        "CuPy": "14.2.0",
        "CUDA driver": "12.8",
        "CUDA runtime": "12.9",
        "NVRTC": "12.9",
        "cuBLAS": "12.9.1",
        "GPU": "1 of 2: NVIDIA H100 80GB HBM3",
        "compute capability": "9.0",
        "multiprocessors": 132,
        "GPU memory": "78.0 of 80.0 GiB free",
        "TF32": "off",
        "backend": "cupy, the choice of auto",
    }
    assert describe("cupy", tf32=True)["TF32"] == "on"


def test_an_older_gpu_has_no_tf32(monkeypatch, gpu):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(capability="75"))
    assert describe()["TF32"] == "none on this GPU"


def test_what_is_missing_is_told_with_its_remedy(monkeypatch, gpu):
    cupy = fake_cupy(driver=0, n=CUDARuntimeError("cudaErrorInsufficientDriver: too old"))
    del cupy.cuda.nvrtc, cupy.cuda.cublas
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    about = describe()
    assert about["CuPy"] == cupy.__version__
    assert about["GPU"] == "none: there is no NVIDIA driver"
    assert "nvidia-smi" in about["remedy"]
    assert about["backend"] == "numpy, the choice of auto"
    assert describe("cupy")["backend"] == "cupy, which does not work here"


def test_without_cupy_the_line_that_installs_it_is_told(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    about = describe()
    assert (about["CuPy"], about["GPU"]) == ("not usable", "none: CuPy is not installed")
    assert "pip install" in about["remedy"]


def test_a_mistake_is_still_one():
    with pytest.raises(UserError, match="--no-tf32"):
        describe("numpy", tf32=True)


def test_values_stand_in_a_column():
    assert table({"a": 1, "the longest of the names": "two"}) == [
        "  a                         1",
        "  the longest of the names  two",
    ]


def test_the_command_never_fails_for_want_of_a_gpu():
    about = json.loads(run("info", "--json", "--backend", "cupy"))
    assert set(HOST) < set(about)
    assert (about["CuPy"] == "not usable") == (find_spec("cupy") is None)
    assert about["GPU"].startswith("none: ") == (open_backend("auto").name == "numpy")
    assert [line.split()[0] for line in run("info", "--backend", "numpy").splitlines()] == [*HOST, "backend"]
