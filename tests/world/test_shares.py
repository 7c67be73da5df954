"""`sample`, `evaluate`, FID and other commands: what they write and print is the same for any number of processes."""

import json

import numpy as np
import pytest
from cli_cases import SMALL_IMAGES, arrays
from data_files import contents, write_folder
from mpi_cases import many, needs_mpi

pytestmark = needs_mpi

RUN = "runs/00000-digits-conv"
FID = ["--fid-every", 2, "--fid-samples", 70, "--inception", "weights"]
TRAIN = ["train", *SMALL_IMAGES, "--dtype", "float64", "--steps", 4, "--threads", 1, *FID, "--out", "runs"]
COMMANDS = [
    ["sample", "RUN", "-n", 200, "-o", "samples.npz"],
    ["sample", "RUN", "-n", 70, "-o", "files"],
    ["sample", "RUN", "-n", 9, "-o", "samples.png", "--batch-statistics"],
    ["sample", "RUN", "--interpolate", 2, "-o", "between.png"],
    ["sample", "RUN", "--neighbours", 2, "-o", "beside.png"],
    ["evaluate", "RUN", "--json", "-n", 150],
    ["evaluate", "RUN", "--json", "-n", 150, "--metric", "fid,kid", "--inception", "weights"],
    ["evaluate", "RUN", "--json", "-n", 128, "--metric", "duplicates"],
    ["stats", "digits", "-o", "stats.npz", "--inception", "weights"],
    ["prepare", "images", "prepared.npy", "--size", 8, "--workers", 1],
    ["field", "RUN", "-o", "field.png"],
    ["models", "dcgan"],
    ["evaluate", "nowhere"],
    ["--version"],
    ["sample", "--bogus"],
    ["bogus"],
]
# Files and folders that hold times or paths.
TIMED = ["images", "lines.json", "prepared.npy.files", "prepared.npy.json"]


def results(n, run, folder):
    """The files and the lines that all commands make on n processes."""
    folder.mkdir()
    write_folder(folder / "images", contents(5))
    output, files = many(n, [[run if a == "RUN" else a for a in command] for command in COMMANDS], folder), {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] not in TIMED:
            files[name] = arrays(path) if path.suffix == ".npz" else path.read_bytes()
    return files, output


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a single process."""
    folder = tmp_path_factory.mktemp("alone")
    many(0, [TRAIN], folder)
    return folder / RUN


@pytest.fixture(scope="module")
def alone(run, tmp_path_factory):
    """What a single process makes of it."""
    return results(0, run, tmp_path_factory.mktemp("alone") / "0")


@pytest.mark.parametrize("n", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_every_command_makes_what_one_process_makes(n, run, alone, tmp_path):
    files, output = results(n, run, tmp_path / str(n))
    assert len(files) >= 75
    assert files == alone[0]
    assert output == alone[1]


@pytest.mark.slow
def test_training_on_two_processes_measures_the_same_fid(run, tmp_path):
    many(2, [TRAIN], tmp_path)
    fids = []
    for path in (run, tmp_path / RUN):
        entries = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
        fids.append([entry["fid"] for entry in entries if "fid" in entry])
    assert len(fids[0]) == 2
    np.testing.assert_allclose(*fids, rtol=1e-9)
