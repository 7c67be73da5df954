"""docs/mathematics: every block of code runs, every check fails for a wrong function, every formula is drawn."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from test_docs import blocks, options_of, prose

FOLDER = Path(__file__).parents[1] / "docs" / "mathematics"
PAGES = sorted(FOLDER.glob("*.md"))
SITE = sorted(FOLDER.parent.rglob("*.md"))
# chapter: the functions that it is about, from the study API or from a module
CHAPTERS = {
    "potential": "plummer_kernel potential field energy mmd2",
    "particles": "coulomb.mean_kernel particles.proven_step particles.follow_field",
    "discriminator": "potential potentials baselines.field_gradients gradients",
    "convolution": "correlate correlate_input correlate_kernel conv.winograd_plan.matrices",
    "batch_norm": "layers.batch_norm layers.batch_norm_input_gradient layers.batch_norm_param_gradient",
    "algorithm_1": "gradients step baselines.field_gradients",
    "adam": "adam_rates adam",
}
FUNCTIONS = [(chapter, function) for chapter, names in CHAPTERS.items() for function in names.split()]
TITLE = r"^## (\d+\. .+)\n"
TITLES = re.findall(TITLE, (FOLDER / "solutions.md").read_text(), re.M)
SOLUTIONS = dict(zip(TITLES, blocks(FOLDER / "solutions.md", "python")))
WORDS = 1000  # of prose and formulas: ten minutes


def run(chapter):
    """The blocks of a chapter, as one program."""
    exec(compile("\n".join(blocks(FOLDER / f"{chapter}.md", "python")), f"{chapter}.md", "exec"), {"__name__": chapter})


def off(value):
    """The value with all its numbers off by a thousandth."""
    if isinstance(value, tuple):
        items = map(off, value)
        return value._make(items) if hasattr(value, "_make") else tuple(items)
    return 1.001 * value if isinstance(value, float | np.ndarray) else value


def wrong(right):
    """The function with a wrong result; one that changes arrays in place gets wrong arguments."""
    if right.__name__ == "adam":
        return lambda theta, gradient, *rest: right(theta, 1.001 * gradient, *rest)
    if right.__name__ == "step":  # two steps
        return lambda G, D, state, *rest: [right(G, D, state, *rest) for _ in range(2)]
    if right.__name__ == "follow_field":
        return lambda x, y, *rest: right(x, 1.001 * y, *rest)
    return lambda *arguments, **named: off(right(*arguments, **named))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_checks_of_a_chapter_hold(chapter):
    run(chapter)


@pytest.mark.parametrize(("chapter", "function"), FUNCTIONS)
def test_a_wrong_function_fails_its_chapter(chapter, function, monkeypatch):
    module, _, name = f"minicoulomb.{function}".rpartition(".")
    module = import_module(module)
    monkeypatch.setattr(module, name, wrong(getattr(module, name)))
    with pytest.raises(AssertionError):
        run(chapter)


@pytest.mark.parametrize("title", SOLUTIONS)
def test_a_solution_runs(title):
    exec(compile(SOLUTIONS[title], f"solutions.md, {title}", "exec"), {"__name__": "solution"})


def test_each_of_ten_exercises_has_a_solution_and_belongs_to_a_chapter():
    text = (FOLDER / "exercises.md").read_text()
    assert re.findall(TITLE, text, re.M) == list(SOLUTIONS)
    assert len(SOLUTIONS) == (FOLDER / "solutions.md").read_text().count("```python") == 10
    chapters = re.findall(r"^\(Chapters? (.+?)\)", text, re.M)
    assert len(chapters) == 10
    assert {int(number) for line in chapters for number in re.findall(r"\d", line)} == set(range(1, 8))
    for path in PAGES:  # [exercise 3](exercises.md): the number of one of that chapter
        for number in re.findall(r"\[exercise (\d+)\]\(exercises\.md\)", path.read_text(), re.I):
            assert str(list(CHAPTERS).index(path.stem) + 1) in chapters[int(number) - 1]


def test_the_contents_have_every_page_and_the_chapters_in_order():
    text = (FOLDER / "index.md").read_text()
    listed = [line for line in blocks(FOLDER / "index.md", r"\{toctree\}")[0].split() if line[0] != ":"]
    assert listed == [*CHAPTERS, "exercises", "solutions"]
    assert {path.stem for path in PAGES} == {*listed, "index"}
    assert re.findall(r"^\d\. \[.+?\]\((\w+)\.md\)", text, re.M) == list(CHAPTERS)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_names_options_and_functions_and_is_short(path):
    text = prose(path)
    assert set(re.findall(r"`(--[a-z-]+)", text)) <= options_of("train")
    if path.stem in CHAPTERS:
        assert len(text.split()) <= WORDS
        for function in CHAPTERS[path.stem].split():
            assert function.rpartition(".")[2] in path.read_text()
    assert max(map(len, path.read_text().splitlines())) <= 120


def formulas(path):
    return [block or inline for block, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$]+)\$", prose(path), re.S)]


def test_no_formula_is_of_a_kind_that_docutils_draws_wrong_without_a_warning():
    r"""docutils, which docs/conf.py uses, misreads \frac12 & and \hat x_i, and draws \|a\| unequal, \overline short."""
    misread = re.compile(r"frac[^{]|overline|\\(hat|bar) ?\{?\w\}?_|(?<!left)(?<!right)\\\|")
    assert [formula for path in SITE for formula in formulas(path) if misread.search(formula)] == []


def test_docutils_knows_the_commands_of_every_formula():
    latex2mathml = pytest.importorskip("docutils.utils.math.latex2mathml", reason="needs the extra docs")
    for path in SITE:
        for formula in formulas(path):
            latex2mathml.tex2mathml(formula)  # raises MathError
