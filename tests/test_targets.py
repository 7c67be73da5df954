"""The small experiments reach their figures: a smoke test here, the whole of them marked slow.

Each run is the command that a user types, in a process of its own, and is measured by `minicoulomb evaluate`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What the command sets for itself, it is to set here too.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}


def minicoulomb(*args):
    command = [sys.executable, "-m", "minicoulomb", *map(str, args)]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout


def trained(preset, seed, out, *options):
    """The metrics of a finished run, of 2,500 samples."""
    minicoulomb("train", "--preset", preset, "--seed", seed, "--out", out, "--sample-every", 0, *options)
    (run,) = out.glob("00000-*")
    return json.loads(minicoulomb("evaluate", run, "--json"))


def test_1500_steps_find_the_modes_of_the_grid(tmp_path):
    metrics = trained("grid", 0, tmp_path, "--steps", 1500)
    assert metrics["modes"] >= 24
    assert metrics["forward_kl"] <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_grid_is_covered_and_its_modes_are_sharp(tmp_path, seed):
    metrics = trained("grid", seed, tmp_path)
    assert (metrics["modes"], metrics["modes20"]) == (25, 25)
    assert metrics["high_quality"] >= 0.91
    assert metrics["reverse_kl"] <= 0.01
    assert 0.9 <= metrics["spread"] <= 1.3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_ring_is_covered_and_its_modes_are_sharp(tmp_path, seed):
    metrics = trained("ring", seed, tmp_path)
    assert (metrics["modes"], metrics["modes20"]) == (8, 8)
    assert metrics["high_quality"] >= 0.93
    assert max(metrics["reverse_kl"], metrics["forward_kl"]) <= 0.003


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("preset", "frechet"), [("digits", 0.45), ("digits-conv", 0.6)])
def test_digits_of_every_class_come_close_to_the_data(tmp_path, preset, frechet, seed):
    metrics = trained(preset, seed, tmp_path)
    assert metrics["classes"] == 10
    assert metrics["entropy"] >= 2.27
    assert metrics["frechet"] <= frechet
    assert metrics["nearest_ratio"] > 0.8  # no copies of training samples
