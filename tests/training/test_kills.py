"""A kill before each file operation of a run, from its creation to its end: the run then resumes to the byte.

An audit hook sees each opening, renaming, removal and new folder. In a forked process it ends the process at the one
whose number is drawn, as SIGKILL would.
"""

import json
import os
import random
import subprocess
import sys

import pytest
from cli_cases import ROOT

CHILD = """
import os, sys
from click.testing import CliRunner
from PIL import Image
from minicoulomb.cli.main import main
from minicoulomb.cli import train

OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}
SMALL = "train --preset ring --g-width 2 --d-width 2 --batch-size 4 --threads 1 --steps 8 --log-every 3".split()
SMALL += ["--checkpoint-every", "2", "--sample-every", "4", "--keep-checkpoints", "2"]
left = None  # operations until the kill
count = 0


def hook(event, args):
    global count
    if left is not None and event in OPERATIONS and str(args[0]).startswith(folder):
        count += 1
        if count > left:
            os._exit(137)


def fid(step):  # stands in for Inception
    return {2: 9.0, 4: 5.0, 6: 7.0, 8: 4.0}.get(step)


def periodic(checkpoint, backend, dataset, cache):
    return lambda stop: fid(checkpoint.state.step)


def forked(kill_at, *args):
    child = os.fork()
    if child == 0:
        global left, count
        left, count = kill_at, 0
        result = CliRunner().invoke(main, [str(a) for a in args])
        if kill_at == 10**9:
            print("operations", count)
        if result.exit_code:
            print(result.output, result.exception)
        sys.stdout.flush()
        os._exit(result.exit_code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


train._periodic_fid = periodic
train.training_picture = lambda checkpoint, dataset, x: Image.fromarray((100 * x[:9]).astype("uint8"))  # quickly
train.evaluate_samples = lambda *_: {"modes": 1}
train.EVALUATED = 16
sys.addaudithook(hook)
"""


def child(tmp_path, program):
    """The output of a program after CHILD's."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    code = f"folder = {str(tmp_path)!r}\n{CHILD}\n{program}"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


def content(run):
    """What a run holds, but for times and the log."""
    found = {
        p.relative_to(run).as_posix(): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != "log.txt"
    }
    lines = [json.loads(line) for line in found["metrics.jsonl"].splitlines()]
    found["metrics.jsonl"] = [{k: v for k, v in e.items() if k not in ("seconds", "samples_per_second")} for e in lines]
    return found


FIRST = """
assert forked(10**9, *SMALL, "--fid-every", 2, "--inception", "x", "--out", f"{folder}/whole") == 0
"""
KILLED = """
from pathlib import Path
for number in %s:
    out = f"{folder}/{number}"
    status = forked(number, *SMALL, "--fid-every", 2, "--inception", "x", "--out", out)
    assert status == 137, status
    runs = [path for path in Path(out).glob("0*")] if Path(out).exists() else []
    again = number %% 7
    if runs and again > 3:  # another kill, while it resumes
        forked(3 * again, "train", "--resume", runs[0])
    options = ["train", "--resume", runs[0]] if runs else [*SMALL, "--fid-every", 2, "--inception", "x", "--out", out]
    assert forked(None, *options) == 0, number
"""


def kill_at(tmp_path, choose):
    total = int(child(tmp_path, FIRST).split("operations ")[1])
    numbers = choose(range(total))
    child(tmp_path, KILLED % list(numbers))
    whole = content(tmp_path / "whole" / "00000-ring")
    assert {"checkpoints/best.npz", "checkpoints/best.json", "checkpoints/step-0000008.npz"} <= set(whole)
    for number in numbers:
        (run,) = (tmp_path / str(number)).iterdir()  # and no draft beside it
        assert content(run) == whole, number


def test_a_run_killed_before_a_file_operation_resumes_to_the_byte(tmp_path):
    kill_at(tmp_path, lambda every: random.Random(0).sample(every, 8))


@pytest.mark.slow
def test_a_run_killed_before_each_file_operation_resumes_to_the_byte(tmp_path):
    kill_at(tmp_path, list)
