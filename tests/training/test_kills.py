"""A kill before each file operation of a run, from its creation to its end: the run then resumes to the byte.

An audit hook sees each opening, renaming, removal and new folder. In a forked process it ends the process at the one
whose number is drawn, as SIGKILL would.
"""

import json
import os
import subprocess
import sys

import pytest
from cli_cases import ROOT

PROGRAM = """
import os, random, sys
from pathlib import Path
from click.testing import CliRunner
from PIL import Image
from minicoulomb.cli import train
from minicoulomb.cli.main import main

folder, few = Path(sys.argv[1]), int(sys.argv[2])
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}
SMALL = "train --preset ring --g-width 2 --d-width 2 --batch-size 4 --threads 1 --steps 8 --log-every 3".split()
SMALL += "--checkpoint-every 2 --sample-every 4 --keep-checkpoints 2 --fid-every 2 --inception x".split()
FID = {2: 9.0, 4: 5.0, 6: 7.0, 8: 4.0}
count, last = 0, 10**9


def hook(event, args):
    global count
    if event in OPERATIONS and str(args[0]).startswith(str(folder)):
        count += 1
        if count > last:
            os._exit(137)


def forked(kill_at, *args):
    global count, last
    child = os.fork()
    if child == 0:
        count, last = 0, kill_at
        result = CliRunner().invoke(main, [str(a) for a in args])
        if result.exit_code:
            print(result.output, result.exception)
        (folder / "count").write_text(str(count))
        sys.stdout.flush()
        os._exit(result.exit_code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# Stand in for Inception, for pictures that take long, and for the last evaluation.
train._periodic_fid = lambda checkpoint, *_: lambda stop: FID.get(checkpoint.state.step)
train.training_picture = lambda checkpoint, dataset, x: Image.fromarray((100 * x[:9]).astype("uint8"))
train.evaluate_samples, train.EVALUATED = lambda *_: {"modes": 1}, 16
sys.addaudithook(hook)
assert forked(10**9, *SMALL, "--out", folder / "whole") == 0
numbers = range(int((folder / "count").read_text()))
for number in random.Random(0).sample(numbers, few or len(numbers)):
    out = folder / f"killed-{number}"
    assert forked(number, *SMALL, "--out", out) == 137
    runs = list(out.glob("0*"))
    if runs and number % 2:  # another kill, while it resumes
        forked(number % 11, "train", "--resume", runs[0])
    assert forked(10**9, *(["train", "--resume", runs[0]] if runs else [*SMALL, "--out", out])) == 0, number
"""


def content(run):
    """What a run holds, but for times and the log."""
    found = {
        p.relative_to(run).as_posix(): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != "log.txt"
    }
    lines = [json.loads(line) for line in found["metrics.jsonl"].splitlines()]
    found["metrics.jsonl"] = [{k: v for k, v in e.items() if k not in ("seconds", "samples_per_second")} for e in lines]
    return found


@pytest.mark.parametrize("few", [5, pytest.param(0, marks=pytest.mark.slow)], ids=["some", "all"])
def test_a_run_killed_before_a_file_operation_resumes_to_the_byte(tmp_path, few):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(few)]
    child = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr + child.stdout
    whole = content(tmp_path / "whole" / "00000-ring")
    assert {"checkpoints/best.npz", "checkpoints/best.json", "checkpoints/step-0000008.npz"} <= set(whole)
    killed = list(tmp_path.glob("killed-*"))
    assert len(killed) >= 5
    for out in killed:
        (run,) = out.iterdir()  # and no draft beside it
        assert content(run) == whole, out.name
