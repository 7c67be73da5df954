"""Every test: hypothesis without deadlines, because no test measures time; the marker quick; with --on, arrays on a
device (elsewhere.py)."""

import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: its threads would wait for each other

import elsewhere
import pytest
from hypothesis import HealthCheck, settings
from strict_cupy import NoCompiler

from minicoulomb.errors import UserError

# With --on kernels are compiled for each geometry that a test draws: fewer examples, and the same in every run.
FEW = 8

# The tests marked quick: the numerics, without the networks whose gradients autograd needs half a minute for.
TESTS = Path(__file__).parent
QUICK = {TESTS / name for name in ("conv", "coulomb", "layers")}
QUICK |= {TESTS / f"test_{name}.py" for name in ("baselines", "gan", "models", "network", "optim")}
NOT_QUICK = "autograd[resnet-"

CHECKS = [HealthCheck.too_slow]
settings.register_profile("minicoulomb", deadline=None, max_examples=20, suppress_health_check=CHECKS)
settings.register_profile("elsewhere", deadline=None, max_examples=FEW, suppress_health_check=CHECKS, derandomize=True)


def pytest_addoption(parser):
    parser.addoption("--on", choices=["strict", "cupy"], help="where the tests of the numerics keep their arrays")


def pytest_configure(config):
    config.addinivalue_line("markers", "host: about what the host alone does; left out with --on")
    place = config.getoption("--on")
    settings.load_profile("elsewhere" if place else "minicoulomb")
    if place:
        try:
            elsewhere.move(elsewhere.library(place))
        except UserError as error:
            raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        slow = item.get_closest_marker("slow") or item.get_closest_marker("gpu") or NOT_QUICK in item.name
        if not slow and QUICK & {item.path, item.path.parent}:
            item.add_marker("quick")
    if not config.getoption("--on"):
        return
    stay = [item for item in items if item.path.name not in elsewhere.FILES or item.get_closest_marker("host")]
    config.hook.pytest_deselected(items=stay)
    items[:] = [item for item in items if item not in stay]
    for item in items:
        own = getattr(item.function, "_hypothesis_internal_use_settings", None)  # those of the decorator
        if own and own.max_examples > FEW:
            item.function._hypothesis_internal_use_settings = settings(own, max_examples=FEW)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """The stand-in for CuPy compiles its kernels."""
    try:
        return (yield)
    except NoCompiler as error:
        pytest.skip(str(error))


def pytest_report_header(config):
    return f"arrays on: {config.getoption('--on') or 'numpy'}"
