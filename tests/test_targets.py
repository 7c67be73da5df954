"""The small experiments reach their figures: a smoke test here, the whole of them marked slow.

Each run is the command that a user types, in a process of its own, and is measured by `minicoulomb evaluate`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicoulomb.coulomb import mmd2
from minicoulomb.data.sources import BUILT_IN

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


# The smallest and largest that the median of five seeds may be; a single seed may be a quarter worse. mmd2 is measured
# with a fixed eps, so that no preset can choose a blunter one; fresh real samples have .0008 on average.
TARGETS = {
    "ring": {"mmd2": (0, 0.004), "high_quality": (0.91, 1), "spread": (0.85, 1.3), "reverse_kl": (0, 0.006)},
    "grid": {"mmd2": (0, 0.002), "high_quality": (0.90, 1), "reverse_kl": (0, 0.01)},
    "ring --field-share 0.2": {"mmd2": (0, 0.0012), "high_quality": (0.93, 1), "spread": (1.0, 1.25)},
    "grid --field-share 0.2 --eps-end 2 --steps 40000": {
        "mmd2": (0, 0.0010),
        "high_quality": (0.91, 1),
        "spread": (1.0, 1.25),
        "reverse_kl": (0, 0.008),
    },
}
MODES = {"ring": 8, "grid": 25}
EPS = {"ring": 0.4, "grid": 2.0}


def mmd2_of(preset, out):
    """The squared MMD of a run's samples, in units of eps^-2, as the mean over five draws of real ones."""
    data, eps, rng = BUILT_IN[preset](), EPS[preset], np.random.default_rng(0)
    (run,) = out.glob("00000-*")
    minicoulomb("sample", run, "-n", 2500, "-o", out / "x.npz")
    with np.load(out / "x.npz") as arrays:
        (x,) = arrays.values()
    return np.mean([eps**2 * mmd2(x, data.draw(rng, 2500), 2, eps) for _ in range(5)])


@pytest.mark.slow
@pytest.mark.parametrize("command", TARGETS)
def test_the_mixtures_are_learned(tmp_path, command):
    preset, *options = command.split()
    runs = [trained(preset, seed, tmp_path / str(seed), *options) for seed in range(5)]
    runs = [run | {"mmd2": mmd2_of(preset, tmp_path / str(seed))} for seed, run in enumerate(runs)]
    assert {run[name] for run in runs for name in ("modes", "modes20")} == {MODES[preset]}
    for name, (low, high) in TARGETS[command].items():
        values = [run[name] for run in runs]
        assert low <= np.median(values) <= high, (name, values)
        assert low / 1.25 <= min(values), (name, values)
        assert max(values) <= 1.25 * high, (name, values)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("command", "frechet"),
    [("digits", 0.45), ("digits-conv", 0.25), ("digits --field-share 0.5 --lr-decay-d 0.3", 0.34)],
)
def test_digits_of_every_class_come_close_to_the_data(tmp_path, command, frechet, seed):
    preset, *options = command.split()
    metrics = trained(preset, seed, tmp_path, *options)
    assert metrics["classes"] == 10
    assert metrics["entropy"] >= 2.27
    assert metrics["frechet"] <= frechet
    assert metrics["nearest_ratio"] > 0.8  # no copies of training samples
