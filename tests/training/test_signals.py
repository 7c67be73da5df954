"""Runs that are stopped: the first signal asks, the second ends the process, and no moment is a bad one for a kill."""

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


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_run_and_a_resumed_one_ends_as_if_nothing_had_been(tmp_path, number, status):
    run("train", *SMALL, "--steps", 3000, "--out", tmp_path)
    process = start("train", *SMALL, "--steps", 3000, "--out", tmp_path)
    wait_for_line(process, "step 100/")
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert "--resume" in output
    assert "Traceback" not in errors
    whole, stopped = sorted(tmp_path.iterdir())
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
