"""The examples run, and do what they say."""

import runpy
from itertools import pairwise
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_algorithm_1_learns_the_ring():
    """Training is chaotic: another order of sums is another seed. The bound is below the worst of 40 seeds, 0.91."""
    metrics = load("algorithm_1")["main"]()
    assert metrics["modes"] == 8
    assert metrics["high_quality"] > 0.85


def test_the_gradients_agree_with_autograd():
    assert all(error < 1e-12 for error in load("compare_with_autograd")["main"]().values())


def test_gradients_are_verified_in_a_table(capsys):
    """The convolutional networks of its last rows are compared in test_autodiff_*.py."""
    table = load("verify_gradients")["main"](
        "linear", "conv", "norm", "residual", "field", "mlp", libraries=["autograd"]
    )
    assert {"Conv 2-D, winograd", "Residual, up", "field, 20 dimensions", "Algorithm 1, mlp / mlp"} < {
        name for name, _ in table
    }
    assert all(error < 1e-10 for errors in table.values() for error in errors)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| | gradient | autograd |"
    assert len(lines) == 2 + len(table)


def test_a_wrong_gradient_shows_in_the_table(monkeypatch):
    example = load("verify_gradients")
    field = example["field"]
    monkeypatch.setitem(example["errors_of_field"].__globals__, "field", lambda *charges: 1.001 * field(*charges))
    table = example["main"]("field", libraries=["autograd"])
    assert all(errors[0] == pytest.approx(1e-3) for errors in table.values())


def test_particles_spread_from_a_point_over_all_modes():
    energies, floor, metrics = load("particles")["main"](steps=60)
    assert all(after < before for before, after in pairwise(energies))
    assert energies[-1] < floor
    assert metrics["modes20"] == 25


def test_every_example_is_tested_here():
    text = Path(__file__).read_text()
    assert all(f'load("{path.stem}")' in text for path in EXAMPLES.glob("*.py"))
