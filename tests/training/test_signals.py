"""Runs that are stopped: the first signal asks, the second ends the process, and no moment is a bad one for a kill."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from cli_cases import ROOT, SMALL, run

from minicoulomb.training.signals import StopRequest

TWICE = """
import os, signal, time
from minicoulomb.training.signals import StopRequest
with StopRequest() as stop:
    os.kill(os.getpid(), signal.{first})
    print("asked", bool(stop), 128 + stop.signal, flush=True)
    os.kill(os.getpid(), signal.{second})
    time.sleep(60)
print("never")
"""


@pytest.mark.parametrize(("first", "second", "status"), [("SIGINT", "SIGINT", 130), ("SIGINT", "SIGTERM", 143)])
def test_a_second_signal_aborts(first, second, status):
    program = TWICE.format(first=first, second=second)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert result.returncode == status
    assert result.stdout == "asked True 130\n"


def test_the_handlers_from_before_come_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop
        assert stop.signal == 15
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def start(*args, **kwargs):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "minicoulomb", *map(str, args)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_line(process, start_of_line):
    for line in process.stdout:
        if line.startswith(start_of_line):
            return
    raise AssertionError(process.stderr.read())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 3000 steps that nothing stopped."""
    out = tmp_path_factory.mktemp("whole")
    run("train", *SMALL, "--steps", 3000, "--out", out)
    return out / "00000-ring"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_saves_the_run_and_a_resumed_one_ends_as_if_nothing_had_been(whole, tmp_path, number, status):
    process = start("train", *SMALL, "--steps", 3000, "--out", tmp_path)
    wait_for_line(process, "step 100/")
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert "--resume" in output
    assert "Traceback" not in errors
    (stopped,) = tmp_path.iterdir()
    assert not (stopped / "checkpoints/step-0003000.npz").exists()
    run("train", "--resume", stopped)
    last = "checkpoints/step-0003000.npz"
    assert (whole / last).read_bytes() == (stopped / last).read_bytes()


def kill_and_resume(tmp_path, times, rng):
    """Kill a run at random moments, from its very start on; whenever its directory is there, it resumes."""
    options = [*SMALL, "--steps", 1000, "--checkpoint-every", 10, "--sample-every", 200]
    for _ in range(times):
        runs = [path for path in tmp_path.iterdir() if path.name[0] != "."]
        where = ["--resume", runs[0]] if runs else [*options, "--out", tmp_path]
        process = start("train", *where)
        if runs or rng.random() < 0.5:
            wait_for_line(process, str(tmp_path))
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.communicate()
    (killed,) = (path for path in tmp_path.iterdir() if path.name[0] != ".")
    run("train", "--resume", killed)
    run("train", *options, "--out", tmp_path / "whole")
    last = "checkpoints/step-0001000.npz"
    assert (killed / last).read_bytes() == (tmp_path / "whole" / "00000-ring" / last).read_bytes()


def test_a_killed_run_resumes(tmp_path):
    kill_and_resume(tmp_path, 3, random.Random(0))


@pytest.mark.slow
def test_a_run_killed_twenty_times_resumes_every_time(tmp_path):
    kill_and_resume(tmp_path, 20, random.Random(1))


# The output ends before the run


def shell(command, tmp_path):
    """(status, errors) of a command line in which `mc` is minicoulomb; without PYTHONUNBUFFERED, as a user has it."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"} | {"OPENBLAS_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": str(ROOT)}
    line = f'mc() {{ {sys.executable} -m minicoulomb "$@"; }}; set -o pipefail; {command}'
    result = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr
    return result.returncode, result.stderr


ENDLESS = " ".join(["mc train", *SMALL, "--steps 1000000 --out ."])


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (" | head -2", "Broken pipe"),
        (" > /dev/full", "No space left on device"),
        (" >&-", "Bad file descriptor"),
        (" >&- <&- 2> errors", "Bad file descriptor"),
    ],
)
def test_training_without_an_output_saves_and_ends(tmp_path, where, reason):
    status, errors = shell(ENDLESS + where, tmp_path)
    if "errors" in where:
        errors = (tmp_path / "errors").read_text()
    assert status == 1
    step = int(errors.split("saved at step ")[1].split(";")[0])
    assert errors == (
        f"Error: output: cannot be written ({reason}): saved at step {step}; "
        "continue with: minicoulomb train --resume 00000-ring\n"
    )
    assert (tmp_path / f"00000-ring/checkpoints/step-{step:07d}.npz").exists()
    assert not (tmp_path / "00000-ring/lock").exists()


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("mc models | true", 1, ""),
        ("mc models > /dev/full", 1, "Error: output: cannot be written (No space left on device); send it elsewhere\n"),
        ("mc --help >&-", 1, "Error: output: cannot be written (Bad file descriptor); send it elsewhere\n"),
        ("mc sample /nowhere -o a.png 2> /dev/full", 1, ""),
        (ENDLESS + " --backend auto 2> /dev/full", 1, ""),
        (ENDLESS + " 2>&1 >&- | true", 1, ""),
    ],
)
def test_other_commands_without_an_output_end_without_a_traceback(tmp_path, command, status, said):
    assert shell(command, tmp_path) == (status, said)


INTERRUPTED = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores Ctrl-C
class Interrupts:
    def find_spec(self, name, path, target=None):
        if name == "minicoulomb.cli.console":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
runpy.run_module("minicoulomb", run_name="__main__")
"""


def test_ctrl_c_during_the_imports_leaves_no_traceback():
    result = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "", "")


def test_nohup_keeps_a_run_going():
    program = "import os, signal; from minicoulomb.training.signals import StopRequest\n"
    program += "with StopRequest() as stop: os.kill(os.getpid(), signal.SIGHUP); print(bool(stop))"
    result = subprocess.run(["nohup", sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "False\n"


def test_a_second_process_does_not_train_the_same_run(tmp_path):
    process = start("train", *SMALL, "--steps", 1_000_000, "--out", tmp_path)
    wait_for_line(process, "step 5/")
    path = tmp_path / "00000-ring"
    said = run("train", "--resume", path, status=1)
    assert said.startswith(f"Error: {path}: in use by process {process.pid} on ")
    assert len(said.splitlines()) == 1
    run("train", "--resume", path, "--dry-run")
    run("sample", path, "-n", 2, "-o", tmp_path / "points.npz")
    process.kill()
    process.communicate()
    assert (path / "lock").exists()
    run("train", "--resume", path, "--until", 10, "--yes")
    assert not (path / "lock").exists()


def test_a_file_system_without_locks_is_told_once(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    output = run("train", *SMALL, "--steps", 2, "--out", tmp_path)
    said = f"{tmp_path / '00000-ring'}: its file system has no locks; let no other process train this run\n"
    assert output.count("no locks") == 1
    assert said in output
