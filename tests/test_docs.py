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
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
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


@cache
def anchors(path):
    """The anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def broken_links(path):
    """Links of a page that lead nowhere, on the site or among the files, with the reason."""
    extra = re.findall(r'html_extra_path = \["(.+)"\]', (DOCS / "conf.py").read_text())
    for link in re.findall(r'href="([^"]+)"', prose(path)):
        if link not in {Path(file).name for file in extra}:
            yield link, "is not in html_extra_path"
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if "://" in link:
            if not link.startswith("https://"):
                yield link, "is no https"
        elif file and not target.is_file():
            yield link, "is no file"
        elif target.suffix == ".md" and DOCS not in target.parents and target.name != "CHANGELOG.md":
            yield link, "is no page of the site"
        elif anchor and anchor not in anchors(target):
            yield link, "is no heading"


def shapes(text):
    """The lines with N for each number, each run of blanks one blank."""
    return {" ".join(re.sub(r"[-+]?\d[\d.,:e-]*", " N ", line).split()) for line in text.splitlines() if line.strip()}


def shown(page):
    """The indented blocks of a page, without lines left out and sentences."""
    lines = re.findall(r"^    (.+)$", prose(page), re.MULTILINE)
    return shapes("\n".join(line for line in lines if line != "..." and not line.endswith(".")))


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
    for block, last in zip(blocks(ROOT / "README.md", "sh"), ("minicoulomb train", "pytest -n auto")):
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


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_files_of_a_page_exist(path):
    """docs/conf.py looks at the same links again, in the site."""
    assert list(broken_links(path)) == []
    text = prose(path)
    files = re.findall(r"`([\w/]+\.(?:py|sh))`", text)
    files += re.findall(r"\b(?:benchmarks|docs|examples|tests)/[\w/]+\.(?:py|sh|md)\b", path.read_text())
    assert not [file for file in files if not any((folder / file).exists() for folder in (ROOT, PACKAGE))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_line_of_a_paragraph_begins_a_list_or_a_heading_by_chance(path):
    """A minus or plus of a formula or of prose, where a line was broken."""
    for block in re.split(r"\n\s*\n", prose(path)):
        first, *lines = block.strip("\n").splitlines() or [""]
        if not first.startswith(("$$", "    ")):
            mark = r" +[-+*] " if re.match(r"([-+*]|\d+\.) ", first) else r" *([-+*>]|#+|\d+\.|=+$) "
            assert [line for line in lines if re.match(mark, line)] == []


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("[a](data.md#no-such-heading)", "is no heading"),
        ("[a](#no-such-heading)", "is no heading"),
        ("[a](no_such_page.md)", "is no file"),
        ("[a](mathematics)", "is no file"),
        ("[a](../README.md)", "is no page of the site"),
        ("[a](http://example.org)", "is no https"),
        ('<a href="no_such_page.html">a</a>', "is not in html_extra_path"),
        ("[a](data.md#arrays-and-tables) [b](../examples/algorithm_1.py) ![c](grid.png)", None),
    ],
)
def test_a_link_to_nowhere_is_found(link, reason, monkeypatch):
    monkeypatch.setattr("test_docs.prose", {DOCS / "page.md": link, DOCS / "data.md": prose(DOCS / "data.md")}.get)
    assert [found for _, found in broken_links(DOCS / "page.md")] == [reason] * (reason is not None)


def test_every_page_is_in_the_contents_once():
    lines = "".join(blocks(DOCS / "index.md", r"\{toctree\}")).splitlines()
    contents = [line for line in lines if line and not line.startswith(":")]
    assert len(contents) == len(set(contents))
    assert {path.stem for path in DOCS.glob("*.md")} - {"index"} <= set(contents)


def test_the_tutorial_runs_and_prints_what_it_shows(tmp_path, monkeypatch, capsys):
    """With shorter runs and fewer points; curves and reports have tests of their own."""
    monkeypatch.chdir(tmp_path)
    page = DOCS / "tutorial.md"
    points, load = blocks(page, "python")
    exec(compile(points, "tutorial.md", "exec"), {})
    printed = ""
    for line in "".join(blocks(page, "sh")).splitlines():
        words = shlex.split(line)[1:]
        short = {"train": ["--steps", 100], "field": ["-n", 50], "evaluate": ["-n", 50], "sample": []}
        if words[0] in short:
            printed += run(*words, *short[words[0]])
        if words[0] == "sample":  # and before the second run
            exec(compile(load, "tutorial.md", "exec"), {})
    printed += capsys.readouterr().out
    assert "(1000, 2) True" in printed
    assert shown(page) - shapes(printed) == set()


def test_the_first_page_shows_what_its_commands_print(tmp_path, monkeypatch):
    """What its program prints is in verify/test_recipes.py."""
    monkeypatch.chdir(tmp_path)
    printed = run("gradcheck").replace("finite differences", "jax")
    printed += run("train", "--preset", "ring", "--steps", 100, "--sample-every", 100)
    assert {line for line in shown(DOCS / "start.md") if "largest difference" not in line} <= shapes(printed)


def test_the_page_on_reading_a_run_has_every_number_of_a_run_and_the_thresholds_of_its_verdict(tmp_path):
    page = "\n".join((DOCS / name).read_text() for name in ("how_to_read.md", "metrics.md"))
    glossary = (DOCS / "glossary.md").read_text()
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
    listed = "".join(blocks(DOCS / "api.md", r"\{eval-rst\}")).split()
    assert [name for name in minicoulomb.__all__ if name not in listed] == []
