"""minicoulomb train --resume and --init-from: a run that goes on, and one that starts from another's weights."""

import json

import numpy as np
from cli_cases import SMALL, SMALL_IMAGES, arrays, run, tree
from click.testing import CliRunner, _NamedTextIOWrapper

from minicoulomb.cli.main import main


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


def test_what_makes_a_run_cannot_change_when_it_goes_on(trained):
    assert "--lr-g" in run("train", "--resume", trained, "--lr-g", 1, status=2)
    assert "--steps" in run("train", "--resume", trained, "--steps", 10, status=1)


def test_a_checkpoint_outside_of_a_run_starts_a_new_one_but_does_not_go_on(trained, tmp_path):
    (tmp_path / "mine.npz").write_bytes((trained / "checkpoints/step-0000020.npz").read_bytes())
    assert "--init-from" in run("train", "--resume", tmp_path / "mine.npz", "--steps", 30, status=1)
    run("train", *SMALL, "--steps", 1, "--init-from", tmp_path / "mine.npz", "--out", tmp_path / "runs")


def contents(folder):
    return {name: (folder / name).read_bytes() for name in tree(folder)}


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
