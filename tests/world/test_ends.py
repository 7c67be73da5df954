"""The ends of several processes: errors of each, signals, kills. All of them end, and the run resumes."""

import os
import signal
import time

import kills
import pytest
from cli_cases import SMALL
from mpi_cases import HANGS, ended, gone, needs_mpi, on, processes, started

pytestmark = needs_mpi

FOREVER = ["train", *SMALL, "--steps", 10**7, "--threads", 1, "--out", "runs"]
RUN = "runs/00000-ring"
# What an imitated fault replaces, in one rank: `PROGRAM RANK FAULT ...` goes on as minicoulomb.
PROGRAM = """
import os, sys
import minicoulomb.cli.common, minicoulomb.data.sources, minicoulomb.training.checkpoint, minicoulomb.training.steps
from minicoulomb.cli.main import main
from minicoulomb.errors import UserError

def fault(error):
    step = minicoulomb.training.steps.step
    def failing(G, D, state, *args):
        if state.step == 3:
            raise error
        return step(G, D, state, *args)
    return failing

def missing(*args):
    raise UserError("data x.npy: does not exist")

to = minicoulomb.training.checkpoint.Checkpoint.to

def other(self, xp):
    checkpoint = to(self, xp)
    checkpoint.state.theta[0] += 1e-6
    return checkpoint

if int(os.environ.get("PMI_RANK", 0)) == int(sys.argv.pop(1)):
    kind = sys.argv.pop(1)
    if kind == "missing":
        minicoulomb.cli.common.find = missing
    elif kind == "drift":
        minicoulomb.training.checkpoint.Checkpoint.to = other
    else:
        error = {"memory": MemoryError("Unable to allocate 9 GiB"), "bug": ZeroDivisionError("a bug")}[kind]
        minicoulomb.training.steps.step = fault(error)
else:
    sys.argv.pop(1)
main()
"""


@pytest.mark.parametrize(
    ("rank", "fault", "said"),
    [
        (1, "missing", "Error: process 1 of 2: data x.npy: does not exist\n"),
        (1, "drift", "step 0: process 1 has other parameters than process 0; use machines of one kind"),
        pytest.param(1, "memory", "Error: process 1 of 2: Unable to allocate 9 GiB\n", marks=pytest.mark.slow),
        pytest.param(1, "bug", "ZeroDivisionError: a bug\n", marks=pytest.mark.slow),
        pytest.param(0, "memory", "Error: process 0 of 2: Unable to allocate 9 GiB\n", marks=pytest.mark.slow),
    ],
)
def test_an_error_of_a_process_is_said_and_ends_all(rank, fault, said, tmp_path):
    arguments = ["train", *SMALL, "--steps", 10, "--threads", 1, "--out", "runs"]
    child = started(2, rank, fault, *arguments, program=["-c", PROGRAM], folder=tmp_path)
    status, output, errors = ended(child)
    assert (status, said in errors) == (1, True), output + errors
    gone(child)
    on(1, "train", "--resume", RUN, folder=tmp_path)


def test_a_batch_without_equal_shares_is_refused_before_a_run_is_made(tmp_path):
    output = on(2, "train", *SMALL, "--batch-size", 3, "--out", "runs", status=1, folder=tmp_path)
    assert output.splitlines() == [
        "Error: batch_size 3: must be a multiple of 2, the number of processes; use --batch-size 2, "
        "or another number of processes"
    ]
    assert not (tmp_path / "runs").exists()


def until(condition, child):
    began = time.monotonic()
    while not condition():
        time.sleep(0.05)
        assert child.poll() is None, ended(child)
        assert time.monotonic() - began < HANGS


@pytest.mark.parametrize(
    ("to", "number"),
    [
        ("mpirun", signal.SIGINT),
        pytest.param("mpirun", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("leader", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("leader", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("group", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("group", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_signal_stops_all_and_saves_once(to, number, tmp_path):
    child = started(2, *FOREVER, folder=tmp_path)
    metrics = tmp_path / RUN / "metrics.jsonl"
    until(lambda: metrics.exists() and metrics.stat().st_size, child)
    if to == "group":  # as a terminal does
        os.killpg(child.pid, number)
    else:
        os.kill(child.pid if to == "mpirun" else processes(child)[0], number)
    status, output, errors = ended(child)
    assert status == 128 + number, output + errors
    gone(child)
    assert output.count("stopped and saved at step") == 1
    assert len(list((tmp_path / RUN / "checkpoints").glob("step*"))) == 2  # the first and the last
    step = int(output.partition("saved at step ")[2].partition(";")[0])
    on(1, "train", "--resume", RUN, "--until", step + 2, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_drawing_of_samples(number, tmp_path):
    on(0, "train", *SMALL, "--steps", 1, "--threads", 1, "--out", "runs", folder=tmp_path)
    child = started(2, "sample", RUN, "-n", 10**8, "-o", "samples.npz", folder=tmp_path)
    until(lambda: len(list(tmp_path.iterdir())) > 1, child)  # a draft beside the runs
    os.killpg(child.pid, number)  # as a terminal and `timeout` do
    status, output, errors = ended(child)
    assert status == 128 + number, output + errors
    assert "Traceback" not in errors
    gone(child)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return kills.uninterrupted(tmp_path_factory.mktemp("kills") / "whole")


@pytest.mark.parametrize(
    ("victim", "delay"),
    [
        (1, 0.1),
        pytest.param(0, 0.3, marks=pytest.mark.slow),
        pytest.param(2, 0.2, marks=pytest.mark.slow),
        pytest.param(1, -0.5, marks=pytest.mark.slow),
    ],
    ids=["follower", "leader", "mpirun", "follower that begins"],
)
def test_a_killed_process_ends_all_and_the_run_resumes_with_another_number(victim, delay, whole, tmp_path):
    kills.kill(tmp_path / "killed", whole, 2, victim, delay, again=0)


def test_without_processes_the_flag_says_how_to_start_them(tmp_path):
    output = on(0, "--mpi", "info", status=1)
    assert output.startswith("Error: --mpi: mpi4py finds a single process")
    output = on(0, "info", status=1, variables={"PMI_RANK": "0", "PMI_SIZE": "2"})
    assert output.startswith("Error: the launcher started 2 processes: mpi4py finds a single process")
    assert len(output.splitlines()) == 1
