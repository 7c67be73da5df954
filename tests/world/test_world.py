"""The parts of the world that need no MPI: who starts it, the shares, the sums over a batch and over charges."""

import os
import subprocess
import sys
from threading import Barrier, Thread

import numpy as np
import pytest
from cli_cases import ROOT, SMALL, run

from minicoulomb.config import Config
from minicoulomb.coulomb import field, potential, potentials
from minicoulomb.coulomb.pairs import with_charges_of
from minicoulomb.errors import UserError
from minicoulomb.layers import BatchNorm, LeakyReLU
from minicoulomb.world import launch
from minicoulomb.world.batch_norm import WholeBatchNorm
from minicoulomb.world.processes import threads_of
from minicoulomb.world.steps import share_of

# Launchers


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, None),
        ({"PMI_RANK": "3", "PMI_SIZE": "4"}, (3, 4)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0"}, (0, 2)),
        ({"PMIX_RANK": "1", "PMIX_NAMESPACE": "prterun-1"}, (1, None)),
        ({"PMIX_RANK": "1", "SLURM_STEP_NUM_TASKS": "4"}, (1, 4)),
        ({"PMI_RANK": "5", "PMI_SIZE": "8", "SLURM_PROCID": "5", "SLURM_NTASKS": "8"}, (5, 8)),
        # srun without --mpi: as many programs, each by itself
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, None),
        ({"PMI_RANK": "", "PMI_SIZE": "4"}, None),
        ({"PMI_RANK": "-1"}, None),
        ({"PMI_RANK": "0", "PMI_SIZE": "many"}, (0, None)),
    ],
)
def test_a_launcher_is_noticed_by_its_variables(variables, found):
    assert launch.started(variables) == found


@pytest.mark.parametrize("variables", [{}, {"PMI_RANK": "0", "PMI_SIZE": "1"}])
def test_a_single_process_imports_of_all_this_what_notices_others(variables, tmp_path):
    program = "import sys; from minicoulomb.cli.main import main; main(sys.argv[1:], standalone_mode=False)"
    program += "; print(*(name for name in sys.modules if 'mpi4py' in name or '.world.' in name))"
    arguments = ["train", *SMALL, "--steps", "2", "--out", str(tmp_path)]
    command = [sys.executable, "-c", program, *arguments]
    found = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines()[-1] == "minicoulomb.world.launch"


def test_without_mpi4py_several_processes_are_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    output = run("train", *SMALL, "--out", tmp_path, status=1)
    assert output.startswith("Error: ")
    assert "pip install 'minicoulomb[mpi]'" in output
    assert len(output.splitlines()) == 1
    monkeypatch.setenv("PMI_RANK", "1")
    assert run("train", *SMALL, "--out", tmp_path, status=1) == ""  # process 0 says it
    assert not list(tmp_path.iterdir())


# Shares


def test_shares_are_consecutive_and_cover_the_batch():
    config = Config.of(batch_size=12)
    parts = [np.arange(12)[share_of(config, rank, 3)] for rank in range(3)]
    assert np.concatenate(parts).tolist() == list(range(12))
    assert {len(part) for part in parts} == {4}


@pytest.mark.parametrize(("n", "size", "remedy"), [(128, 3, 126), (10, 4, 8), (2, 3, 3)])
def test_a_batch_without_equal_shares_is_refused(n, size, remedy):
    with pytest.raises(UserError, match=f"batch_size {n}: must be a multiple of {size}.*--batch-size {remedy}"):
        share_of(Config.of(batch_size=n), 0, size)


@pytest.mark.parametrize(
    ("cores", "threads"),
    [
        ([{0, 1}, {0, 1}], [1, 1]),
        ([{0, 1}] * 4, [1] * 4),  # no process has less than one
        ([set(range(9))] * 3, [3] * 3),
        ([{0, 1, 2, 3}, {4, 5, 6, 7}], [4, 4]),  # bound to cores of their own
        ([{0}, {1, 2, 3}, {1, 2, 3}], [1, 1, 1]),
    ],
)
def test_processes_share_the_cores_of_a_machine(cores, threads):
    assert [threads_of(own, cores) for own in cores] == threads


# Sums over the batch, of which this process has a share


def in_shares(function, shares):
    """The results of function(gather, share) for all shares: threads that wait for each other in each exchange."""
    barrier, given, results = Barrier(len(shares)), [None] * len(shares), [None] * len(shares)

    def work(rank):
        def gather(*arrays):
            given[rank] = arrays
            barrier.wait()
            of_all = [np.concatenate(parts) for parts in zip(*given, strict=True)]
            barrier.wait()
            return of_all

        results[rank] = function(gather, shares[rank])

    threads = [Thread(target=work, args=(rank,)) for rank in range(len(shares))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("activation", [None, LeakyReLU()])
@pytest.mark.parametrize("shape", [(12, 3), (12, 2, 2, 3), (4, 3)])  # the last: one sample in each share
def test_batch_norm_of_shares_is_that_of_the_whole_batch(shape, activation):
    rng = np.random.default_rng(0)
    x, dy = 1e3 + rng.standard_normal(shape), rng.standard_normal(shape)
    params = {"scale": rng.standard_normal(3), "shift": rng.standard_normal(3)}
    layer = BatchNorm(3, activation)
    y, residuals = layer.forward(params, x)
    dx, dparams = layer.gradients(residuals, dy)

    def of_share(gather, share):
        layer = WholeBatchNorm(3, activation, gather=gather)
        y, residuals = layer.forward(params, share[0])
        dx, dparams = layer.gradients(residuals, share[1])
        assert np.array_equal(dx, layer.input_gradient(residuals, share[1]))
        return y, dx, dparams, layer.batch_statistics(residuals)

    shares = in_shares(of_share, list(zip(np.split(x, 4), np.split(dy, 4))))
    for k, wanted in enumerate((y, dx)):
        np.testing.assert_allclose(np.concatenate([share[k] for share in shares]), wanted, rtol=1e-10, atol=1e-12)
    for name, wanted in dparams.items():
        np.testing.assert_allclose(sum(share[2][name] for share in shares), wanted, rtol=1e-10)
    for share in shares:
        for name, wanted in layer.batch_statistics(residuals).items():
            np.testing.assert_allclose(share[3][name], wanted, rtol=1e-12)


def test_given_statistics_are_used_as_in_batch_norm():
    rng = np.random.default_rng(1)
    x, params = rng.standard_normal((6, 3)), {"scale": np.ones(3), "shift": np.zeros(3)}
    given = {"mean": rng.standard_normal(3), "variance": rng.random(3)}
    y, _ = WholeBatchNorm(3, gather=pytest.fail).forward(params, x, given)
    assert np.array_equal(y, BatchNorm(3).forward(params, x, given)[0])


@pytest.mark.parametrize("n", [6, 600])  # by the plain formulas, and in tiles
def test_charges_of_all_make_the_potential_of_the_whole_batch(n):
    rng = np.random.default_rng(0)
    x, y, a = (rng.standard_normal((n, 3)) for _ in range(3))
    wanted = [*potentials(x, y, 1.0, 0.5), potential(a, y, x, 1.0, 0.5), field(a, y, x, 1.0, 0.5)]
    shares = list(zip(*(np.split(array, 3) for array in (x, y, a))))

    def of_share(part, charges_of_all):
        x, y, a = part
        with with_charges_of(charges_of_all):
            return [*potentials(x, y, 1.0, 0.5), potential(a, y, x, 1.0, 0.5), field(a, y, x, 1.0, 0.5)]

    own = [[] for _ in shares]  # the charges of each share in its calls
    for part, calls in zip(shares, own):
        of_share(part, lambda p, q, calls=calls: calls.append((p, q)) or (p, q))
    of_all = [(np.concatenate([p for p, _ in call]), np.concatenate([q for _, q in call]) / 3) for call in zip(*own)]
    found = [
        of_share(part, lambda p, q, calls=calls: next(calls)) for part, calls in zip(shares, map(iter, [of_all] * 3))
    ]
    for k, whole in enumerate(wanted):
        np.testing.assert_allclose(np.concatenate([part[k] for part in found]), whole, rtol=1e-10, atol=1e-13)
