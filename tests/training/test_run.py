"""Run directories: what is theirs, in which order it goes, and what damage to it costs."""

import json
import shutil

import numpy as np
import pytest

from minicoulomb.config import Config
from minicoulomb.diagnostics import Diverged
from minicoulomb.errors import UserError
from minicoulomb.models import SampleSpace
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.run import RunDirectory, find_checkpoint, load

CONFIG = Config.of(g_width=2, d_width=2, latent=2, keep_checkpoints=2)


def state(step, config=CONFIG):
    checkpoint = checkpoints.initial(config, SampleSpace((2,)))
    checkpoint.state.step = step
    return checkpoint


@pytest.fixture
def run(tmp_path):
    """A run with checkpoints of the steps 0 and 40, pictures and metrics up to step 50."""
    made = RunDirectory.create(tmp_path / "runs", "ring", state(0))
    made.save(state(40))
    for step in (0, 40, 50):
        made.picture_path(step).write_text("picture")
        made.log_metrics({"step": step, "loss": 1.0})
    return made


def tree(run):
    return {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}


def resume(run, path=None):
    source = find_checkpoint(path or run.path)
    run.rewind(load(source), source)
    return load(run.path).state.step


def steps(run):
    return [json.loads(line)["step"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]


def test_checkpoints_and_pictures_are_in_the_order_of_their_numbers(run):
    """As text, step 10,000,000 comes before 9,999,999, and each checkpoint was removed as it was written."""
    for step in (9_999_999, 10_000_000, 10_000_001, 100_000_000):
        path = run.save(state(step))
        assert path.exists()
        assert find_checkpoint(run.path) == path
    assert [path.name for path in run.checkpoints()] == ["step-10000001.npz", "step-100000000.npz"]
    for step in (9_999_999, 10_000_002, 100_000_001):
        run.picture_path(step).write_text("picture")
    assert resume(run, run.checkpoints()[0]) == 10_000_001
    assert {name for name in tree(run) if name.startswith("samples")} == {
        f"samples/step-{step}.png" for step in ("0000000", "0000040", "0000050", "9999999")
    }


def test_going_back_removes_only_what_has_exactly_a_name_of_the_run(run):
    others = [
        "checkpoints/step-0000045 copy.npz",
        "checkpoints/step-45.npz",
        "checkpoints/step-00000045.npz",
        "checkpoints/step-0000045.npz.bak",
        "checkpoints/step-٠٠٠٠٠٤٥.npz",
        "checkpoints/old/step-0000045.npz",
        "checkpoints/step-0000045.png",
        "backup/step-0000045.npz",
        "backup/step-0000045.png",
        "samples/step-0000045 (1).png",
        "samples/step-last.png",
        "step-0000045.npz",
        "step-0000045.png",
        ".notes.1.tmp",
        "backup/.step-0000045.npz.1.tmp",
    ]
    for name in others:
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_text("mine")
    (run.path / "checkpoints/.step-0000045.npz.1.tmp").write_text("half")
    (run.path / "samples/.step-0000050.png.12.tmp").write_text("half")
    (run.path / ".metrics.jsonl.1.tmp").write_text("half")
    (run.path.parent / ".run.1.tmp" / "checkpoints").mkdir(parents=True)
    run.save(state(45))
    assert run.later(0) == [40, 45]
    assert resume(run, run.checkpoints()[0]) == 40
    made = {"config.json", "metrics.jsonl", "checkpoints/step-0000040.npz"}
    made |= {"samples/step-0000000.png", "samples/step-0000040.png"}
    assert tree(run) == made | set(others)
    assert [path.name for path in run.path.parent.iterdir()] == [run.path.name]


def test_the_latest_checkpoint_loses_what_was_logged_after_it(run):
    assert resume(run) == 40
    assert steps(run) == [0, 40]
    assert "samples/step-0000050.png" not in tree(run)


@pytest.mark.parametrize("name", ["best", "step-0000030 copy", "../backup/step-0000030"])
def test_going_back_to_a_copy_makes_it_a_checkpoint_of_the_run(run, name):
    source = run.path / "checkpoints" / f"{name}.npz"
    source.parent.resolve().mkdir(exist_ok=True)
    checkpoints.save(source, state(30))
    (run.path / "checkpoints/step-0000030.npz").write_text("damaged")
    assert resume(run, source) == 30
    assert [path.name for path in run.checkpoints()] == ["step-0000000.npz", "step-0000030.npz"]
    assert source.exists()


@pytest.mark.parametrize(
    "line",
    [
        b'{"step": 41',
        b"12",
        b"[1, 2]",
        b"null",
        b'"text"',
        b"{}",
        b'{"loss": 1}',
        b'{"step": "12"}',
        b'{"step": NaN}',
        b'{"step": true}',
        b'{"step": 1e999}',
        b'{"step": ' + b"9" * 5000 + b"}",
        b'{"step": ' + b"9" * 4000 + b"}",
        b"[" * 100_000,
        b'{"step": 1, "a": "\xff\xfe"}',
        b"\x00" * 100,
        b"",
    ],
    ids=range(17),
)
def test_odd_lines_of_metrics_are_left_out(run, line):
    path = run.path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + line + b"\n" + lines[1] + line)
    assert resume(run) == 40
    run.log_metrics({"step": 41})
    assert steps(run) == [0, 40, 41]


def test_metrics_that_no_run_wrote_take_no_memory(run):
    path = run.path / "metrics.jsonl"
    with path.open("a") as file:
        file.truncate(2**26)
    run.log_metrics({"step": 39})
    assert resume(run) == 40
    assert steps(run) == [0, 40, 39]
    with path.open("a") as file:
        file.truncate(20 * 2**30)
    with pytest.raises(UserError, match="bytes: at most 4,294,967,296; leave an empty one"):
        resume(run)


def test_logs_without_a_last_newline_go_on_in_a_new_line(run):
    for name, text in (("metrics.jsonl", '{"step": 39}'), ("log.txt", "torn")):
        (run.path / name).write_text(text)
    run.log_metrics({"step": 41})
    run.log("line")
    assert steps(run) == [39, 41]
    assert (run.path / "log.txt").read_text() == "torn\nline\n"


def test_numbers_that_are_not_finite_are_null(run):
    run.log_metrics({"step": 60, "r2": float("nan"), "fid": -float("inf"), "n": 3, "eps": np.float64("nan")})
    line = (run.path / "metrics.jsonl").read_text().splitlines()[-1]
    assert line == '{"step": 60, "r2": null, "fid": null, "n": 3, "eps": null}'


@pytest.mark.parametrize("name", ["samples", "log.txt", "config.json", "checkpoints/step-0000000.npz"])
def test_what_is_missing_does_not_block(run, name):
    run.log("line")
    path = run.path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert resume(run) == 40
    run.log("line")
    run.picture_path(41).write_text("picture")


def test_without_a_folder_of_checkpoints_a_copy_elsewhere_goes_on(run, tmp_path):
    (run.path / "backup").mkdir()
    shutil.move(run.checkpoints()[1], run.path / "backup/mine.npz")
    shutil.rmtree(run.path / "checkpoints")
    with pytest.raises(UserError, match="holds no checkpoints"):
        load(run.path)
    assert resume(run, run.path / "backup/mine.npz") == 40


def test_without_metrics_it_is_no_run(run):
    (run.path / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match=r"metrics\.jsonl; to start from a checkpoint alone use --init-from"):
        RunDirectory.open(run.path)


@pytest.mark.parametrize(
    "text", ["", "{", '{"step": 20, "fid"', "[]", '{"step": 20}', '{"step": 20, "fid": NaN}', "\x00"]
)
def test_a_damaged_best_json_is_read_from_the_metrics(run, text):
    for step, fid in ((10, 30.0), (20, 12.5), (30, 14.0)):
        run.log_metrics({"step": step, "fid": fid, "best": run.save_best(state(step), fid)})
    path = run.path / "checkpoints/best.json"
    path.write_text(text)
    assert (run.best()["step"], run.best()["fid"]) == (20, 12.5)
    assert not run.save_best(state(40), 13.0)
    assert load(run.path / "checkpoints/best.npz").state.step == 20
    assert resume(run) == 40
    assert (run.path / "checkpoints/best.npz").exists()
    assert run.save_best(state(40), 11.0)


def test_an_fid_that_is_not_finite_is_never_the_best(run):
    assert not run.save_best(state(10), float("nan"))
    assert run.save_best(state(10), 30.0)
    assert not run.save_best(state(20), float("nan"))


def test_a_checkpoint_that_training_replaces_meanwhile_gives_way_to_the_next_one(run, monkeypatch):
    real = checkpoints.load

    def replaced(path):
        if path.stem == "step-0000040":
            run.save(state(50))
            path.unlink()
        return real(path)

    monkeypatch.setattr(checkpoints, "load", replaced)
    assert load(run.path).state.step == 50


def test_a_damaged_latest_checkpoint_names_the_latest_whole_one(run):
    path = run.save(state(50))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"{path}: .*; the latest whole one is .*step-0000040\.npz$"):
        load(run.path)
    for other in run.checkpoints():
        other.write_bytes(b"")
    with pytest.raises(UserError, match=rf"{path}: not a whole checkpoint .*; use another of the run's checkpoints$"):
        load(run.path)


@pytest.mark.parametrize("name", ["theta", "w", "moments_g", "moments_d", "average"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_state_that_is_not_finite_is_never_saved(tmp_path, name, value):
    config = CONFIG.replace(average=0.9, keep_checkpoints=1)
    run = RunDirectory.create(tmp_path, "ring", state(0, config))
    bad = state(10, config)
    getattr(bad.state, name).flat[-1] = value
    for save in (run.save, lambda checkpoint: run.save_best(checkpoint, 1.0)):
        with pytest.raises(
            Diverged, match=f"{name} is not finite at step 10; the run can resume from step 0"
        ) as caught:
            save(bad)
        assert caught.value.what == name
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["step-0000000.npz"]


def test_more_runs_than_five_digits_count_do_not_hang(tmp_path):
    for name in ("99999-ring", "100000-ring", "20261127-notes"):
        (tmp_path / name / "part").mkdir(parents=True)
    assert RunDirectory.create(tmp_path, "ring", state(0)).path.name == "100001-ring"
