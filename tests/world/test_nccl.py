"""Steps of several processes on the stand-in for CuPy: by NCCL in a CUDA graph, and through the host without one."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
GRAPH, NO_GRAPH = "None", "sums over processes go through the host; pip install nvidia-nccl-cu12"
EXACT = 1e-11  # a batch of 6 with batch normalization amplifies rounding
# The potential is nearly constant at a collapsed batch, so that 1 - error / scatter has few digits.
INEXACT = {"metric r2"}

pytestmark = pytest.mark.skipif(
    not (shutil.which("mpirun") and find_spec("mpi4py")), reason="needs mpirun and mpi4py: pip install mpi4py mpich"
)


def steps(folder, *how, processes=1):
    """The arrays of each case, and why its steps were not one graph."""
    folder.mkdir()
    start = ["mpirun", "-n", str(processes)] * (processes > 1)
    code = f"import on_stand_in; on_stand_in.main{(str(folder), *how)}"
    paths = os.pathsep.join(map(str, (HERE, HERE.parent, HERE.parent / "gpu", HERE.parents[1])))
    environment = {**os.environ, "PYTHONPATH": paths}
    command = [*start, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return [dict(np.load(path)) for path in sorted(folder.iterdir())], done.stdout.split("\n")[:-1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    found, refusals = steps(tmp_path_factory.mktemp("alone") / "run", "")
    assert refusals == [GRAPH] * len(found)
    return found


@pytest.mark.parametrize(("processes", "how"), [(2, "nccl"), (2, ""), pytest.param(3, "nccl", marks=pytest.mark.slow)])
def test_gpus_compute_together_what_one_computes(alone, tmp_path, processes, how):
    found, refusals = steps(tmp_path / "run", how, processes=processes)
    assert refusals == [GRAPH if how else NO_GRAPH] * len(alone)
    for ours, theirs in zip(found, alone, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - INEXACT:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=EXACT, atol=EXACT, err_msg=name)
