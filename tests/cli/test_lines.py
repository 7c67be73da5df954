"""A run on text as a user meets it: trained, resumed, sampled, evaluated, reported and plotted."""

import json
import random
import re

import pytest
from cli_cases import arrays, run, tree

WORDS = "the of and a to in that was his he it with is for as had you not be her".split()
SMALL = ["--g-width", 8, "--d-width", 8, "--g-depth", 1, "--d-depth", 1, "--batch-size", 16, "--log-every", 5]
SMALL += ["--length", 8, "--sample-every", 5, "--checkpoint-every", 5]


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "book.txt"
    path.write_text("".join(" ".join(draw.choices(WORDS, k=3)) + "\n" for _ in range(600)) + "é 你 \x1b[31m\n" * 20)
    return path


@pytest.fixture(scope="module")
def trained(book, tmp_path_factory):
    """A finished run of 10 steps, and what it printed."""
    out = tmp_path_factory.mktemp("runs")
    printed = run("train", "--data", book, *SMALL, "--steps", 10, "--out", out)
    return out / "00000-book", printed


def test_training_logs_ten_lines_and_keeps_sixty_four_in_the_place_of_a_picture(trained):
    path, printed = trained
    assert {name for name in tree(path) if name.startswith("samples")} == {
        f"samples/step-00000{step}.txt" for step in ("00", "05", "10")
    }
    lines = (path / "samples/step-0000010.txt").read_text().split("\n")
    assert len(lines) == 65
    log = (path / "log.txt").read_text()
    for text in (printed, log):
        assert text.count("\n    ") == 30  # at the steps 0, 5 and 10
        assert "\x1b" not in text
    assert "book.txt: 620 lines of 8 characters" in printed
    assert f"lines: {path / 'samples/step-0000010.txt'}" in printed
    logged = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert {"js1", "js6", "js4_floor", "js4_independent", "sample_mmd2"} <= set(logged[-1])
    table = dict(line.split() for line in printed.splitlines() if re.fullmatch("  js.*", line))
    assert {f"{logged[-1][name]:.6g}" == value for name, value in table.items()} == {True}  # of as many lines


def test_a_resumed_run_gives_the_same_bytes(trained, book, tmp_path):
    path, _ = trained
    run("train", "--data", book, *SMALL, "--steps", 10, "--until", 5, "--out", tmp_path)
    part = tmp_path / "00000-book"
    assert "until" not in run("train", "--resume", part)
    for step in (5, 10):
        name = f"checkpoints/step-00000{step:02}.npz"
        assert arrays(part / name) == arrays(path / name)
        name = f"samples/step-00000{step:02}.txt"
        assert (part / name).read_bytes() == (path / name).read_bytes()
    run("train", "--resume", part / "checkpoints/step-0000005.npz", "--until", 6, "--yes")
    assert not (part / "samples/step-0000010.txt").exists()


def test_samples_are_printed_or_written_without_the_data(trained, book, tmp_path):
    path, _ = trained
    run_path = tmp_path / "elsewhere"
    path.rename(run_path)
    moved = book.rename(book.with_suffix(".moved"))
    try:
        printed = run("sample", run_path, "-n", 70)
        run("sample", run_path, "-n", 70, "-o", tmp_path / "lines.txt")
        run("sample", run_path, "-n", 3, "-o", tmp_path / "lines.npz")
    finally:
        moved.rename(book)
        run_path.rename(path)
    lines = (tmp_path / "lines.txt").read_text().split("\n")
    assert len(lines) == 71
    assert printed.split("\n") == [line.replace("\x1b", "\\x1b") for line in lines]
    assert lines[:64] == (path / "samples/step-0000010.txt").read_text().split("\n")[:64]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["-o", "a.png"], 1, "lines of text are written to a .txt or .npz file; use -o a.txt"),
        (["-o", "a.png", "--interpolate"], 1, "draws images, but these samples are lines of text"),
        (["--neighbours", "2"], 2, "add -o samples.png"),
    ],
)
def test_what_text_cannot_be_drawn_as_is_said(trained, tmp_path, monkeypatch, options, status, said):
    monkeypatch.chdir(tmp_path)
    assert said in run("sample", trained[0], *options, status=status)
    assert not tree(tmp_path)


def test_an_evaluation_has_each_divergence_beside_its_floor(trained, book, tmp_path):
    found = json.loads(run("evaluate", trained[0], "--json", "--n-lines", 50).splitlines()[-1])
    assert found["samples"] == 50
    for n in range(1, 7):
        assert 0 < found[f"js{n}_floor"] < found[f"js{n}_independent"] + 0.05
        assert 0 < found[f"js{n}"] <= 1
    other = tmp_path / "other.txt"
    other.write_text(book.read_text().replace("the", "zzz"))
    there = json.loads(run("evaluate", trained[0], "--json", "--data", other).splitlines()[-1])
    assert there["js4_floor"] != found["js4_floor"]


def test_the_report_shows_lines_and_the_plot_their_divergence(trained, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib draws the curves; pip install '.[plot]'")
    run("report", trained[0], "-o", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    line = (trained[0] / "samples/step-0000010.txt").read_text().split("\n")[0]
    for text in (line, "book.txt, lines of 8 characters", "divergence of 4-grams", "-o samples.txt"):
        assert text in page
    run("plot", trained[0], "-o", tmp_path / "curves.svg")
    assert "Divergence of 4-grams" in (tmp_path / "curves.svg").read_text()


def test_the_field_of_text_and_particles_in_it_are_refused(trained, book, tmp_path):
    assert "text has no picture of the field" in run("field", trained[0], "-o", tmp_path / "a.png", status=1)
    assert "use minicoulomb train for text" in run("particles", book, status=1)


def test_the_noise_of_the_paper_is_that_of_one_hot_lines(book, tmp_path):
    run("train", "--data", book, *SMALL, "--noise", 0.1, "--d-steps", 2, "--steps", 2, "--out", tmp_path)


def test_weights_start_no_run_with_another_alphabet(trained, book, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(book.read_text().replace("e", "x"))
    start = ["--init-from", trained[0], *SMALL, "--steps", 1, "--out", tmp_path / "runs"]
    assert "has an alphabet of" in run("train", "--data", other, *start, status=1)
    run("train", "--data", book, *start)


def test_presets_read_text_whatever_the_name_and_other_networks_do_not_take_it(book, tmp_path):
    other = tmp_path / "book.dat"
    other.write_bytes(book.read_bytes())
    small = [*SMALL, "--steps", 2, "--out", tmp_path / "runs"]
    run("train", "--preset", "text", "--data", other, *small)
    config = json.loads(run("train", "--preset", "billion-word", "--data", other, "--dry-run"))
    assert (config["length"], config["vocabulary"], config["lines"], config["latent"]) == (32, 2048, 10_000_000, 32)
    assert "use --preset text" in run("train", "--preset", "grid", "--data", book, "--out", tmp_path / "runs", status=1)
    said = run("train", "--preset", "text", "--data", "grid", "--out", tmp_path / "runs", status=1)
    assert "networks `text` take lines of text" in said
    assert "has no data; add --data PATH" in run("train", "--preset", "text", status=1)
    assert "no UTF-8" in run("train", "--preset", "text", "--data", bad(tmp_path), *small, status=1)
    assert "1 lines are no UTF-8" in run("train", "--preset", "text", "--data", bad(tmp_path), "--skip-bad", *small)


def bad(folder):
    path = folder / "bad.txt"
    path.write_bytes(b"ab\n\xff\ncd\n" * 1 + b"ef\n" * 30)
    return path
