"""Steps of several processes on the stand-in for CuPy: by NCCL in a CUDA graph, and through the host without one."""

import os
from pathlib import Path

import numpy as np
import pytest
from mpi_cases import needs_mpi, on

pytestmark = needs_mpi

HERE = Path(__file__).parent
GRAPH, NO_GRAPH = "None", "sums over processes go through the host; pip install nvidia-nccl-cu12"
EXACT = 1e-11  # a batch of 6 with batch normalization amplifies rounding
# The potential is nearly constant at a collapsed batch, so that 1 - error / scatter has few digits.
INEXACT = {"metric r2"}


def steps(folder, *how, processes=0):
    """The arrays of each case, and why its steps were not one graph."""
    folder.mkdir()
    code = f"import on_stand_in; on_stand_in.main{(str(folder), *how)}"
    paths = os.pathsep.join(map(str, (HERE, HERE.parent, HERE.parent / "gpu", HERE.parents[1])))
    output = on(processes, program=["-c", code], variables={"PYTHONPATH": paths})
    return [dict(np.load(path)) for path in sorted(folder.iterdir())], output.splitlines()


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
