"""`import minicoulomb as mc` gives the study API, and nothing else is imported."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import minicoulomb as mc


def imported_by(code):
    """The modules that a fresh interpreter has imported after `code`."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def type_checking_imports():
    """{name: module} of the imports that type checkers read."""
    tree = ast.parse(Path(mc.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {alias.name: node.module for node in block.body for alias in node.names}


def test_the_package_alone_imports_no_numpy():
    """The command sets BLAS's number of threads after Python has imported the package and before NumPy is imported."""
    assert "numpy" not in imported_by("import minicoulomb")


def test_the_study_api_imports_neither_pillow_nor_click_nor_a_framework():
    modules = imported_by("from minicoulomb import *; gradients, correlate, potential")
    assert "minicoulomb.gan" in modules
    assert not modules & {"PIL", "click", "cupy", "torch", "jax", "autograd", "matplotlib", "lmdb", "multiprocessing"}


def test_type_checkers_see_the_names_that_exist_at_run_time():
    names = type_checking_imports()
    assert sorted(names) == sorted(mc.__all__)
    for name, module in names.items():
        assert getattr(mc, name) is getattr(import_module(module), name)


def test_every_name_is_listed_once_and_has_a_docstring():
    assert len(set(mc.__all__)) == len(mc.__all__)
    assert set(mc.__all__) < set(dir(mc))
    assert all(inspect.getdoc(getattr(mc, name)) for name in mc.__all__)


def test_the_docstring_is_a_table_of_contents():
    contents = mc.__doc__.partition(">>>")[0].replace(",", " ").split()
    assert not set(mc.__all__) - set(contents)


def test_rooms_are_attributes_and_other_names_are_errors():
    assert mc.layers is import_module("minicoulomb.layers")
    with pytest.raises(AttributeError, match="no attribute 'potentiel'"):
        _ = mc.potentiel
