"""The paper's image experiments from end to end, on generated photographs: small here, 1,000 of them marked slow.

Every step is the command that a user types. What the data sets' own formats are read as is in the tests of data/.
"""

import json

import numpy as np
import pytest
from cli_cases import pixels, run, tree
from PIL import Image

from minicoulomb.presets import resolve

# The size (width, height) of the data set's images, and the side that they are trained at.
SETS = {"celeba": ((178, 218), 64), "lsun": ((341, 256), 64), "cifar10": ((32, 32), 32)}


def photograph(folder, n, size, seed=0):
    """n JPEG files: a disc of one colour on a ground that fades from one colour to another."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*(np.linspace(0, 1, side) for side in size))
    for i in range(n):
        above, below, disc = rng.integers(0, 256, (3, 3))
        centre, radius = rng.uniform(0.3, 0.7, 2), rng.uniform(0.1, 0.3)
        inside = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)[..., None]
        picture = np.where(inside, disc, above + y[..., None] * (below - above))
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{i:06d}.jpg")


def experiment(tmp_path, preset, n, steps, *options):
    """The metrics of a run that was interrupted halfway, resumed, sampled and evaluated."""
    size, side = SETS[preset]
    photograph(tmp_path / "photos", n, size)
    cut = ["--crop", 108] if preset == "celeba" else []
    run("prepare", tmp_path / "photos", tmp_path / "photos.npy", "--size", side, *cut)
    settings = ["--preset", preset, "--steps", steps, *options]
    run("train", *settings, "--data", tmp_path / "photos", "--until", steps // 2, "--out", tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("00000-*")
    (cache,) = (tmp_path / "runs" / "cache").glob("*.npy")
    np.testing.assert_array_equal(np.load(cache), np.load(tmp_path / "photos.npy"))
    assert np.load(cache).shape == (n, side, side, 3)
    run("train", "--resume", path)

    # The prepared array and no interruption give the same run.
    run("train", *settings, "--data", tmp_path / "photos.npy", "--out", tmp_path / "whole")
    last = f"checkpoints/step-{steps:07d}.npz"
    with np.load(path / last) as halves, np.load(tmp_path / "whole" / path.name / last) as whole:
        for name in ("theta", "w", "moments_g", "moments_d", "statistics"):
            np.testing.assert_array_equal(halves[name], whole[name])

    for name in ("made", "made.npz"):
        run("sample", path, "-n", 70, "-o", tmp_path / name)
    images = np.load(tmp_path / "made.npz")["images"]
    assert images.shape == (70, side, side, 3)
    assert len(tree(tmp_path / "made")) == 70
    np.testing.assert_array_equal(pixels(tmp_path / "made" / "000069.png"), images[69])
    run("sample", path, "--interpolate", "-n", 2, "-o", tmp_path / "ways.png")
    run("sample", path, "--neighbours", 2, "-n", 2, "-o", tmp_path / "near.png")
    return json.loads(run("evaluate", path, "-n", 70, "--json"))


@pytest.mark.parametrize("preset", SETS)
def test_an_experiment_runs_from_photographs_to_figures(tmp_path, preset):
    tiny = ["--g-width", 1, "--d-width", 1, "--batch-size", 8, "--hold-out-every", 5, "--log-every", 1]
    metrics = experiment(tmp_path, preset, 30, 4, *tiny)
    assert metrics["step"] == 4
    assert all(np.isfinite(metrics[name]) for name in ("mmd2", "mmd2_floor", "nearest_ratio"))


@pytest.mark.parametrize("preset", ["grid", "ring"])
def test_the_checkpoints_of_points_animate_the_whole_training(preset):
    config = resolve(preset)
    assert 10 <= config.algorithm.steps // config.run.checkpoint_every < config.run.keep_checkpoints


@pytest.mark.slow
@pytest.mark.parametrize("preset", SETS)
def test_in_50_steps_on_1000_photographs_the_discriminator_learns(tmp_path, preset):
    """That the generator follows takes longer than a test: its million steps begin with a D that is off by order 1."""
    small = ["--g-width", 16, "--d-width", 16, "--batch-size", 64, "--lr-g", 1e-3, "--lr-d", 1e-3, "--log-every", 1]
    metrics = experiment(tmp_path, preset, 1000, 50, *small)
    assert metrics["step"] == 50
    (path,) = (tmp_path / "runs").glob("00000-*")
    losses = [json.loads(line)["loss_d"] for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 50
    assert np.mean(losses[-20:]) < 0.4 * losses[0]  # .16 to .28 of it; single losses jump to half of it
