"""examples/notebooks: their form, the names that they use, and that one of them fails for a wrong gradient.

All of them run from the first cell to the last when .ci/run builds the documentation.
"""

import ast
import json
import re
import sys
from importlib import import_module

import pytest
from test_docs import ROOT

import minicoulomb as mc

FOLDER = ROOT / "examples" / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$]+)\$", re.DOTALL)
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells(path, kind):
    """The sources of a notebook's cells of one type, "markdown" or "code"."""
    notebook = json.loads(path.read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_there_are_five():
    assert [path.stem[:2] for path in PATHS] == ["1_", "2_", "3_", "4_", "5_"]


@every_notebook
def test_a_notebook_is_of_format_4_5_without_outputs(path):
    notebook = json.loads(path.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        assert re.fullmatch(r"[\w-]{1,64}", cell["id"])
        assert not cell["metadata"]
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert path.read_text().endswith("}\n")


@every_notebook
def test_a_notebook_is_a_lesson(path):
    texts, code = cells(path, "markdown"), cells(path, "code")
    assert texts[0].startswith(f"# {path.stem[0]}. ")
    assert "## Questions to try\n\n1. " in texts[-1]
    assert sum(cell.count("assert ") for cell in code) >= 5
    assert code[0].endswith("# before NumPy is imported: its threads would wait for each other")
    for cell in code:
        compile(cell, path.name, "exec")
    assert max(map(len, "\n".join(code).splitlines())) <= 120


@every_notebook
def test_the_names_of_a_notebook_exist(path):
    for cell in cells(path, "code"):
        assert [name for name in re.findall(r"\bmc\.(\w+)", cell) if not hasattr(mc, name)] == []
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("minicoulomb"):
                assert [alias.name for alias in node.names if not hasattr(import_module(node.module), alias.name)] == []
    for text in cells(path, "markdown"):
        assert [name for name in re.findall(r"`mc\.(\w+)", text) if not hasattr(mc, name)] == []
        links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if ":" not in link]
        assert [link for link in links if not (FOLDER / link).exists()] == []
        files = re.findall(r"`((?:minicoulomb|examples)/[\w/]+\.py)`", text)
        assert [file for file in files if not (ROOT / file).exists()] == []


@every_notebook
def test_docutils_draws_the_formulas_of_a_notebook(path):
    r"""As test_mathematics.py says, it misreads \frac12 & and \hat x_i, and draws the bars of \|a\| unequal."""
    formulas = [block or inline for text in cells(path, "markdown") for block, inline in FORMULA.findall(text)]
    misread = re.compile(r"frac[^{]|\\(hat|bar) ?\{?\w\}?_|(?<!left)(?<!right)\\\|")
    assert [formula for formula in formulas if misread.search(formula)] == []
    latex2mathml = pytest.importorskip("docutils.utils.math.latex2mathml", reason="needs the extra docs")
    for formula in formulas:
        latex2mathml.tex2mathml(formula)  # raises MathError


def test_the_page_and_the_site_have_every_notebook_and_ci_runs_them():
    page = (ROOT / "docs/notebooks.md").read_text()
    assert re.findall(r"\]\(\.\./examples/notebooks/(\w+)\.ipynb\)", page) == [path.stem for path in PATHS]
    assert re.findall(r"^notebooks/(\w+)$", page, re.MULTILINE) == [path.stem for path in PATHS]
    assert "-D nb_execution_mode=force" in (ROOT / ".ci/run").read_text()
    assert "/docs/notebooks/" in (ROOT / ".gitignore").read_text()  # copies, which docs/conf.py makes


@pytest.fixture
def without_oracles(monkeypatch):
    """JAX and PyTorch cannot be imported, and matplotlib opens no window."""
    matplotlib = pytest.importorskip("matplotlib", reason="notebooks draw; pip install '.[plot]'")
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    before = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    matplotlib.pyplot.close("all")
    matplotlib.use(before)


def run_gradients():
    exec(compile("\n".join(cells(FOLDER / "3_gradients.ipynb", "code")), "3_gradients", "exec"), {"__name__": "lesson"})


@pytest.mark.usefixtures("without_oracles")
def test_the_notebook_on_gradients_works_with_what_is_there(capsys):
    run_gradients()
    text = capsys.readouterr().out
    assert "JAX is not installed" in text
    assert "PyTorch is not installed" in text
    assert "witnesses: finite differences\n" in text


@pytest.mark.usefixtures("without_oracles")
@pytest.mark.parametrize("name", ["field", "layers.batch_norm_input_gradient", "correlate_kernel", "gradients"])
def test_a_wrong_gradient_ends_it_in_an_error(name, monkeypatch):
    room, _, function = name.rpartition(".")
    owner = getattr(mc, room) if room else mc
    right = getattr(owner, function)

    def wrong(*arguments, **options):
        result = right(*arguments, **options)
        return result._replace(dtheta=1.001 * result.dtheta) if function == "gradients" else 1.001 * result

    monkeypatch.setattr(owner, function, wrong)
    with pytest.raises(AssertionError):
        run_gradients()
