"""`minicoulomb.load`: the numbers of `minicoulomb sample` to the last bit, and its errors."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from cli_cases import SMALL, SMALL_IMAGES, run
from pack_trained import pack
from PIL import Image
from test_docs import ROOT, blocks

import minicoulomb as mc
from minicoulomb.data.mixtures import grid
from minicoulomb.evaluation.metrics import mixture_metrics
from minicoulomb.pictures import draw_points, image_grid
from minicoulomb.presets import resolve
from minicoulomb.training import run as runs
from minicoulomb.training.sampling import samples

TEXT = "it was the best of times\nit was the worst of times\n" * 40
NARROW = ["--g-width", 4, "--d-width", 4, "--batch-size", 8, "--threads", 1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """{name: run directory}: one for each kind of samples, and what else decides about a sample."""
    out = tmp_path_factory.mktemp("runs")
    (out / "book.txt").write_text(TEXT)
    np.save(out / "far.npy", np.random.default_rng(0).normal([1e6, -3], 1, (300, 2)))
    kinds = {
        "points": [*SMALL, "--steps", 3],
        "images": [*SMALL_IMAGES, "--steps", 3, "--average", 0.5],
        "batch statistics": [*SMALL_IMAGES, "--steps", 2, "--average", 0, "--batch-statistics"],
        "text": ["--data", out / "book.txt", "--preset", "text", "--g-depth", 1, "--d-depth", 1, *NARROW, "--steps", 1],
        "location": ["--data", out / "far.npy", *NARROW, "--steps", 2],
    }
    for name, options in kinds.items():
        run("train", *options, "--out", out / name)
    return {name: next((out / name).glob("00000-*")) for name in kinds}


def assert_same(ours, theirs):
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("points", "float32"), ("images", "uint8"), ("batch statistics", "uint8"), ("location", "float64")],
)
@pytest.mark.parametrize(("n", "seed"), [(1, 0), (70, 3)])
def test_sample_gives_the_numbers_of_the_command_to_the_last_bit(trained, name, dtype, n, seed, tmp_path):
    run("sample", trained[name], "-n", n, "--seed", seed, "-o", tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as file:
        (theirs,) = file.values()
    ours = mc.load(trained[name]).sample(n, seed)
    assert ours.dtype == dtype
    assert_same(ours, theirs)


def test_text_comes_as_the_lines_that_the_command_prints(trained):
    lines = mc.load(trained["text"]).sample(5, seed=2)
    assert len(lines) == 5
    assert "\n".join(lines) + "\n" == run("sample", trained["text"], "-n", 5, "--seed", 2)


def test_options_of_the_command_are_arguments(trained, tmp_path):
    run("sample", trained["images"], "-n", 3, "--batch-statistics", "-o", tmp_path / "x.npz")
    model = mc.load(str(trained["images"]), batch_statistics=True, backend="numpy", threads=1)
    assert_same(model.sample(3), np.load(tmp_path / "x.npz")["images"])
    assert (model.sample(3) != mc.load(trained["images"]).sample(3)).any()


@pytest.mark.parametrize("name", ["images", "batch statistics"])
def test_everything_that_a_sample_is_drawn_from_is_within_reach(trained, name):
    model, (config, space, G, _, state) = mc.load(trained[name]), runs.load(trained[name])
    assert (model.config, model.space) == (config, space)
    assert repr(model).startswith(f"TrainedModel(step {state.step}, G Network(")
    averaged = state.average is not None
    assert averaged == (name == "images")
    assert_same(model.theta, state.average if averaged else state.theta)
    assert_same(model.statistics, state.average_statistics if averaged else state.statistics)
    assert_same(model.w, state.w)
    z = model.latents(70, seed=3)
    assert z.shape == (70, config.networks.latent)
    assert_same(model.latents(7, seed=3), z[:7])
    raw = samples(G, state, 64, 3, config.run.batch_statistics)
    assert_same(model.generate(z[:64]), raw)
    by_hand, _ = model.G.forward(model.theta, z[:64], None if config.run.batch_statistics else model.statistics)
    assert_same(by_hand, raw)
    d, _ = model.D.forward(model.w, raw)
    assert d.shape == (64,)


def test_jupyter_shows_the_samples_of_a_model(trained):
    for name, n, draw in (("images", 64, image_grid), ("location", 2500, lambda x: draw_points(None, x))):
        model = mc.load(trained[name])
        with Image.open(BytesIO(model._repr_png_())) as picture:
            assert picture.format == "PNG"
            assert (np.asarray(picture) == np.asarray(draw(model.sample(n)))).all()
    assert mc.load(trained["text"])._repr_png_() is None


def test_the_best_checkpoint_and_a_home_folder_are_paths_too(trained, monkeypatch):
    folder = trained["points"]
    (file,) = [path for path in (folder / "checkpoints").iterdir() if path.name == "step-0000003.npz"]
    monkeypatch.setenv("HOME", str(folder.parent))
    for path in (file, str(file), f"~/{folder.name}"):
        assert_same(mc.load(path).sample(2), mc.load(folder).sample(2))


def test_errors_are_the_command_s(trained, tmp_path):
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nowhere", tmp_path / "torn.npz", tmp_path / "empty"):
        with pytest.raises(mc.UserError) as caught:
            mc.load(path)
        assert f"Error: {caught.value}\n" == run("sample", path, "-o", tmp_path / "x.npz", status=1)
    for settings in ({"backend": "abacus"}, {"threads": 0}, {"backend": "numpy", "tf32": True}):
        with pytest.raises(mc.UserError):
            mc.load(trained["points"], **settings)


@pytest.mark.parametrize("path", ["~nobody-here/runs", "x" * 300, "/dev/zero", "runs/\0"])
def test_no_path_ends_in_another_exception(path):
    with pytest.raises(mc.UserError, match="give a run directory|choose a shorter name"):
        mc.load(path)


@pytest.mark.parametrize("path", ["", "  ", 3, None, b"runs"])
def test_what_is_no_path_is_named(path):
    with pytest.raises(mc.UserError, match="must be a path; give a run directory"):
        mc.load(path)


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (-1, 0), (2.0, 0), ("2", 0), (True, 0), (2, -1), (2, 0.5), (2, None)])
def test_numbers_that_no_sample_has_are_named(trained, n, seed):
    model = mc.load(trained["points"])
    with pytest.raises(mc.UserError, match="must be an int"):
        model.sample(n, seed)
    with pytest.raises(mc.UserError, match="must be an int"):
        model.latents(n, seed)


def test_more_samples_than_memory_holds_are_an_error(trained):
    with pytest.raises(mc.UserError, match="use a smaller -n"):
        mc.load(trained["points"]).sample(10**15)


@pytest.mark.parametrize("name", ["points", "images"])
def test_the_code_of_the_page_runs(trained, name, capsys):
    names = {"RUN": trained[name]}
    exec(compile("\n".join(blocks(ROOT / "docs/elsewhere.md", "python")), "elsewhere.md", "exec"), names)
    assert_same(names["x"], names["model"].generate(names["z"]))
    assert names["dz"].shape == names["z"].shape
    kind = "0.kernel (2, 8)" if name == "points" else "2.scale"
    assert kind in capsys.readouterr().out


def test_the_page_has_every_array_of_a_checkpoint(trained):
    page = (ROOT / "docs/elsewhere.md").read_text()
    with np.load(runs.find_checkpoint(trained["images"])) as file:
        about = json.loads(file["about"].tobytes())
        names = [*file.files, *about, *about["space"]]
        assert {name: file[name].shape for name in file.files if f"`{name}`" not in page} == {}
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize(("name", "shape"), [("grid", (2,)), ("digits-conv", (8, 8, 1))])
def test_two_trained_models_come_with_the_package(name, shape, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("sample", name, "-n", 3, "-o", "x.npz")
    with np.load("x.npz") as file:
        (theirs,) = file.values()
    model = mc.load(name)
    assert_same(model.sample(3), theirs)
    assert theirs.shape == (3, *shape)
    assert model.config == resolve(name, average=0.0)
    assert model.state.step == model.config.algorithm.steps
    assert not [setting for setting in model.config.settings().values() if "/" in str(setting)]
    assert {path.name for path in tmp_path.iterdir()} == {"x.npz"}


def test_they_are_small_and_good():
    files = list(Path(runs.__file__).with_name("trained").iterdir())
    assert {file.stem for file in files} == set(runs.TRAINED)
    assert sum(file.stat().st_size for file in files) < 1_000_000
    data = grid()
    metrics = mixture_metrics(mc.load("grid").sample(2500), data.modes, data.sigma)
    assert metrics["modes20"] == 25
    assert metrics["high_quality"] > 0.85


def test_a_file_or_folder_of_the_name_comes_first(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid").symlink_to(trained["points"])
    assert mc.load("grid").state.step == 3
    (tmp_path / "grid").unlink()
    (tmp_path / "grid").mkdir()
    with pytest.raises(mc.UserError, match="grid: holds no checkpoints"):
        mc.load("grid")
    with pytest.raises(mc.UserError, match="Grid: does not exist"):
        mc.load("Grid")


@pytest.mark.parametrize("name", ["images", "batch statistics", "points"])
def test_a_packed_run_draws_the_same_in_fewer_bytes(trained, name, tmp_path):
    for target in (tmp_path / "a.npz", tmp_path / "b.npz"):
        pack(trained[name], target)
    assert_same(mc.load(tmp_path / "a.npz").sample(5), mc.load(trained[name]).sample(5))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert (tmp_path / "a.npz").stat().st_size < 0.7 * runs.find_checkpoint(trained[name]).stat().st_size


def test_no_module_of_the_command_is_imported():
    text = Path(mc.__file__).with_name("trained.py").read_text()
    assert "minicoulomb.cli" not in text
    assert "click" not in text
