"""The examples run, and do what they say, with few steps."""

import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_algorithm_1_learns_the_ring():
    metrics = load("algorithm_1")["main"](steps=600)
    assert metrics["modes"] == 8
    assert metrics["high_quality"] > 0.5


def test_the_gradients_agree_with_autograd():
    assert all(error < 1e-12 for error in load("compare_with_autograd")["main"]().values())


def test_every_example_is_tested_here():
    text = Path(__file__).read_text()
    assert all(f'load("{path.stem}")' in text for path in EXAMPLES.glob("*.py"))
