"""Extreme values of options, places that cannot be written, and odd names: a clear error, and nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from cli_cases import ROOT, SMALL, SMALL_IMAGES, run, tree
from click.testing import CliRunner
from PIL import Image

from minicoulomb.cli import models
from minicoulomb.cli.main import COMMANDS, main

VALUES = ["", "0", "-1", "nan", "inf", "-inf", "1e400", "1e-320", "1e300", "٣", 2**63, 2**70, "9" * 4000]
LONG = "x" * 300


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run on points and one on images, and a folder of images."""
    out = tmp_path_factory.mktemp("runs")
    run("train", *SMALL, "--steps", 2, "--out", out)
    run("train", *SMALL_IMAGES, "--steps", 2, "--out", out)
    (out / "photos").mkdir()
    Image.new("RGB", (40, 30)).save(out / "photos" / "a.png")
    return out


def quick_calls(runs):
    """A quick call of each command; its outputs lie in the working directory."""
    points = runs / "00000-ring"
    return {
        "train": [*SMALL, "--steps", 2, "--until", 2],
        "sample": [points, "-o", "a.npz"],
        "evaluate": [points],
        "field": [points, "-n", 20, "-o", "a.png"],
        "particles": ["ring", "-n", 20, "--points", 20, "--steps", 3, "-o", "a.png"],
        "plot": [points, "-o", "a.png"],
        "report": [points, "-o", "a.html"],
        "stats": ["digits", "-o", "a.npz"],
        "prepare": [runs / "photos", "a.npy"],
        "models": ["my"],
        "gradcheck": ["--model", "mlp"],
        "info": [],
    }


def numeric_options():
    """(command, option) of each option that takes a number, as click lists them."""
    for command in COMMANDS:
        for option in main.get_command(None, command).params:
            if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
                yield command, option.opts[0]


@contextmanager
def at_most(seconds):
    """A TimeoutError after so many seconds."""

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check_clear(*args, status=(0, 1, 2)):
    """The last line of a call that succeeds, or says what is wrong, and leaves no draft in the working directory."""
    with at_most(20):
        result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), (args, result.exception)
    assert result.exit_code in status, (args, result.output)
    last = (result.output.splitlines() or [""])[-1]
    assert result.exit_code == 0 or last.startswith("Error: "), (args, result.output)
    assert not [name for name in tree(Path.cwd()) if name.endswith(".tmp")], args
    return last


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("command", "option"), list(numeric_options()))
def test_an_extreme_number_is_used_or_refused(command, option, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = quick_calls(runs)[command]
    if command == "sample" and option in ("--steps", "--neighbours"):
        call = [runs / "00001-digits-conv", "-o", "a.png", *["--interpolate"] * (option == "--steps")]
    for value in VALUES:
        check_clear(command, *call, option, value)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["train", *SMALL, "--batch-size", 10**12], "batch_size 1,000,000,000,000: would need at least"),
        (["train", *SMALL, "--d-steps", 2**70], "use a smaller --batch-size"),
        (["train", *SMALL, "--g-width", 10**8], "this machine has"),
        (["train", *SMALL, "--latent", 2**63], "or smaller networks"),
        (["train", *SMALL, "--d-depth", 10**30], "at most 1000"),
        (["train", *SMALL_IMAGES, "--extra-layers", 2**70], "at most 1000"),
        (["train", "--fid-samples", 10**12, "--fid-every", 1, "--inception", "a.pth"], "a smaller --fid-samples"),
        (["field", "grid", "-n", 10**9, "-o", "a.png"], "hours; use a smaller -n"),
        (["particles", "ring", "-n", 10**13], "10,000,000,000,000 particles: would need at least"),
        (["particles", "ring", "-n", 10**7], "600 steps of 10,000,000 particles: would take at least"),
        (["particles", "ring", "--points", 10**13], "use fewer --points"),
        (["particles", "ring", "--steps", 10**30], "use fewer --steps"),
        (["particles", "ring", "--d", 1000, "--eps", 0.3], "use a smaller --d"),
        (["particles", "ring", "--eps", 1e300], "must be within the range of float64"),
        (["gradcheck", "--model", "mlp", "--size", 2**16], "use smaller ones"),
        (["evaluate", "RUN", "-n", 10**10], "10,000,000,000 samples: would take at least"),
        (["evaluate", "RUN", "-n", 2**70], "hours; use a smaller -n"),
        (["evaluate", "IMAGES", "--metric", "fid", "-n", 10**12], "FID of 1,000,000,000,000 samples: would take"),
        (["sample", "RUN", "-n", 2**70, "-o", "a.npz"], "GB are free; use a smaller -n"),
        (["sample", "RUN", "-n", 2**70, "-o", "a.png"], "use a smaller -n, or a .npz file"),
        (["sample", "IMAGES", "-n", 2**70, "-o", "a"], "GB are free; use a smaller -n"),
    ],
)
def test_what_cannot_end_is_refused_with_the_bytes_or_hours_and_a_remedy(args, said, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = {"RUN": runs / "00000-ring", "IMAGES": runs / "00001-digits-conv"}
    assert said in check_clear(*(named.get(arg, arg) for arg in args), status=[1])
    assert not tree(tmp_path)


@pytest.mark.parametrize("command", ["models", "gradcheck"])
@pytest.mark.parametrize("size", [-1, 0, 2**70])
def test_a_side_that_no_image_has_is_refused(command, size):
    assert "8<=x<=65536" in check_clear(command, "--size", size, status=[2])


@pytest.mark.parametrize("reason", ["Unable to allocate 745. GiB for an array", ""])
def test_memory_that_is_full_is_told_in_a_line(reason, monkeypatch):
    def full(*_):
        raise MemoryError(reason)

    monkeypatch.setattr(models, "build", full)
    output = run("models", "my", status=1)
    assert output.startswith(f"Error: {reason or 'the memory is full'}; use a smaller --batch-size")
    assert output.count("\n") == 1


def test_a_gpu_s_memory_that_is_full_is_told_in_a_line(monkeypatch):
    memory = pytest.importorskip("cupy.cuda.memory", reason="raises CuPy's own error; pip install cupy-cuda12x")

    def full(*_):
        raise memory.OutOfMemoryError(2**34, 2**33, 2**35)

    monkeypatch.setattr(models, "build", full)
    output = run("models", "my", status=1)
    sizes = "allocating 17,179,869,184 bytes (allocated so far: 8,589,934,592 bytes, limit set to: 34,359,738,368"
    assert output.startswith(f"Error: Out of memory {sizes} bytes); use a smaller --batch-size")
    assert output.count("\n") == 1


@pytest.mark.parametrize(
    "args",
    [
        ["train", "--data", LONG],
        ["train", "--out", LONG, "--steps", "1"],
        ["train", "--resume", LONG],
        ["train", "--init-from", LONG],
        ["sample", LONG, "-o", "a.npz"],
        ["sample", "RUN", "-o", f"{LONG}.npz"],
        ["sample", "IMAGES", "-o", LONG],
        ["evaluate", LONG],
        ["evaluate", "RUN", "--data", LONG],
        ["field", LONG, "-o", "a.png"],
        ["field", "RUN", "-o", f"{LONG}.png"],
        ["particles", LONG],
        ["particles", "-o", f"{LONG}.gif"],
        ["particles", "--energies", LONG],
        ["plot", LONG],
        ["plot", "RUN", "-o", f"{LONG}.png"],
        ["report", LONG],
        ["report", "RUN", "-o", f"{LONG}.html"],
        ["stats", LONG, "-o", "a.npz"],
        ["stats", "digits", "-o", f"{LONG}.npz"],
        ["prepare", LONG, "a.npy"],
        ["prepare", "PHOTOS", f"{LONG}.npy"],
    ],
    ids=lambda args: " ".join(args).replace(LONG, "LONG"),
)
def test_a_name_that_is_too_long_is_told(args, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = {"RUN": runs / "00000-ring", "IMAGES": runs / "00001-digits-conv", "PHOTOS": runs / "photos"}
    assert "must be shorter" in check_clear(*(named.get(arg, arg) for arg in args), status=[2])
    assert not tree(tmp_path)


# Each command that writes a file, with the suffix of that file.
WRITERS = [
    (["sample", "RUN", "-o"], ".npz"),
    (["field", "RUN", "-o"], ".png"),
    (["field", "RUN", "--animate", "-o"], ".gif"),
    (["particles", "-o"], ".gif"),
    (["particles", "--energies"], ".jsonl"),
    (["plot", "RUN", "-o"], ".svg"),
    (["report", "RUN", "-o"], ".html"),
    (["stats", "digits", "-o"], ".npz"),
]


@pytest.mark.parametrize(("args", "suffix"), WRITERS, ids=lambda value: " ".join(value))
def test_a_place_that_cannot_be_written_is_told_before_the_computation(args, suffix, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"folder{suffix}").mkdir()
    os.mkfifo(f"pipe{suffix}")
    (tmp_path / "file").touch()
    args = [runs / "00000-ring" if arg == "RUN" else arg for arg in args]
    for place in (f"missing/a{suffix}", f"folder{suffix}", f"pipe{suffix}", f"file/a{suffix}"):
        assert check_clear(*args, place, status=[1]).startswith(f"Error: {place}: cannot be written (")
    assert tree(tmp_path) == {"file"}
    assert (tmp_path / f"pipe{suffix}").is_fifo()


@pytest.mark.parametrize(("place", "said", "status"), [("", "must not be empty", 2), (".", "is no name of a file", 1)])
def test_a_place_without_a_name_is_told(place, said, status, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in check_clear("sample", runs / "00001-digits-conv", "-o", place, status=[status])
    assert said in check_clear("prepare", runs / "photos", place, status=[status])


# Odd names


@pytest.mark.parametrize(
    "args", [["evaluate"], ["train", "--data"], ["plot"], ["sample", "-o"], ["models"], ["info"], ["train", "--preset"]]
)
def test_control_characters_of_a_name_never_reach_the_terminal(args):
    """An escape sequence could change the terminal's title, a line break or U+202E could forge an answer."""
    for name in ("a\x1b]0;title\x07b", "a\rb", "a\u202eb\n", os.fsdecode(b"a\xff"), "--a\x1b[31m"):
        output = CliRunner().invoke(main, [*args, name]).output
        assert not set("\x1b\x07\r\u202e") & set(output)
        assert output.isascii() or name.isascii()


def test_control_characters_of_files_are_shown_as_escapes(runs, tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    (tmp_path / "bad\x1b[31m\n.jpg").write_text("no image")
    output = run("prepare", tmp_path, tmp_path / "a.npy", "--skip-bad")
    assert "\nskipped bad\\x1b[31m\\n.jpg: " in output
    output = run("sample", runs / "00000-ring", "-n", 1, "-o", tmp_path / "a\x1b[31mb.npz")
    assert output == f"1 sample: {tmp_path}/a\\x1b[31mb.npz\n"


def test_a_run_whose_name_is_no_utf_8_has_curves_and_a_report(runs, tmp_path):
    pytest.importorskip("matplotlib", reason="draws the curves; pip install 'minicoulomb[plot]'")
    odd = tmp_path / os.fsdecode(b"00000-\xff")
    shutil.copytree(runs / "00000-ring", odd)
    assert "curves of" in run("plot", odd, "-o", tmp_path / "a.png")
    run("report", odd, "-o", tmp_path / "a.html")
    assert "00000-\\udcff" in (tmp_path / "a.html").read_text(encoding="utf-8")


# Odd environments


def minicoulomb(*args, cwd=ROOT, **environment):
    """What the command prints in a process of its own, on standard output and error."""
    command = [sys.executable, "-m", "minicoulomb", *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_backend_of_a_notebook_does_not_stop_curves(runs, tmp_path):
    """Matplotlib does not import where the package of MPLBACKEND is not installed."""
    pytest.importorskip("matplotlib", reason="draws the curves; pip install 'minicoulomb[plot]'")
    result = minicoulomb("plot", runs / "00000-ring", "-o", tmp_path / "a.png", MPLBACKEND="module://none_such.backend")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_working_directory_that_is_gone_is_told(runs):
    gone = "import os, tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d); "
    program = gone + "from minicoulomb.cli.main import main; main(['evaluate', %r, '--data', 'x'])"
    command = [sys.executable, "-c", program % str(runs / "00000-ring")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: the working directory: No such file or directory; choose another place")


def test_a_link_to_itself_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    assert "nothing is there" in run("train", "--data", "loop", status=1)
    assert "loop" in run("train", *SMALL, "--inception", "loop", "--dry-run")


def test_a_folder_of_samples_removes_the_draft_of_a_killed_process(runs, tmp_path):
    dead = tmp_path / ".made.999999.tmp"
    dead.mkdir()
    (dead / "000000.png").touch()
    run("sample", runs / "00001-digits-conv", "-n", 1, "-o", tmp_path / "made")
    assert tree(tmp_path) == {"made/000000.png"}
    assert "not an empty folder" in run("sample", runs / "00001-digits-conv", "-o", tmp_path / "made", status=1)
    assert {path.name for path in tmp_path.iterdir()} == {"made"}
