"""The recipes of docs/verify.md and the guide docs/own_layer.md run as they stand; recipes are as short as promised."""

import re
from pathlib import Path

import numpy as np
import pytest
from test_docs import shapes, shown

TEXT = (Path(__file__).parents[2] / "docs" / "verify.md").read_text()
RECIPES = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", TEXT, re.S | re.M))


@pytest.fixture
def jax_precision():
    """The recipes set it for the process."""
    try:
        import jax
    except ImportError:
        yield
        return
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


def run(title):
    code = RECIPES[title]
    for library in ("torch", "jax"):
        if f"import {library}\n" in code:
            pytest.importorskip(library, reason=f"the recipe compares with {library}; pip install {library} to run it")
    names = {}
    exec(compile(code, f"docs/verify.md, {title}", "exec"), names)
    return names


def test_every_block_is_found():
    assert len(RECIPES) == TEXT.count("```python") == 5


@pytest.mark.usefixtures("jax_precision")
@pytest.mark.parametrize("title", [title for title in RECIPES if "against" in title])
def test_the_gradients_agree_and_the_first_page_shows_what_is_printed(title, capsys):
    run(title)
    printed = shapes(capsys.readouterr().out)
    assert bool(printed) == title.startswith("Batch normalization")
    assert printed <= shown(Path(__file__).parents[2] / "docs" / "start.md")


def test_the_network_learns_the_ring(capsys):
    samples = run("Train a network of your choice")["samples"]
    radii = np.linalg.norm(samples, axis=1)
    assert abs(radii.mean() - 2) < 0.1
    assert np.abs(samples.mean(0)).max() < 0.3
    assert "'mmd2'" in capsys.readouterr().out


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_is_short(title):
    lines = [line for line in RECIPES[title].splitlines() if line.strip()]
    statements = [line for line in lines if not line.startswith(("import", "from"))]
    assert len(lines) <= 25
    assert len(statements) <= 15 or title != "Train a network of your choice"
    assert max(map(len, lines)) <= 120


@pytest.mark.usefixtures("jax_precision")
def test_a_wrong_gradient_fails_a_recipe(monkeypatch):
    import minicoulomb.coulomb

    right = minicoulomb.coulomb.field
    monkeypatch.setattr("minicoulomb.field", lambda *charges: 1.0001 * right(*charges), raising=False)
    pytest.importorskip("jax", reason="the recipe compares with JAX; pip install jax to run it")
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        run("The potential and its field, against JAX")


OWN_LAYER = Path(__file__).parents[2] / "docs" / "own_layer.md"


def own_layer(*replaced):
    """The names of docs/own_layer.md after its blocks have run, as one program, with `replaced` pairs of code."""
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", OWN_LAYER.read_text(), re.S | re.M))
    for old, new in replaced:
        assert old in code
        code = code.replace(old, new)
    names = {"__name__": "own_layer"}
    exec(compile(code, "docs/own_layer.md", "exec"), names)
    return names


def test_the_guide_to_a_layer_of_one_s_own_runs_and_its_layers_learn(capsys):
    names = own_layer()
    radii = np.linalg.norm(names["samples"], axis=1)
    assert abs(radii.mean() - 2) < 0.2
    assert radii.std() < 0.3
    assert np.abs(names["samples"].mean(0)).max() < 0.3
    s = names["D"].named_views(names["state"].w)["1.s"]
    assert np.ptp(s) > 0.01
    assert s.dtype == np.float32
    printed = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[:3]]
    shown = re.search(r"^```\n(Gaussian .*?)^```", OWN_LAYER.read_text(), re.S | re.M)[1]
    assert printed == [line.split()[:2] for line in shown.splitlines()]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("-(s**2) * x * y * dy", "-(s**2) * y * dy"),
        ("-s * x**2", "s * x**2"),
        ("np.expm1(-y) * dy", "np.expm1(y) * dy"),
    ],
)
def test_a_slip_in_a_layer_of_one_s_own_stops_the_guide(right, wrong):
    with pytest.raises(AssertionError):
        own_layer((right, wrong))
