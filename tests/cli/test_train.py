"""minicoulomb train: what a run prints, writes and depends on."""

import json
import re

import numpy as np
import pytest
from cli_cases import SMALL, SMALL_IMAGES, arrays, pixels, run, tree
from PIL import Image


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
