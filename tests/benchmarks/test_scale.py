"""The model of several machines: its bytes are those that World moves, its figures those that were measured."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from measure_charges import points, r_squared, shares_of, slope, variances

from benchmarks.scale import H200, HOST, WAYS, Work, my, rows, scale
from benchmarks.world import benchmark
from minicoulomb.config import Config
from minicoulomb.coulomb import potential
from minicoulomb.data.mixtures import ring
from minicoulomb.gan import Batch, gradients, initial_state, step
from minicoulomb.models import SampleSpace, build
from minicoulomb.schedules import rates_at
from minicoulomb.world.batch_norm import with_whole_batches
from minicoulomb.world.processes import World
from minicoulomb.world.steps import _of_all

ROOT = Path(__file__).parents[2]


class Counting:
    """A communicator of `size` processes that all have the same numbers; it notes the bytes of each result."""

    def __init__(self, size):
        self.size, self.sums, self.rows = size, [], []

    def Allreduce(self, in_place, total):
        total *= self.size
        self.sums.append(total.nbytes)

    def Allgather(self, part, whole):
        whole[...] = part
        self.rows.append(whole.nbytes)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("networks", [("my", "my-big"), ("dcgan", "dcgan")])
def test_the_model_counts_the_bytes_and_exchanges_that_a_step_makes(networks, size):
    n, algorithm = 8, Config.of(d=1.0, eps=1.0).algorithm
    config = Config.of(generator=networks[0], discriminator=networks[1], g_width=32, d_width=4, latent=3)
    G, D = build(config.networks, SampleSpace((16, 16, 3)))
    world = World.__new__(World)
    world.comm, world.size, world._nccl, world._in_place = Counting(size), size, None, None
    rng = np.random.default_rng(0)
    batch = Batch(*(rng.standard_normal((n // size, *shape), np.float32) for shape in (G.input_shape, D.input_shape)))
    whole = [with_whole_batches(network, world.gather) for network in (G, D)]
    state = initial_state(G, D)
    step(*whole, state, [batch], algorithm, rates_at(algorithm, 0), _of_all(world, gradients))
    work, sums, rows = Work.of(G, D), world.comm.sums, world.comm.rows
    expected = work.bytes(n, size)
    assert len(sums) + len(rows) == work.exchanges
    assert sum(sums) == expected["gradients"]
    assert max(rows) == expected["charges"]
    assert rows[-1] == expected["diagnostics"]
    assert sum(rows[:-1]) - max(rows) == expected["statistics"]


def test_one_process_has_the_time_of_one_and_no_exchange():
    work, n = my(), 128
    parts = HOST.parts(work, n, 1)
    assert parts["charges"] == parts["gradients"] == parts["waits"] == 0
    assert HOST.seconds(work, n, 1) == pytest.approx(HOST.fixed + n * HOST.sample, rel=0.01)
    for seconds, n in ((22.4e-3, 128), (73e-3, 512)):  # docs/gpu.md
        assert H200.seconds(work, n, 1) == pytest.approx(seconds, rel=0.01)


def test_what_is_shared_falls_with_n_and_what_every_process_does_stays():
    work = my()
    one, eight = (H200.parts(work, 4096, size) for size in (1, 8))
    assert one["samples"] == pytest.approx(8 * eight["samples"])
    assert one["potential"] == pytest.approx(8 * eight["potential"])
    assert one["fixed"] == eight["fixed"]
    assert one["draws"] > eight["draws"] > one["draws"] / 8  # all random numbers, the own samples
    assert HOST.parts(work, 128, 4)["samples"] == HOST.parts(work, 128, 2)["samples"]  # there are two cores


def test_the_page_has_the_figures_of_the_model_and_of_the_measurement():
    text = (ROOT / "docs" / "machines.md").read_text()
    figures = re.findall(r"^\| ([124]) \| ([\d,]+) ms \| ([\d,]+) ms \|", text, flags=re.MULTILINE)
    assert [int(size) for size, _, _ in figures] == [1, 2, 4]
    for size, *times in figures:
        measured, modelled = (float(value.replace(",", "")) for value in times)
        assert modelled == pytest.approx(1e3 * HOST.seconds(my(), 128, int(size)), rel=0.005)
        assert measured == pytest.approx(modelled, rel=0.25)


def test_the_command_prints_the_model_and_draws_it(tmp_path):
    pytest.importorskip("matplotlib")
    result = CliRunner().invoke(scale, ["-o", str(tmp_path / "scale.png")], catch_exceptions=False)
    assert result.exit_code == 0
    assert all(way in result.output for way in WAYS)
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")
    assert [row[0] for row in rows(H200, my(), "batch 128")] == [1, 2, 4, 8, 16, 32, 64, 128]


def test_a_step_of_two_processes_is_timed_beside_one(monkeypatch):
    monkeypatch.setattr("benchmarks.world.join", lambda insist: None)
    result = CliRunner().invoke(benchmark, ["grid"])
    assert result.exit_code == 1
    assert "mpirun -n 2 python -m benchmarks.world" in result.output
    if not (shutil.which("mpirun") and find_spec("mpi4py")):
        pytest.skip("MPI is not installed; pip install mpi4py mpich")
    command = ["mpirun", "-n", "2", sys.executable, "-m", "benchmarks.world", "grid", "--repeats", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| `grid` \| [\d.]+ ms \| [\d.]+ ms \| [\d.]+ \|$", done.stdout, flags=re.MULTILINE)


def test_more_charges_make_the_potential_less_noisy_and_its_fit_better():
    rng, sizes, eps = np.random.default_rng(0), (64, 256, 1024), 0.25
    generate = lambda n: 0.9 * points(ring(), rng, n) + 0.1 * rng.standard_normal((n, 2), np.float32)
    found = variances(ring(), generate, 2.0, eps, rng, sizes, charges=40_000)
    assert slope(found, sizes) == pytest.approx(-1, abs=0.05)
    at, y, x = generate(200), points(ring(), rng, 10_000), generate(10_000)
    best = potential(at, y, x, 2.0, eps)  # what a perfect D knows
    r2 = [r_squared(best, potential(at, points(ring(), rng, n), generate(n), 2.0, eps)) for n in sizes]
    assert r2 == sorted(r2)


def test_shares_with_all_charges_would_give_the_gradients_of_the_batch():
    config = Config.of(d=2.0, eps=1.0)
    G, D = build(config.networks, SampleSpace((2,)))
    state, rng = initial_state(G, D, dtype="float64"), np.random.default_rng(0)
    batch = Batch(rng.standard_normal((8, 2)), rng.standard_normal((8, 2)))
    at = G, D, state.theta, state.w, batch, config.algorithm, 1.0
    one, same, four = gradients(*at), shares_of(gradients, 1)(*at), shares_of(gradients, 4)(*at)
    np.testing.assert_array_equal(one.dw, same.dw)
    np.testing.assert_allclose(one.dtheta, four.dtheta, rtol=1e-12, atol=1e-14)  # no charges in it
    assert abs(one.dw - four.dw).max() > 1e-3 * abs(one.dw).max()
