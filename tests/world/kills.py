"""Kills of one process of several while they train: `PYTHONPATH=.:tests python tests/world/kills.py [COUNT] [SEED]`.

At a random time SIGKILL goes to a random rank, or to mpirun. All others must end by themselves. The run then resumes
with another number of processes, to the state of a run that nothing interrupted. Prints the longest time to the end.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from mpi_cases import ended, gone, on, processes, started

# A small run, at learning rates for which rounding does not grow.
STEPS = 400
TRAIN = f"--preset ring --g-width 8 --d-width 8 --batch-size 12 --steps {STEPS} --threads 1 --dtype float64".split()
TRAIN += "--lr-g 1e-6 --lr-d 1e-6 --log-every 7 --checkpoint-every 10 --sample-every 0".split()
RUN = "runs/00000-ring"
WITHIN = 1e-9


def final_state(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of the last step."""
    with np.load(folder / RUN / "checkpoints" / f"step-{STEPS:07d}.npz") as file:
        return {name: file[name] for name in file.files if name != "about" and file[name].size}


def uninterrupted(folder: Path) -> dict[str, np.ndarray]:
    """The last state of a run of one process."""
    folder.mkdir()
    on(0, "train", *TRAIN, "--out", "runs", folder=folder)
    return final_state(folder)


def kill(folder: Path, wanted: dict, n: int, victim: int, delay: float, again: int) -> tuple[float, str]:
    """(seconds from the kill to the end of all, a sentence): AssertionError if it does not end or resume as it must.

    victim   a rank, or n: mpirun
    delay    seconds from the first sign of the run until the kill, from the start if it is negative
    again    the number of processes that resume
    """
    folder.mkdir()
    child = started(n, "train", *TRAIN, "--out", "runs", folder=folder)
    while delay > 0 and not (folder / RUN / "metrics.jsonl").exists():
        time.sleep(0.05)
        assert child.poll() is None
    time.sleep(abs(delay))
    found = processes(child)
    process = child.pid if victim == n else found.get(victim)
    if process is not None and child.poll() is None:
        os.kill(process, signal.SIGKILL)
    seconds = gone(child)
    status, output, errors = ended(child)
    done = (folder / RUN / "checkpoints" / f"step-{STEPS:07d}.npz").exists()
    assert status or done, output + errors
    checkpoints = sorted(path.name for path in (folder / RUN / "checkpoints").glob("step*"))
    if not done:
        resumed = ["--resume", RUN] if (folder / RUN).exists() else [*TRAIN, "--out", "runs"]
        on(again, "train", *resumed, folder=folder)
    for name, a in final_state(folder).items():
        assert np.abs(a - wanted[name]).max() <= WITHIN * np.abs(wanted[name]).max(), name
    who = "mpirun" if victim == n else f"rank {victim} of {n}"
    where = "at its end" if done else checkpoints[-1] if checkpoints else "no run"
    return seconds, f"{who}: status {status}, {where}, all ended after {seconds:.1f} s; resumed by {again or 1}"


def main(trials: int = 12, seed: int = 0) -> None:
    rng, longest = random.Random(seed), 0.0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        wanted = uninterrupted(root / "whole")
        for number in range(trials):
            n, again = rng.sample([0, 2, 3, 4], 2)
            n, again = (n, again) if n else (again, n)
            delay = rng.choice([-1, 1, 1]) * rng.uniform(0.01, 3)
            seconds, said = kill(root / str(number), wanted, n, rng.randint(0, n), delay, again)
            shutil.rmtree(root / str(number))
            longest = max(longest, seconds)
            print(number, said, flush=True)
    print(f"{trials} kills: all processes ended within {longest:.1f} s, and every run ended as without")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
