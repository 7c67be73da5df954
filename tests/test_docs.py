"""The docstrings' examples and the pages: what they show runs, and what they name exists."""

import doctest
import json
import math
import re
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path

import click
import pytest
from cli_cases import SMALL, run

import minicoulomb
from minicoulomb.cli.main import main
from minicoulomb.evaluation.verdict import AT_FLOOR, CHANCE, CLOSE, FINDINGS, FOLLOWS, PARTLY
from minicoulomb.pictures.metric_panels import PANELS
from minicoulomb.report.numbers import MEANINGS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minicoulomb"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README_WORDS = 1500

# Libraries that modules of the package import and extras install.
OPTIONAL = {"autograd", "cupy", "jax", "lmdb", "matplotlib", "torch"}


def modules_with_examples():
    """The dotted names of modules whose docstrings contain an example."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if ">>> " in path.read_text():
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def blocks(path, language):
    """The code of each fenced block of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def prose(path):
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands():
    """(page, words) of every minicoulomb command in a shell block or in backticks."""
    for path in PAGES:
        lines = [line for block in blocks(path, "sh") for line in block.replace("\\\n", " ").splitlines()]
        lines += [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`", prose(path))]
        for line in lines:
            words = shlex.split(line, comments=True) if line.count("'") % 2 == 0 else []
            if words[:1] == ["minicoulomb"] and len(words) > 1:
                yield pytest.param(words[1:], id=f"{path.name}: {' '.join(words)}")


@cache
def options_of(name):
    parameters = main.get_command(click.Context(main), name).params
    return {"--help"} | {option for one in parameters for option in (*one.opts, *one.secondary_opts)}


@pytest.mark.quick
@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_the_examples_of_docstrings_give_what_they_show(name):
    try:
        module = import_module(name)
    except ImportError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"needs {error.name}")
    if name == "minicoulomb.verify.oracles":  # it imports PyTorch only when an example calls to_torch
        pytest.importorskip("torch")
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed


def test_the_code_of_readme_runs():
    """That of docs/verify.md runs in verify/test_recipes.py."""
    exec(compile("\n".join(blocks(ROOT / "README.md", "python")), "README.md", "exec"), {"__name__": "readme"})


def test_readme_activates_the_environment_that_it_makes():
    for block, last in zip(blocks(ROOT / "README.md", "sh"), ("minicoulomb train", "pytest")):
        first, activate, _, command = block.strip().split(" && ")
        assert (first, activate, command) == ("python3 -m venv .venv", ". .venv/bin/activate", last)


def test_readme_keeps_its_length():
    assert len((ROOT / "README.md").read_text().split()) <= README_WORDS


@pytest.mark.parametrize("words", list(commands()))
def test_a_command_has_the_options_that_a_page_gives_it(words):
    name, *arguments = words
    if name.startswith("-"):
        return
    given = {word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)}
    assert given <= options_of(name)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_and_files_of_a_page_exist(path):
    text = prose(path)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if ":" not in link]
    assert not [link for link in links if not (path.parent / link).exists()]
    files = re.findall(r"`([\w/]+\.(?:py|sh))`", text)
    files += re.findall(r"\b(?:benchmarks|docs|examples|tests)/[\w/]+\.(?:py|sh|md)\b", path.read_text())
    assert not [file for file in files if not any((folder / file).exists() for folder in (ROOT, PACKAGE))]


def test_every_page_is_in_the_contents():
    contents = "".join(blocks(ROOT / "docs/index.md", r"\{toctree\}")).split()
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"} <= set(contents)


def test_the_page_on_reading_a_run_has_every_number_of_a_run_and_the_thresholds_of_its_verdict(tmp_path):
    page, glossary = ((ROOT / "docs" / name).read_text() for name in ("how_to_read.md", "glossary.md"))
    run("train", *SMALL, "--steps", 2, "--out", tmp_path / "runs")
    logged = [json.loads(line) for line in (tmp_path / "runs/00000-ring/metrics.jsonl").read_text().splitlines()]
    names = {name for line in logged for name in line} | set(MEANINGS) - {"batch_mmd2", "fid"}
    assert sorted(name for name in names if f"`{name}`" not in page) == []
    rows = [line for line in page.splitlines() if line.startswith("|")]
    for finding in FINDINGS[1:]:
        limit = f"below {finding.low}" if finding.high == math.inf else f"above {finding.high}"
        name = "log(classes) - `entropy`" if finding.metric == "uneven" else f"`{finding.metric}`"
        assert [row for row in rows if name in row and limit in row], finding
    assert f"at most {AT_FLOOR}" in page
    assert f"at most {CLOSE:g}" in page
    assert f"below {CHANCE}: mostly chance" in page
    assert f"below {FOLLOWS}: D follows in part; below {PARTLY}: D does not follow" in page
    titles = [panel.title.partition(":")[0] for panel in PANELS]
    assert [title for title in titles if title not in page] == []
    words = re.findall(r"^\*\*(.+?)\*\*", glossary, re.MULTILINE)
    assert words == sorted(words, key=lambda word: word.lower().partition(",")[0].replace("²", "2"))


def test_the_reference_has_the_whole_study_api():
    listed = "".join(blocks(ROOT / "docs/api.md", r"\{eval-rst\}")).split()
    assert [name for name in minicoulomb.__all__ if name not in listed] == []
