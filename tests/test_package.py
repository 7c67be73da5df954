"""The wheel and the source distribution, and the citation."""

import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from minicoulomb import __version__

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The files of (wheel, source distribution)."""
    wheels = pytest.importorskip("hatchling.builders.wheel", reason="needs hatchling; pip install -e '.[dev]'")
    sources = pytest.importorskip("hatchling.builders.sdist")
    folder = str(tmp_path_factory.mktemp("dist"))
    (wheel,), (source,) = (
        builder(str(ROOT)).build(directory=folder) for builder in (wheels.WheelBuilder, sources.SdistBuilder)
    )
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    return in_wheel, in_source


def test_the_wheel_holds_the_package_and_nothing_else(built):
    in_wheel, _ = built
    assert {name.partition("/")[0] for name in in_wheel} == {"minicoulomb", f"minicoulomb-{__version__}.dist-info"}
    files = {path for path in (ROOT / "minicoulomb").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert ROOT / "minicoulomb/py.typed" in files
    assert {str(path.relative_to(ROOT)) for path in files} <= in_wheel


def test_the_source_distribution_can_be_tested_and_built(built):
    _, in_source = built
    folders = ("minicoulomb", "benchmarks", "tests", "examples", "docs")
    files = {path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".png")}
    files = {str(path.relative_to(ROOT)) for path in files}
    assert files | {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff", "cli.py"} <= in_source


def test_the_citation_has_the_version():
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == __version__
