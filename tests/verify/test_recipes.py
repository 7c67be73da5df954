"""The recipes of docs/verify.md run as they stand, and are as short as they promise."""

import re
from pathlib import Path

import numpy as np
import pytest

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
def test_the_gradients_agree(title):
    run(title)


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
