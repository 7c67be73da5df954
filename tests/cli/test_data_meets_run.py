"""Where data and a run meet: places, shapes, locations, and what a run's config.json says."""

import json
import shutil

import numpy as np
import pytest
from cli_cases import pixels, run, tree
from measure_points import measured
from PIL import Image

from minicoulomb.data.sources import find
from minicoulomb.pictures.training_picture import real_points
from minicoulomb.training import checkpoint as checkpoints

TINY = ["--g-width", 8, "--d-width", 8, "--batch-size", 16]


def points(n=300):
    return np.random.default_rng(0).standard_normal((n, 2)) * [1, 0.3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Points near the origin and 1000 away, other data, and runs of 20 steps on the points."""
    folder = tmp_path_factory.mktemp("meet")
    np.save(folder / "near.npy", points())
    np.save(folder / "away.npy", points() + [1000, -1000])
    np.save(folder / "solid.npy", np.hstack([points(), points()]))
    (folder / "photos").mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (9, 9)).save(folder / f"photos/{name}.png")
    for data in ("near.npy", "away.npy"):
        run("train", "--data", folder / data, *TINY, "--steps", 20, "--dtype", "float64", "--out", folder / "runs")
    run("train", "--preset", "digits", *TINY, "--steps", 1, "--out", folder / "runs")
    return folder


NEAR, AWAY, DIGITS = "runs/00000-near", "runs/00001-away", "runs/00002-digits"


def test_points_far_from_the_origin_train_and_evaluate_as_those_near_it(folder):
    """Once a nearest_ratio of 228, and status 0."""
    near, away = (json.loads(run("evaluate", folder / name, "--json")) for name in (NEAR, AWAY))
    assert away == pytest.approx(near, rel=1e-6)
    logs = [(folder / name / "metrics.jsonl").read_text().splitlines() for name in (NEAR, AWAY)]
    for one, other in zip(*logs, strict=True):
        one, other = ({k: v for k, v in json.loads(line).items() if "second" not in k} for line in (one, other))
        assert other == pytest.approx(one, rel=1e-6)


def coarse(path):
    """A picture in 40 x 40 pixels."""
    with Image.open(path) as image:
        return np.asarray(image.resize((40, 40), Image.Resampling.BOX), int)


def test_samples_and_pictures_have_the_data_s_units(folder, tmp_path):
    for name in (NEAR, AWAY):
        for file in ("x.npz", "x.png"):
            run("sample", folder / name, "-n", 50, "-o", tmp_path / f"{name[5:]}-{file}")
        run("field", folder / name, "-n", 50, "-o", tmp_path / f"{name[5:]}-field.png")
    near, away = (np.load(tmp_path / f"{name[5:]}-x.npz")["x"] for name in (NEAR, AWAY))
    np.testing.assert_allclose(away - [1000, -1000], near, atol=1e-9)
    for page in ("x", "field"):
        near, away = (coarse(tmp_path / f"{name[5:]}-{page}.png") for name in (NEAR, AWAY))
        assert np.abs(near - away).max() < 30  # longer labels take room
    pages = [folder / name / "samples/step-0000020.png" for name in (NEAR, AWAY)]
    near, away = map(coarse, pages)
    assert np.abs(near - away).max() < 30


def test_data_elsewhere_are_compared_where_they_are(folder):
    same, other = (
        json.loads(run("evaluate", folder / AWAY, "--data", folder / data, "--json"))
        for data in ("away.npy", "near.npy")
    )
    assert same["frechet"] < 10
    assert other["frechet"] == pytest.approx(2 * 1000**2, rel=0.01)
    ring = json.loads(run("evaluate", folder / AWAY, "--data", "ring", "--json"))
    assert (ring["modes"], ring["high_quality"]) == (0, 0)


COMMANDS = {
    "evaluate": [],
    "field": ["-o", "a.png"],
    "train": ["--steps", 40],
    "report": ["-o", "a.html"],
    "sample": ["--neighbours", 2, "-o", "a.png"],
}


@pytest.mark.parametrize("data", ["digits", "solid.npy", "photos", NEAR])
@pytest.mark.parametrize("command", ["evaluate", "field", "train"])
def test_data_of_another_shape_are_refused_before_they_are_decoded(folder, tmp_path, monkeypatch, command, data):
    monkeypatch.chdir(tmp_path)
    place = data if data == "digits" else folder / data
    before = tree(folder)
    first = [command, *["--resume"] * (command == "train"), folder / NEAR]
    said = run(*first, "--data", place, *COMMANDS[command], status=1)
    assert "has shape" in said
    assert "the run's samples have (2,); use data of that shape" in said
    assert (tree(folder), tree(tmp_path)) == (before, set())


@pytest.mark.parametrize("data", ["grid", "solid.npy", "photos", DIGITS])
@pytest.mark.parametrize("command", ["evaluate", "sample"])
def test_a_run_of_images_refuses_points_and_its_pictures(folder, tmp_path, monkeypatch, command, data):
    monkeypatch.chdir(tmp_path)
    place = data if data == "grid" else folder / data
    said = run(command, folder / DIGITS, "--data", place, *COMMANDS[command], status=int(data != "photos"))
    assert ("has shape" in said) == (data in ("grid", "solid.npy"))
    assert ("no images; it must hold" in said) == (data == DIGITS)


@pytest.mark.slow
def test_a_report_says_why_it_does_not_compare(folder, tmp_path):
    run("report", folder / NEAR, "--data", "digits", "-o", tmp_path / "a.html")
    assert "has shape (8, 8, 1), the run" in (tmp_path / "a.html").read_text()


def test_other_points_do_not_continue_a_run(folder):
    said = run("train", "--resume", folder / NEAR, "--data", folder / "away.npy", "--steps", 40, status=1)
    assert "must be the run's scale" in said
    assert "--init-from for a new run" in said
    run(
        "train",
        "--init-from",
        folder / NEAR,
        "--data",
        folder / "away.npy",
        *TINY,
        "--steps",
        1,
        "--out",
        folder / "new",
    )


def test_a_run_from_before_points_had_a_location_goes_on(folder, tmp_path):
    run("train", "--data", folder / "near.npy", *TINY, "--steps", 2, "--out", tmp_path)
    path = tmp_path / "00000-near/checkpoints/step-0000002.npz"
    old = checkpoints.load(path)
    checkpoints.save(path, old._replace(space=old.space._replace(location=0.0, bound=2 * old.space.bound)))
    run("train", "--resume", tmp_path / "00000-near", "--steps", 4)
    assert checkpoints.load(path.with_name("step-0000004.npz")).space.location == 0


def test_pictures_of_a_run_are_no_data(folder, tmp_path):
    """A folder in which runs were written is data again, without their pictures."""
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "photos" / name).write_bytes((folder / "photos/a.png").read_bytes())
    options = [
        "--preset",
        "digits",
        *TINY,
        "--size",
        8,
        "--channels",
        1,
        "--steps",
        1,
        "--out",
        tmp_path / "photos/runs",
    ]
    for _ in range(2):
        run("train", "--data", tmp_path / "photos", *options)
    (cache,) = (tmp_path / "photos/runs/cache").glob("*.npy")
    assert len(np.load(cache)) == 2


@pytest.mark.parametrize(
    "args",
    [
        ["train", "--data", ""],
        ["train", "--out", " "],
        ["train", "--inception", ""],
        ["evaluate", ""],
        ["evaluate", ".", "--reference", ""],
        ["particles", ""],
        ["stats", "", "-o", "a.npz"],
        ["prepare", "", "a.npy"],
        ["sample", ".", "-o", ""],
    ],
)
def test_an_empty_path_is_a_mistake_and_not_the_working_directory(args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "must not be empty" in run(*args, status=2)
    assert not tree(tmp_path)


@pytest.mark.parametrize("command", ["plot", "evaluate", "prepare", "particles"])
def test_a_path_longer_than_the_system_s_is_a_mistake(command):
    assert "must be shorter" in run(command, "ä" * 200, *["a.npy"] * (command == "prepare"), status=2)


def test_prepare_names_only_what_it_takes():
    said = run("prepare", "NOWHERE", "a.npy", status=1)
    assert said.startswith("Error: NOWHERE: must be a folder, zip or tar of images, an LMDB, or CIFAR-10; nothing is")
    assert "grid, ring, digits" in run("train", "--data", "NOWHERE", status=1)


EDITS = {
    "lr_g 0.5 (there 0.004)": lambda text: text.replace('"lr_g": 0.004', '"lr_g": 0.5'),
    "steps 'many' (there 20)": lambda text: text.replace('"steps": 20', '"steps": "many"'),
    "stops 20 (there None)": lambda text: text.replace('"steps"', '"stops"'),
    "cannot be read (Unterminated string": lambda text: text[: text.index("channels")],
    "cannot be read (cannot convert": lambda text: "[1, 2]",
    "cannot be read (maximum recursion": lambda text: "[" * 100_000,
    "cannot be read (Expecting value": lambda text: "",
}


def test_an_edited_config_changes_nothing_and_is_told(folder, tmp_path):
    path, picture = shutil.copytree(folder / NEAR, tmp_path / "run"), tmp_path / "a.png"
    config, checkpoint = path / "config.json", path / "checkpoints/step-0000020.npz"
    text, before = config.read_text(), checkpoint.read_bytes()
    assert "config.json" not in run("sample", path, "-n", 1, "-o", picture)
    for said, edit in EDITS.items():
        config.write_text(edit(text))
        told = run("sample", path, "-n", 1, "-o", picture)
        assert told.startswith(f"{config}: ")
        assert said in told
        assert "the checkpoint's settings are used; use options to change them" in told
        assert "config.json" not in run("sample", checkpoint, "-n", 1, "-o", picture)
    assert "config.json: cannot be read" in run("train", "--resume", path)
    assert (config.read_text(), checkpoint.read_bytes()) == (text, before)


@pytest.mark.slow
@pytest.mark.parametrize("move", [lambda x: x + 1000, lambda x: x * 1e-3])
def test_moons_elsewhere_are_learned_as_well(tmp_path, move):
    rng = np.random.default_rng(0)
    angles, upper = np.pi * rng.random(2000), rng.random(2000) < 0.5
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    x = np.where(upper[:, None], x, [1, 0.5] - x) + 0.07 * rng.standard_normal((2000, 2))
    np.save(tmp_path / "moons.npy", move(x))
    run("train", "--data", tmp_path / "moons.npy", "--steps", 3000, "--sample-every", 0, "--out", tmp_path)
    found = json.loads(run("evaluate", tmp_path / "00000-moons", "--json"))
    assert 0.75 < found["nearest_ratio"] < 1.1
    assert found["mmd2"] < 1.5 * found["mmd2_floor"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["line", "board", "gaussians", "correlated"])
def test_points_of_1_2_10_and_50_coordinates_are_learned(name):
    """With an eps that followed the spread, 32, 4, 81 and 55 times the floor."""
    value, floor = measured(name, 0, [])
    assert value < 5 * floor


def grey(path):
    """How many grey pixels of real points a picture has, below its legend."""
    page = pixels(path)[90:-40, 60:-30].astype(int)
    return (np.abs(page - 150).max(axis=2) < 40).sum()


def test_a_picture_of_sampled_points_lies_over_the_data_or_says_why_not(folder, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(folder / NEAR, runs / "00000-near")
    np.save(tmp_path / "near.npy", points())
    assert run("sample", folder / NEAR, "-n", 5, "-o", tmp_path / "a.png") == f"5 samples: {tmp_path / 'a.png'}\n"
    assert grey(tmp_path / "a.png") > 200
    path = runs / "00000-near/checkpoints/step-0000020.npz"
    lost = checkpoints.load(path)
    checkpoints.save(path, lost._replace(config=lost.config.replace(data=str(tmp_path / "lost.npy"))))
    said = run("sample", path, "-n", 5, "-o", tmp_path / "b.png")
    assert "the picture shows the samples alone, for the data cannot be opened; add --data: " in said
    assert "lost.npy" in said
    assert grey(tmp_path / "b.png") == 0
    run("sample", path, "-n", 5, "--data", tmp_path / "near.npy", "-o", tmp_path / "c.png")
    assert (pixels(tmp_path / "c.png") == pixels(tmp_path / "a.png")).all()
    run("sample", path, "-n", 5, "--data", tmp_path / "nowhere.npy", "-o", tmp_path / "d.png", status=1)
    assert "pictures of points" in run("sample", path, "--data", folder / "near.npy", "-o", "a.npz", status=2)
    assert "lost.npy" not in run("sample", path, "-n", 5, "-o", tmp_path / "x.npz")  # the data are not looked for


def test_few_real_points_are_drawn_once(folder):
    checkpoint = checkpoints.load(folder / NEAR / "checkpoints/step-0000020.npz")
    dataset = find(str(folder / "near.npy")).content
    shown = real_points(checkpoint, dataset, 2500)
    assert np.abs(shown - np.delete(points(), np.s_[9::10], axis=0)).max() < 1e-9
    assert len(real_points(checkpoint, dataset, 50)) == 50


def test_a_table_is_data_for_every_command(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savetxt("near.csv", points(), delimiter=",", header="x,y", comments="", fmt="%.17g")
    run("train", "--data", "near.csv", *TINY, "--steps", 20, "--dtype", "float64")
    path = "runs/00000-near"
    with (
        np.load(f"{path}/checkpoints/step-0000020.npz") as table,
        np.load(folder / NEAR / "checkpoints/step-0000020.npz") as array,
    ):
        assert (table["theta"] == array["theta"]).all()
    run("train", "--resume", path, "--steps", 21)
    for command in (["evaluate", path], ["field", path, "-n", 20, "-o", "f.png"], ["sample", path, "-o", "s.png"],
                    ["particles", "near.csv", "-n", 20, "--steps", 2, "-o", "p.png"], ["report", path, "-o", "r.html"],
                    ["evaluate", folder / NEAR, "--data", "near.csv"]):  # fmt: skip
        run(*command)


@pytest.mark.parametrize("m", [1, 5])
def test_points_of_any_number_of_coordinates_have_pictures(tmp_path, m):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((300, m)) + 1e5)
    run("train", "--data", tmp_path / "x.npy", *TINY, "--steps", 4, "--checkpoint-every", 2, "--out", tmp_path / "runs")
    path = tmp_path / "runs/00000-x"
    run("sample", path, "-o", tmp_path / "a.png")
    run("particles", tmp_path / "x.npy", "-n", 20, "--steps", 2, "-o", tmp_path / "p.gif")
    said = run("field", path, "-n", 50, "-o", tmp_path / "f.png", status=int(m > 1))
    if m > 1:
        assert "points of 5 coordinates: the field is drawn only for (n, 1), (n, 2) and images" in said
        return
    run("field", path, "-n", 50, "--animate", "-o", tmp_path / "f.gif")
    with Image.open(tmp_path / "f.gif") as frames:
        assert frames.n_frames == 3
    assert pixels(tmp_path / "f.png").shape[0] > pixels(tmp_path / "a.png").shape[0] + 300  # curves below
