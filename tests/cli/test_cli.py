"""The command line as a user meets it: what it prints, writes and returns."""

import json
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
from cli_cases import ROOT, SMALL, SMALL_IMAGES, arrays, pixels, run, tree
from click.testing import CliRunner, _NamedTextIOWrapper
from PIL import Image

from minicoulomb.arrays.backend import open_backend
from minicoulomb.cli.main import COMMANDS, main


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of 20 steps on the ring."""
    out = tmp_path_factory.mktemp("runs")
    run("train", *SMALL, "--steps", 20, "--out", out)
    return out / "00000-ring"


@pytest.fixture(scope="module")
def trained_images(tmp_path_factory):
    """A finished run of 4 steps of a small convolutional pair on the digits."""
    out = tmp_path_factory.mktemp("runs")
    run("train", *SMALL_IMAGES, "--steps", 4, "--out", out)
    return out / "00000-digits-conv"


# Training


def test_a_run_leaves_its_configuration_metrics_pictures_and_checkpoints(trained):
    assert tree(trained) == {
        "config.json",
        "metrics.jsonl",
        "log.txt",
        "samples/step-0000000.png",
        "samples/step-0000020.png",
        "checkpoints/step-0000000.npz",
        "checkpoints/step-0000020.npz",
    }
    metrics = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [1, 5, 10, 15, 20]
    assert set(metrics[0]) >= {"loss_d", "loss_g", "r2", "mmd2", "eps", "lr_g", "lr_d", "samples_per_second", "seconds"}
    assert json.loads((trained / "config.json").read_text())["data"] == "ring"
    assert pixels(trained / "samples/step-0000020.png").shape[1] >= 600


def test_the_end_of_a_run_tells_its_quality_and_where_the_picture_is(tmp_path):
    output = run("train", *SMALL, "--steps", 5, "--out", tmp_path)
    assert "modes20" in output
    assert "samples/step-0000005.png" in output
    log = (tmp_path / "00000-ring" / "log.txt").read_text()
    assert "modes20" in log
    assert "step 5/5" in log


def test_every_run_ends_with_its_metrics_and_what_they_mean_also_of_large_images(tmp_path):
    """Samples of more than 512 numbers had none; now fewer of them are measured, and the line says how many."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "photos.npy", rng.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8))
    small = ["--generator", "dcgan", "--discriminator", "dcgan", "--g-width", 4, "--d-width", 4, "--batch-size", 8]
    output = run("train", "--data", tmp_path / "photos.npy", *small, "--steps", 2, "--out", tmp_path)
    assert re.search(r"samples +416\n", output)
    numbers = ("mmd2", "mmd2_floor", "nearest_ratio", "d_correlation", "d_correlation_limit", "d_r2")
    assert all(re.search(rf"\n  {name} +-?\d", output) for name in numbers)
    assert re.search(r"\nmmd2 is [\d.]+ times its floor: ", output)
    assert "samples at step 2:  mmd2 0." in output
    assert output.splitlines()[-1].startswith("picture: ")
    assert (tmp_path / "00000-photos/log.txt").read_text().splitlines()[-2:] == output.splitlines()[-2:]


def test_auto_tells_what_it_chose_and_numpy_and_cupy_may_take_turns(tmp_path):
    output = run("train", *SMALL, "--steps", 4, "--until", 2, "--backend", "auto", "--tf32", "--out", tmp_path)
    path = tmp_path / "00000-ring"
    choice = output.splitlines()[0]
    assert choice.startswith(("auto: numpy, because ", "auto: cupy, "))
    assert (path / "log.txt").read_text().splitlines()[0].endswith(choice)
    assert json.loads((path / "config.json").read_text())["tf32"]
    run("train", "--resume", path, "--backend", "numpy", "--no-tf32")
    assert choice[:11] in run("sample", path, "-n", 3, "-o", tmp_path / "points.npz", "--backend", "auto")
    assert choice[:11] in run("evaluate", path, "-n", 100, "--backend", "auto")


def test_runs_are_numbered(tmp_path):
    for _ in range(2):
        run("train", *SMALL, "--steps", 1, "--out", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000-ring", "00001-ring"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--preset", "ring"], "ring"),
        (["--data", "ring", "--preset", "ring"], "ring"),
        (["--preset", "paper-grid"], "paper-grid"),
        (["--preset", "grid", "--data", "ring"], "ring-grid"),
        (["--data", "points.npy"], "points"),
        (["--data", "points.npy", "--preset", "points"], "points"),
        (["--data", "points.npy", "--preset", "ring"], "points-ring"),
    ],
)
def test_a_run_is_named_by_its_data_and_by_a_preset_that_is_not_theirs(tmp_path, monkeypatch, options, name):
    monkeypatch.chdir(tmp_path)
    np.save("points.npy", np.random.default_rng(0).standard_normal((30, 2)))
    run("train", *options, "--steps", 1, "--batch-size", 4, "--sample-every", 0, "--g-width", 2, "--d-width", 2)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [f"00000-{name}"]


def test_a_dry_run_prints_the_resolved_configuration_and_writes_nothing(tmp_path):
    values = json.loads(run("train", "--preset", "grid", "--lr-g", 0.5, "--dry-run", "--out", tmp_path / "runs"))
    assert values["lr_g"] == 0.5
    assert values["data"] == "grid"
    assert not list(tmp_path.iterdir())


def test_every_field_of_the_configuration_is_an_option():
    values = json.loads(run("train", "--dry-run"))
    help_text = run("train", "--help")
    assert all("--" + name.replace("_", "-") in help_text for name in values)


def test_the_algorithm_of_convolutions_changes_nothing_but_rounding(tmp_path):
    losses = []
    for algorithm in ("direct", "winograd"):
        options = ["--convolution", algorithm, "--dtype", "float64", "--steps", 1]
        run("train", *SMALL_IMAGES, *options, "--out", tmp_path / algorithm)
        folder = tmp_path / algorithm / "00000-digits-conv"
        assert json.loads((folder / "config.json").read_text())["convolution"] == algorithm
        losses.append(json.loads((folder / "metrics.jsonl").read_text().splitlines()[0]))
    for name in ("loss_d", "loss_g", "mmd2"):
        assert losses[0][name] == pytest.approx(losses[1][name], rel=1e-10)
    assert losses[0]["loss_d"] != losses[1]["loss_d"]


def test_training_on_and_from_the_start_gives_the_same_bytes(tmp_path):
    for options in (SMALL, SMALL_IMAGES):
        out = tmp_path / options[1]
        run("train", *options, "--steps", 8, "--out", out)
        run("train", *options, "--steps", 8, "--until", 4, "--out", out)
        whole, halves = sorted(out.iterdir())
        assert not (halves / "checkpoints/step-0000008.npz").exists()
        run("train", "--resume", halves)
        last = "checkpoints/step-0000008.npz"
        assert (whole / last).read_bytes() == (halves / last).read_bytes()
        assert (whole / "samples/step-0000008.png").read_bytes() == (halves / "samples/step-0000008.png").read_bytes()


def metrics_of(path):
    """The lines of metrics.jsonl without what differs from run to run, the times."""
    lines = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in ("seconds", "samples_per_second")} for line in lines]


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        (SMALL, {"modes", "modes20", "high_quality", "reverse_kl", "mmd2_floor", "d_correlation", "d_r2"}),
        (SMALL_IMAGES, {"classes", "entropy", "mmd2_floor", "d_correlation", "d_r2_real"}),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_modes_are_logged_with_each_picture_and_so_by_a_resumed_run(tmp_path, options, counts):
    options = [*options, "--sample-every", 3, "--log-every", 4, "--steps", 8]
    run("train", *options, "--out", tmp_path)
    run("train", *options, "--until", 6, "--out", tmp_path)
    whole, halves = sorted(tmp_path.iterdir())
    run("train", "--resume", halves)
    assert metrics_of(halves) == metrics_of(whole)
    assert [line["step"] for line in metrics_of(whole)] == [1, 3, 4, 6, 8]
    assert [line["step"] for line in metrics_of(whole) if counts <= set(line)] == [3, 6, 8]
    measured = json.loads(run("evaluate", whole, "--json"))
    assert {name: metrics_of(whole)[-1][name] for name in counts} == {name: measured[name] for name in counts}


@pytest.mark.parametrize("held_out", [10, 0])
def test_pictures_log_the_distance_of_fresh_samples_to_data_without_modes(tmp_path, held_out):
    """There is none where training has all data."""
    np.save(tmp_path / "points.npy", np.random.default_rng(0).standard_normal((300, 2)))
    schedule = ["--steps", 6, "--sample-every", 3, "--hold-out-every", held_out]
    run("train", "--data", tmp_path / "points.npy", *schedule, "--out", tmp_path)
    lines = metrics_of(tmp_path / "00000-points")
    assert [line["step"] for line in lines] == [1, 3, 6]
    names = {"sample_mmd2", "mmd2_floor"} if held_out else set()
    assert all(names | {"d_correlation", "d_correlation_limit"} <= set(line) for line in lines[1:])
    assert not (names or {"sample_mmd2"}) & set(lines[0])
    found = json.loads(run("evaluate", tmp_path / "00000-points", "--json"))
    assert found.get("mmd2") == lines[-1].get("sample_mmd2")
    assert ("mmd2_floor" in found) == bool(held_out)


def test_with_constant_schedules_a_finished_run_can_be_extended(tmp_path):
    constant = [*SMALL, "--lr-decay", 1, "--lr-decay-d", 1, "--eps", 0.6, "--eps-end", 0.6]
    run("train", *constant, "--steps", 6, "--out", tmp_path)
    run("train", *constant, "--steps", 3, "--out", tmp_path)
    run("train", "--resume", tmp_path / "00001-ring", "--steps", 6)
    last = "checkpoints/step-0000006.npz"
    assert (tmp_path / "00000-ring" / last).read_bytes() == (tmp_path / "00001-ring" / last).read_bytes()


def test_a_resumed_run_forgets_what_came_after_its_checkpoint(tmp_path):
    run("train", *SMALL, "--steps", 20, "--until", 10, "--out", tmp_path)
    path = tmp_path / "00000-ring"
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 15, "loss_d": 0}\n{"step": 1')  # what a kill leaves behind
    (path / "checkpoints" / ".step-0000020.npz.1.tmp").write_bytes(b"half")
    (path / "samples" / "step-0000015.png").write_bytes(b"")
    run("train", "--resume", path)
    steps = [json.loads(line)["step"] for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 5, 10, 15, 20]
    assert not any(name.endswith(".tmp") for name in tree(path))
    assert "samples/step-0000015.png" not in tree(path)


def test_a_run_can_start_from_the_weights_of_another(trained, tmp_path):
    run("train", *SMALL, "--steps", 5, "--init-from", trained, "--seed", 9, "--out", tmp_path)
    first = arrays(tmp_path / "00000-ring" / "checkpoints/step-0000000.npz")
    last = arrays(trained / "checkpoints/step-0000020.npz")
    assert all(first[name] == last[name] for name in ("theta", "w", "average"))
    assert not np.frombuffer(first["moments_g"], np.float32).any()


def test_only_the_last_checkpoints_are_kept(tmp_path):
    run("train", *SMALL, "--steps", 10, "--checkpoint-every", 2, "--keep-checkpoints", 2, "--out", tmp_path)
    names = sorted(path.name for path in (tmp_path / "00000-ring" / "checkpoints").iterdir())
    assert names == ["step-0000008.npz", "step-0000010.npz"]


def test_the_number_of_threads_does_not_change_the_result(tmp_path):
    options = ["--preset", "digits-conv", "--g-width", 8, "--d-width", 8, "--batch-size", 64, "--steps", 3]
    for threads in (1, 3):
        run("train", *options, "--threads", threads, "--out", tmp_path)
    one, three = (arrays(path / "checkpoints/step-0000003.npz") for path in sorted(tmp_path.iterdir()))
    assert one == three


def test_a_folder_of_images_is_prepared_once_and_trained_on(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(12):
        pixels = rng.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.{'jpg' if i % 2 else 'png'}")
    options = ["--data", tmp_path / "photos", "--size", 16, "--g-width", 4, "--d-width", 4, "--batch-size", 8]
    for _ in range(2):
        run("train", *options, "--steps", 2, "--out", tmp_path / "runs")
    (cache,) = (tmp_path / "runs" / "cache").glob("*.npy")
    assert np.load(cache).shape == (12, 16, 16, 3)
    path = tmp_path / "runs" / "00001-photos"
    assert "samples/step-0000002.png" in tree(path)
    run("sample", path, "-n", 3, "-o", tmp_path / "made")
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["000000.png", "000001.png", "000002.png"]


def test_a_bad_image_is_named_and_left_out_only_on_demand(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in "abc":
        Image.new("RGB", (40, 30)).save(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "photos" / "bad.jpg").write_text("no image")
    options = ["--data", tmp_path / "photos", "--size", 8, "--g-width", 4, "--d-width", 4, "--steps", 1]
    assert "bad.jpg" in run("train", *options, "--out", tmp_path / "runs", status=1)
    assert "skipped bad.jpg" in run("train", *options, "--skip-bad", "--out", tmp_path / "runs")


def test_a_size_that_does_not_fit_is_told_before_a_folder_is_decoded(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "photos" / "a.png")
    output = run("train", "--data", tmp_path / "photos", "--size", 60, "--out", tmp_path / "runs", status=1)
    assert "--size 64" in output
    assert not (tmp_path / "runs").exists()


def test_the_user_s_own_points_are_trained_on(tmp_path):
    np.save(tmp_path / "points.npy", np.random.default_rng(0).standard_normal((300, 3)))
    run("train", "--data", tmp_path / "points.npy", "--steps", 3, "--out", tmp_path)
    assert (tmp_path / "00000-points" / "samples" / "step-0000003.png").exists()


def test_the_noise_of_the_paper_and_averaged_weights_can_be_trained_with(tmp_path):
    options = ["--noise", 1, "--l2", 1e-3, "--d-steps", 2, "--average", 0.9]
    run("train", *SMALL, "--steps", 3, *options, "--out", tmp_path)
    run("train", *SMALL, "--steps", 3, "--dtype", "float64", "--l2", 1e-3, "--out", tmp_path)


# Sampling and evaluation


def test_samples_depend_on_seed_and_index_alone(trained_images, tmp_path):
    for n in (3, 64, 100):
        run("sample", trained_images, "-n", n, "-o", tmp_path / f"{n}.npz", "--seed", 5)
    three, many = (np.load(tmp_path / f"{n}.npz")["images"] for n in (3, 100))
    assert many.shape == (100, 8, 8, 1)
    assert many.dtype == np.uint8
    assert (three == many[:3]).all()
    assert not (many[:36] == many[64:]).all()
    run("sample", trained_images, "-n", 3, "-o", tmp_path / "other.npz", "--seed", 6)
    assert not (np.load(tmp_path / "other.npz")["images"] == three).all()


def test_batch_statistics_give_the_official_code_s_samples(trained_images, tmp_path):
    run("sample", trained_images, "-n", 4, "-o", tmp_path / "a.npz")
    run("sample", trained_images, "-n", 4, "-o", tmp_path / "b.npz", "--batch-statistics")
    assert not (np.load(tmp_path / "a.npz")["images"] == np.load(tmp_path / "b.npz")["images"]).all()


def test_a_folder_a_grid_and_an_archive_hold_the_same_samples(trained_images, tmp_path):
    for name in ("samples.npz", "grid.png", "folder"):
        run("sample", trained_images, "-n", 4, "-o", tmp_path / name)
    images = np.load(tmp_path / "samples.npz")["images"]
    assert tree(tmp_path / "folder") == {f"00000{i}.png" for i in range(4)}
    for i, image in enumerate(images):
        assert (pixels(tmp_path / "folder" / f"00000{i}.png") == image[..., 0]).all()
    assert pixels(tmp_path / "grid.png").shape[1] > 100


def test_points_come_as_a_scatter_plot_or_floats(trained, tmp_path):
    run("sample", trained, "-n", 10, "-o", tmp_path / "points.png")
    run("sample", trained, "-n", 10, "-o", tmp_path / "points.npz")
    assert np.load(tmp_path / "points.npz")["x"].shape == (10, 2)
    run("sample", trained, "-n", 10, "-o", tmp_path / "points", status=1)


def test_an_interpolation_leads_from_each_sample_to_the_next(trained_images, tmp_path):
    output = run("sample", trained_images, "--interpolate", "-n", 3, "--steps", 4, "-o", tmp_path / "ways.png")
    assert output == f"3 rows, each from one sample to the next: {tmp_path / 'ways.png'}\n"
    run("sample", trained_images, "-n", 4, "-o", tmp_path / "ends.npz")
    ends, page = np.load(tmp_path / "ends.npz")["images"], pixels(tmp_path / "ways.png")
    zoom = 25  # 4 images of 8 pixels are 800 wide
    for i in range(3):
        for column, end in ((0, ends[i]), (3, ends[i + 1])):
            top, left = (2 + k * (8 * zoom + 2) for k in (i, column))
            shown = page[top : top + 8 * zoom : zoom, left : left + 8 * zoom : zoom]
            assert np.abs(shown - end[..., 0].astype(int)).max() <= 1
    run("sample", trained_images, "--interpolate", "-o", tmp_path / "defaults.png")
    assert pixels(tmp_path / "defaults.png").shape == (8 * 82 + 2, 10 * 82 + 2)


def test_neighbours_are_of_the_run_s_data_or_of_others(trained_images, tmp_path):
    output = run("sample", trained_images, "--neighbours", 3, "-n", 2, "-o", tmp_path / "near.png")
    assert "beside the nearest of 1618 training images, at a distance of" in output
    own = pixels(tmp_path / "near.png")
    assert own.shape[2] == 3
    white = tmp_path / "white.npy"
    np.save(white, np.full((4, 8, 8), 255, np.uint8))
    run("sample", trained_images, "--neighbours", 3, "-n", 2, "--data", white, "-o", tmp_path / "white.png")
    other = pixels(tmp_path / "white.png")
    half = own.shape[1] // 2
    assert other.shape == own.shape
    assert (other[:, : half // 3] == own[:, : half // 3]).all()  # the samples
    assert (other[:, half:] == 255).all()


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--interpolate", "-o", "a.npz"], 1, "a.npz: --interpolate draws one picture; use -o a.png"),
        (["--neighbours", "2", "-o", "folder"], 1, "folder: --neighbours draws one picture; use -o folder.png"),
        (["--interpolate", "-n", "500", "-o", "a.png"], 1, "at most 4096 images, not 500 rows of 10"),
        (["--neighbours", "1619", "-n", "1", "-o", "a.png"], 1, "neighbours 1619: digits has 1618 training samples"),
        (["--neighbours", "1", "--data", "/nowhere", "-o", "a.png"], 1, "/nowhere"),
        (["--interpolate", "--neighbours", "2", "-o", "a.png"], 2, "drop one of them"),
        (["--interpolate", "--steps", "1", "-o", "a.png"], 2, "--steps"),
        (["--steps", "3", "-o", "a.png"], 2, "applies only to --interpolate"),
        (["--data", "digits", "-o", "a.png"], 2, "add --neighbours K"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_told(trained_images, tmp_path, monkeypatch, options, status, said):
    monkeypatch.chdir(tmp_path)
    assert said in " ".join(run("sample", trained_images, *options, status=status).split())
    assert not tree(tmp_path)


def test_points_are_neither_interpolated_nor_compared(trained, tmp_path):
    for options in (["--interpolate"], ["--neighbours", 2]):
        output = run("sample", trained, *options, "-o", tmp_path / "a.png", status=1)
        assert f"{options[0]}: draws images, but these samples are points of 2 numbers" in output


@pytest.mark.parametrize("name", ["samples.gif", "here/there.png", "full"])
def test_a_place_that_samples_cannot_go_to_is_told_and_left_as_it_was(trained_images, tmp_path, name):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    before = tree(tmp_path)
    output = run("sample", trained_images, "-o", tmp_path / name, status=1)
    assert name.split("/")[-1].split(".")[0] in output
    assert tree(tmp_path) == before


def test_an_evaluation_names_its_metrics(trained, trained_images):
    grid = json.loads(run("evaluate", trained, "--json", "-n", 200))
    wanted = {"modes", "modes20", "high_quality", "spread", "reverse_kl", "forward_kl", "mmd2", "mmd2_floor"}
    assert wanted <= set(grid)
    digits = json.loads(run("evaluate", trained_images, "--json", "-n", 200))
    assert {"mmd2", "mmd2_floor", "nearest_ratio", "frechet", "classes", "entropy"} <= set(digits)
    assert "modes20" in run("evaluate", trained, "-n", 200)


def test_one_checkpoint_can_be_named_instead_of_a_run(trained):
    first, last = (json.loads(run("evaluate", trained / f"checkpoints/step-{s:07d}.npz", "--json")) for s in (0, 20))
    assert (first["step"], last["step"]) == (0, 20)


def test_the_networks_are_listed_with_shapes_and_parameters():
    output = run("models", "my-big", "--size", 32)
    assert "16x16x128" in output
    assert "generator" not in output
    assert "17,493,123" in run("models", "my")
    assert "discriminator dcgan" in run("models")
    assert "  BatchNorm, leaky_relu  16x16x128 " in output


def test_the_columns_of_networks_of_any_size_stand_apart():
    rows = [line for line in run("models", "resnet", "--size", 65536).splitlines() if line.startswith("  ")]
    assert all(len(re.split("  +", row.strip())) == 3 for row in rows)


def test_gradients_are_checked(tmp_path):
    for model in ("mlp", "text"):
        output = run("gradcheck", "--model", model)
        assert "BatchNorm" in output
        assert f"Algorithm 1, generator {model}" in output


def test_a_folder_can_be_prepared_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("L", (40, 30), 77).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.png").write_text("no image")
    assert "b.png" in run("prepare", tmp_path / "photos", tmp_path / "a.npy", "--size", 8, "--channels", 1, status=1)
    output = run("prepare", tmp_path / "photos", tmp_path / "a.npy", "--size", 8, "--channels", 1, "--skip-bad")
    assert "\n1 image: " in output
    assert (np.load(tmp_path / "a.npy") == 77).all()


# Mistakes


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["train", "--preset", "moon"], 2, "moon"),
        (["train", "--steps", "many"], 2, "many"),
        (["train", "--generator", "big"], 2, "big"),
        (["train", "--no-such-option"], 2, "no-such-option"),
        (["nonsense"], 2, "nonsense"),
        (["train", "--lr-g", "-1"], 1, "lr_g"),
        (["train", "--data", "/nowhere"], 1, "/nowhere"),
        (["train", "--data", "digits", "--generator", "dcgan", "--size", "9"], 1, "9"),
        (["train", "--generator", "my"], 1, "--generator mlp"),
        (["train", "--tf32"], 1, "--no-tf32"),
        (["gradcheck", "--device", "-1"], 1, "device"),
        (["train", "--resume", "/nowhere"], 1, "/nowhere"),
        (["train", "--out", "/proc/nowhere", "--steps", "1"], 1, "/proc/nowhere"),
        (["sample", "/nowhere", "-o", "a.png"], 1, "/nowhere"),
        (["evaluate", "/nowhere"], 1, "/nowhere"),
        (["prepare", "/nowhere", "a.npy"], 1, "/nowhere"),
        (["models", "--size", "60"], 1, "--size 64"),
        (["prepare", str(ROOT / "docs"), "a.png"], 1, "a.png: the output is a .npy file; use a.npy"),
        (["prepare", str(ROOT / "minicoulomb/data/digits.npz"), "a.npy"], 1, "an LMDB, or CIFAR-10; use a .npy"),
    ],
)
def test_a_mistake_is_told_in_a_line_with_its_status(args, status, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = run(*args, status=status)
    assert said in output.splitlines()[-1]
    assert "Traceback" not in output
    assert not tree(tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--steps", "1"],
        ["gradcheck", "--model", "mlp"],
    ],
)
def test_without_a_gpu_the_reason_is_told_in_a_line(command, tmp_path, monkeypatch):
    if open_backend("auto").name == "cupy":
        pytest.skip("a GPU computes here")
    monkeypatch.chdir(tmp_path)
    output = run(*command, "--backend", "cupy", status=1)
    installed = find_spec("cupy") is not None
    reasons = ("there is no NVIDIA driver", "the driver finds no GPU", "CuPy finds no")
    assert len(output.splitlines()) == 1
    assert output.startswith(tuple(f"Error: backend cupy: {r}" for r in (reasons if installed else ["CuPy is not i"])))
    assert "or use --backend numpy" in output
    assert not tree(tmp_path)


def test_what_makes_a_run_cannot_change_when_it_goes_on(trained):
    assert "--lr-g" in run("train", "--resume", trained, "--lr-g", 1, status=2)
    assert "--steps" in run("train", "--resume", trained, "--steps", 10, status=1)


def test_a_checkpoint_outside_of_a_run_starts_a_new_one_but_does_not_go_on(trained, tmp_path):
    (tmp_path / "mine.npz").write_bytes((trained / "checkpoints/step-0000020.npz").read_bytes())
    assert "--init-from" in run("train", "--resume", tmp_path / "mine.npz", "--steps", 30, status=1)
    run("train", *SMALL, "--steps", 1, "--init-from", tmp_path / "mine.npz", "--out", tmp_path / "runs")


def test_going_back_to_an_earlier_checkpoint_is_asked_and_gives_the_same_end(tmp_path, monkeypatch):
    run("train", *SMALL, "--steps", 6, "--checkpoint-every", 3, "--out", tmp_path)
    folder = tmp_path / "00000-ring"
    earlier, before = folder / "checkpoints" / "step-0000003.npz", contents(folder)
    output = run("train", "--resume", earlier, status=1)
    assert "going back to step 3 removes checkpoints up to step 6, and pictures and metrics; add --yes" in output
    assert "--init-from" in output
    monkeypatch.setattr(_NamedTextIOWrapper, "isatty", lambda self: self.name == "<stdin>")
    for answer in ("n\n", "\n", ""):
        result = CliRunner().invoke(main, ["train", "--resume", str(earlier)], input=answer)
        assert result.exit_code == 1
        assert "go back? [y/N]" in result.output
    assert contents(folder) == before
    for args, answer in (([], "y\n"), (["--yes"], "")):
        result = CliRunner().invoke(main, ["train", "--resume", str(earlier), *args], input=answer)
        assert result.exit_code == 0, result.output
        after = contents(folder)
        assert after.keys() == before.keys()
        assert all(after[name] == data for name, data in before.items() if name.endswith((".npz", ".png")))


def contents(folder):
    return {name: (folder / name).read_bytes() for name in tree(folder)}


def test_a_checkpoint_is_resumed_from_the_folder_that_holds_it(tmp_path, monkeypatch):
    run("train", *SMALL, "--steps", 2, "--until", 1, "--out", tmp_path)
    monkeypatch.chdir(tmp_path / "00000-ring" / "checkpoints")
    run("train", "--resume", "step-0000001.npz")
    assert "checkpoints/step-0000002.npz" in tree(tmp_path / "00000-ring")


def test_a_finished_run_says_so_and_how_it_goes_further(tmp_path):
    path = tmp_path / "00000-ring"
    run("train", *SMALL, "--steps", 6, "--until", 4, "--out", tmp_path)
    before = contents(path)
    assert run("train", "--resume", path, "--until", 4) == (
        f"{path}: finished at step 4; a larger --until goes further\n"
    )
    assert run("train", "--resume", path, "--until", 3, status=1) == (
        "Error: until 3: the run is at step 4; use a larger --until\n"
    )
    assert contents(path) == before
    run("train", "--resume", path)
    assert run("train", "--resume", path) == f"{path}: finished at step 6; --steps M goes further\n"


def test_a_tilde_is_the_home_folder_in_every_option_that_names_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    np.save(tmp_path / "home" / "points.npy", np.random.default_rng(0).standard_normal((300, 2)))
    options = ["--g-width", 4, "--d-width", 4, "--batch-size", 8, "--steps", 1]
    run("train", "--data=~/points.npy", *options, "--out=~/runs")
    run("train", "--data=~/points.npy", *options, "--out=~/runs", "--init-from=~/runs/00000-points")
    for command in ("sample", "field"):
        run(command, "~/runs/00000-points", "-o~/a.png")
        assert (tmp_path / "home" / "a.png").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_data_that_moved_are_named_with_their_option(tmp_path):
    data = tmp_path / "points.npy"
    np.save(data, np.random.default_rng(0).standard_normal((300, 2)))
    options = ["--g-width", 4, "--d-width", 4, "--batch-size", 8, "--steps", 2, "--until", 1]
    run("train", "--data", data, *options, "--out", tmp_path / "runs")
    data.rename(tmp_path / "moved.npy")
    path = tmp_path / "runs" / "00000-points"
    for command in (["train", "--resume", path], ["evaluate", path]):
        assert "nothing is there; use --data" in run(*command, status=1)
    run("train", "--resume", path, "--data", tmp_path / "moved.npy")


def test_other_data_of_another_shape_cannot_go_on(trained, tmp_path):
    said = run("train", "--resume", trained, "--data", "digits", "--steps", 30, status=1)
    assert said == "Error: data digits: has shape (8, 8, 1), the run's samples have (2,); use data of that shape\n"


def test_weights_of_other_networks_are_refused(trained_images, tmp_path):
    said = run("train", *SMALL, "--init-from", trained_images, "--out", tmp_path, status=1)
    assert f"{trained_images}/checkpoints/step-0000004.npz: networks of G 1,249 and D 281 parameters" in said
    assert "this run's, G 258 and D 177" in said
    assert not tree(tmp_path)


def test_a_diverging_run_stops_with_its_last_good_state(tmp_path):
    output = run("train", *SMALL, "--steps", 50, "--lr-g", 1e25, "--lr-d", 1e25, "--out", tmp_path, status=1)
    assert "not finite at step" in output
    assert "; lower --lr-g or --lr-d, or use a larger --eps" in output
    assert "not finite at step" in (tmp_path / "00000-ring" / "log.txt").read_text()
    path = sorted((tmp_path / "00000-ring" / "checkpoints").iterdir())[-1]
    assert path.name in output
    with np.load(path) as file:
        assert np.isfinite(file["theta"]).all()


@pytest.mark.parametrize(
    "options", [["--adam-epsilon", 1e-300], ["--lr-g", 1e38, "--lr-d", 1e38, "--average", 0.5], ["--lr-g", 1e30]]
)
def test_a_state_that_is_not_finite_is_never_saved_as_the_last_good_one(tmp_path, options):
    few = ["--keep-checkpoints", 1, "--checkpoint-every", 1, "--log-every", 1]
    output = run("train", *SMALL, *few, "--steps", 50, *options, "--out", tmp_path, status=1)
    assert re.search(r"is not finite at step \d+; the run can resume from step \d+", output)
    (path,) = (tmp_path / "00000-ring" / "checkpoints").iterdir()
    step = int(path.stem[5:])
    assert f"resume from step {step}" in output
    assert f"resume from step {step}" in (tmp_path / "00000-ring" / "log.txt").read_text()
    with np.load(path) as file:
        assert all(np.isfinite(file[name]).all() for name in file.files)
    assert "not finite at step" in run("train", "--resume", tmp_path / "00000-ring", status=1)


def test_a_handler_of_sigterm_does_not_stay_with_the_caller():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    run("models", "mlp")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before


def test_commands_work_in_threads_too(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run, "train", *SMALL, "--steps", 1, "--out", tmp_path).result()


def test_the_command_line_imports_no_library_that_a_command_may_not_need():
    """Each of them takes longer than everything else; matplotlib and CuPy are extras, and PyTorch is no dependency."""
    program = "import sys, minicoulomb.cli.main as m; [m.main.get_command(None, name) for name in m.COMMANDS]; "
    program += "print({'matplotlib', 'torch', 'jax', 'cupy', 'h5py', 'lmdb', 'scipy', 'autograd'} & set(sys.modules))"
    child = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert child.stdout == "set()\n"


def test_the_help_lists_every_command_with_its_purpose():
    listed = run("--help").split("Commands:\n")[1].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == COMMANDS
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)
    assert "No such command 'cli'" in run("cli", status=2)
