"""minicoulomb field: a run, a checkpoint, a preset, and all checkpoints as an animation."""

from pathlib import Path

import numpy as np
import pytest
from cli_cases import SMALL, SMALL_IMAGES, pixels, run
from click.testing import CliRunner
from PIL import Image

from minicoulomb import pictures
from minicoulomb.cli.main import main
from minicoulomb.data.mixtures import ring
from minicoulomb.pictures.field_picture import FRAME_SIZE, draw, field_frames, plane_field
from minicoulomb.training import checkpoint as checkpoints


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run in the plane with 4 checkpoints, the directory of runs being the working directory's."""
    out = tmp_path_factory.mktemp("runs")
    run("train", *SMALL, "--steps", 30, "--checkpoint-every", 10, "--keep-checkpoints", 9, "--out", out)
    return out / "00000-ring"


def test_the_command_draws_a_run_a_checkpoint_and_a_preset(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = trained / "checkpoints" / "step-0000000.npz"
    for name, target in (("run", trained), ("checkpoint", first), ("preset", "ring")):
        said = run("field", target, "-n", 50, "-o", f"{name}.png")
        assert f"{name}.png" in said
        assert f"step {30 if name == 'run' else 0}:" in said
    pages = [pixels(f"{name}.png") for name in ("run", "checkpoint", "preset")]
    assert all(page.shape == pages[0].shape for page in pages)
    assert (pages[0] != pages[1]).any()
    assert (pages[1] != pages[2]).any()
    assert {path.name for path in tmp_path.iterdir()} == {"run.png", "checkpoint.png", "preset.png"}


def test_the_command_draws_forces_on_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("train", *SMALL_IMAGES, "--steps", 2, "--out", "runs")
    run("field", "runs/00000-digits-conv", "-n", 3, "-o", "force.png")
    assert np.abs(pixels("force.png").astype(int) - (213, 94, 0)).max(axis=2).min() == 0  # the frames of samples


def test_the_command_animates_all_checkpoints_and_says_how_to_get_more(trained, tmp_path):
    said = run("field", trained, "-n", 50, "--animate", "-o", tmp_path / "a.gif")
    assert "at 4 checkpoints" in said
    assert "a smaller --checkpoint-every" in said  # the run keeps them all
    run("train", *SMALL, "--steps", 2, "--checkpoint-every", 1, "--keep-checkpoints", 2, "--out", tmp_path)
    few = ["-n", 50, "--animate", "-o", tmp_path / "b.gif"]
    assert "--keep-checkpoints 100" in run("field", tmp_path / "00000-ring", *few)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 4


def test_frames_share_their_axes_and_the_largest_scale(trained):
    paths = sorted((trained / "checkpoints").glob("*.npz"))
    frames = field_frames(paths, np, ring(), 50)
    fields = [plane_field(checkpoints.load(path), ring(), 50, 0) for path in paths]
    assert len({field.square for field in fields}) == 1
    assert len({frame.size for frame in frames}) == 1
    limit = max(np.abs(field.potentials[0]).max() for field in fields)
    longest = max(np.linalg.norm(field.forces[0], axis=-1).max() for field in fields)
    expected = draw(fields[1], pictures.ColourScale(limit, longest), FRAME_SIZE)
    np.testing.assert_array_equal(np.asarray(frames[1]), np.asarray(expected))


@pytest.mark.parametrize(
    ("arguments", "told", "status"),
    [
        (["nothing", "-o", "a.png"], "neither a run nor a preset; use a run directory", 1),
        (["ring", "-o", "a.gif"], "without --animate and --interactive the output is a .png file; use a.png", 1),
        (["ring", "--animate", "-o", "a.gif"], "draws the checkpoints of a run", 2),
        (["RUN", "--animate", "-o", "a.png"], "with --animate the output is a .gif file; use a.gif", 1),
        (["points", "-o", "a.png"], "add --data", 1),
        (["RUN", "--data", "digits", "-o", "a.png"], "has shape (8, 8, 1), the run's samples have (2,)", 1),
        (["RUN", "-n", "1", "-o", "a.png"], "x>=2", 2),
        (["EMPTY", "--animate", "-o", "a.gif"], "holds no checkpoints", 1),
        (["EMPTY", "-o", "a.png"], "holds no checkpoints", 1),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(trained, tmp_path, monkeypatch, arguments, told, status):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "ring"):
        Path(name).mkdir()
    names = {"RUN": str(trained), "EMPTY": "empty"}
    result = CliRunner().invoke(main, ["field", *(names.get(word, word) for word in arguments)])
    assert (result.exit_code, told in " ".join(result.output.split())) == (status, True), result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "ring"]
