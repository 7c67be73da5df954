"""What only a GPU can show: the sizes of real runs, the order of its work, its memory, its two precisions.

pytest -m gpu runs these with those of test_device.py, and tests/gpu.sh all of it. Nothing here runs without a GPU,
so nothing at the head of this file imports CuPy: it is collected anywhere.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from autodiff_cases import assert_agree, fresh_state, take_step
from test_device import MODELS, OPTIONS, agree_all, arrays_of, assert_states_agree, batches_on, case_of, start, train

from benchmarks.workloads import WORKLOADS
from minicoulomb.arrays.backend import Backend, compute_capability, open_backend, to_host
from minicoulomb.arrays.matmul import batched_matmul, matmul, why_no_capture
from minicoulomb.arrays.upload import Upload
from minicoulomb.arrays.workspace import Workspace
from minicoulomb.config import Config
from minicoulomb.coulomb import field, potential, potentials
from minicoulomb.data.digits import digits
from minicoulomb.gan import gradients
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.run import RunDirectory
from minicoulomb.training.steps import draw_batches

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
NUMPY = open_backend("numpy")
MIB = 2**20
# About a second of a GPU's clock.
LONG = 2_000_000_000


@pytest.fixture(scope="module")
def gpu() -> Backend:
    """The GPU; without one that computes these tests fail here, with the reason."""
    return open_backend("cupy")


@pytest.fixture
def keep_busy(gpu):
    """Called, it gives the GPU something to do for about a second; all that is given to it later comes after that."""
    code = """
        extern "C" __global__ void spin(long long clocks) {
          const long long begin = clock64();
          while (clock64() - begin < clocks) {}
        }
    """
    spin = gpu.xp.RawKernel(code, "spin")
    spin((1,), (1,), (np.int64(1),))  # compiled and loaded, which waits
    gpu.synchronize()
    yield lambda: spin((1,), (1,), (np.int64(LONG),))
    gpu.synchronize()


def is_busy(gpu) -> bool:
    return not gpu.xp.cuda.get_current_stream().done


# The order of the device's work


def test_the_gpu_can_be_kept_busy(gpu, keep_busy):
    """Or the tests below would show nothing."""
    keep_busy()
    assert is_busy(gpu)
    to_host(gpu.xp.zeros(1))
    assert not is_busy(gpu)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("models", MODELS, ids="-".join)
def test_a_step_does_not_wait_for_the_gpu(gpu, keep_busy, models, options):
    """The host has given it the whole step before it begins: of at most 800 kernels, where 1024 may be pending."""
    case = case_of(models, options, shape=(8, 8, 1))
    state, batches, workspace = start(case, gpu), batches_on(case, gpu), Workspace()
    d_steps = case.config.algorithm.d_steps
    take = lambda number: take_step(
        case.G, case.D, state, batches[number * d_steps :][:d_steps], case.config, workspace=workspace
    )
    for number in range(3):  # kernels are compiled, and the pool takes its memory
        take(number)
    keep_busy()
    metrics = take(3)
    assert is_busy(gpu)
    metrics.read()
    assert not is_busy(gpu)


def test_the_next_batch_goes_up_while_the_gpu_is_busy(gpu, keep_busy):
    config = Config.of(data="digits", latent=5, batch_size=64, dtype="float32")
    upload, dataset = Upload(gpu), digits()
    for number in range(4):
        draw_batches(dataset, number, config, upload)
    gpu.synchronize()
    keep_busy()
    ahead = draw_batches(dataset, 4, config, upload)
    assert is_busy(gpu)
    expected = draw_batches(dataset, 4, config, Upload(NUMPY))
    agree_all([ahead[0].z, ahead[0].y], [expected[0].z, expected[0].y], 0.0)


def test_batches_arrive_whole_whatever_the_gpu_has_still_to_do(gpu):
    """Each is read by work that comes late, while the next ones are on their way."""
    xp, rng, upload = gpu.xp, np.random.default_rng(0), Upload(gpu)
    sent = [rng.integers(0, 256, (64, 64, 64, 3), np.uint8) for _ in range(12)]
    a = xp.asarray(rng.standard_normal((3000, 3000)))
    sums = []
    for batch in sent:
        (there,) = upload(batch)
        for _ in range(3):
            a @ a
        sums.append(there.astype(np.float64).sum(axis=(1, 2, 3)))
    for batch, total in zip(sent, sums, strict=True):
        np.testing.assert_array_equal(to_host(total), batch.astype(np.float64).sum(axis=(1, 2, 3)))


# Networks as large as real ones


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
@pytest.mark.parametrize("name", ["grid", "dcgan-32-b128", "my-64-b64"])
def test_gradients_of_the_papers_networks_are_those_of_the_host(gpu, name, algorithm):
    workload = WORKLOADS[name]().small(4)
    workload = workload._replace(config=workload.config.replace(convolution=algorithm))
    G, D = workload.networks()
    results = []
    for backend in (gpu, NUMPY):
        state = fresh_state(G, D, workload.config, backend.xp)
        batch = workload.batch(np.random.default_rng(0), backend)
        results.append(
            gradients(G, D, state.theta, state.w, batch, workload.config.algorithm, workload.config.algorithm.eps)
        )
    ours, theirs = results
    agree_all((ours.dtheta, ours.dw), (theirs.dtheta, theirs.dw))
    assert float(ours.loss_d) == pytest.approx(float(theirs.loss_d), rel=1e-10)


def three_steps(workload, gpu):
    G, D = workload.networks()
    state, workspace = fresh_state(G, D, workload.config, gpu.xp), Workspace()
    batch = workload.batch(np.random.default_rng(0), gpu)
    for _ in range(3):
        take_step(G, D, state, [batch], workload.config, workspace=workspace).read()
    return arrays_of(state)


@pytest.mark.parametrize("algorithm", ["auto", "direct", "winograd"])
@pytest.mark.parametrize("name", ["dcgan-32-b128", "my-64-b64"])
def test_two_runs_of_the_papers_networks_are_equal_to_the_last_bit(gpu, name, algorithm):
    workload = WORKLOADS[name]()
    workload = workload._replace(config=workload.config.replace(convolution=algorithm))
    first, second = (three_steps(workload, gpu) for _ in range(2))
    for array, value in first.items():
        np.testing.assert_array_equal(value, second[array])


# Memory


@pytest.mark.parametrize("models", MODELS, ids="-".join)
def test_nothing_reads_memory_that_nobody_wrote(gpu, models):
    """What the pool first lends holds NaN, which would be in every number that it came near."""
    pool = gpu.xp.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.total_bytes()
    poison = gpu.xp.full(512 * MIB // 8, np.nan)
    del poison
    case = case_of(models, OPTIONS["all"])
    assert_states_agree(train(case, gpu), train(case, NUMPY))
    assert pool.total_bytes() - before == 512 * MIB  # so all came from there


@pytest.mark.parametrize("options", ["paper", "all"])
@pytest.mark.parametrize("models", MODELS, ids="-".join)
def test_a_long_run_takes_no_more_memory_than_a_short_one(gpu, models, options):
    pool, case = gpu.xp.get_default_memory_pool(), case_of(models, OPTIONS[options])
    state, batches, workspace = start(case, gpu), batches_on(case, gpu), Workspace()
    held = []
    for _ in range(20):
        take_step(case.G, case.D, state, batches[: case.config.algorithm.d_steps], case.config, workspace=workspace)
        held.append(pool.total_bytes())
    assert held[4] == held[-1]


@pytest.mark.parametrize("m", [2, 50])
def test_potentials_of_1e5_points_take_little_memory_and_are_right(gpu, m):
    """A kernel for each of the 4e10 pairs would take 160 GB. Float64 on the host is asked at some of the points."""
    n, d, eps = 100_000, 2.0, 3.0
    rng = np.random.default_rng(0)
    x, y = 15 * rng.standard_normal((2, n, m), np.float32) / np.sqrt(m / 2).astype(np.float32)
    y += np.float32(5)
    pool = gpu.xp.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.total_bytes()
    our_x, our_y = gpu.to_device(x), gpu.to_device(y)
    phi = potentials(our_x, our_y, d, eps)
    force = field(our_x[:1000], our_y, our_x, d, eps)
    assert pool.total_bytes() - before < 600 * MIB
    some = slice(0, 100)
    exact = [array.astype(np.float64) for array in (x, y)]
    for ours, points in zip(phi, exact, strict=True):
        assert_agree(to_host(ours)[some], potential(points[some], exact[1], exact[0], d, eps), 1e-4)
    assert_agree(to_host(force)[some], field(exact[0][some], exact[1], exact[0], d, eps), 1e-4)


# Two precisions


@pytest.fixture
def tf32(gpu):
    """The same GPU with TF32 on, and off again afterwards."""
    if compute_capability(gpu.xp, gpu.device) < 8:
        pytest.skip("TF32 came with compute capability 8.0")
    yield lambda on: open_backend("cupy", tf32=on)
    open_backend("cupy")


def test_tf32_rounds_factors_where_it_is_asked_for_and_nowhere_else(tf32):
    """Both CuPy's own products and the batches at Winograd's points: some 1e-7 or 1e-6 becomes 4e-4 or more."""
    workload = WORKLOADS["dcgan-32-b128"]().small(32)
    for algorithm in ("direct", "winograd"):
        G, _ = workload._replace(config=workload.config.replace(convolution=algorithm)).networks()
        rng = np.random.default_rng(0)
        theta, z = G.init(rng, np.float64), rng.standard_normal((32, workload.config.networks.latent))
        exact = G.forward(theta, z)[0]
        for on, least, most in ((False, 0, 2e-5), (True, 1e-4, 2e-2)):
            gpu = tf32(on)
            single, double = (
                to_host(G.forward(gpu.to_device(theta, dtype), gpu.to_device(z, dtype))[0])
                for dtype in ("float32", "float64")
            )
            error = np.linalg.norm(single - exact) / np.linalg.norm(exact)
            assert least <= error <= most, (algorithm, on)
            assert_agree(double, exact)


# Products by cuBLAS, and their capture


def views(xp, rng, dtype):
    """Operands as cuBLAS reads them (rows, columns, rows apart), and one that is copied for it."""
    draw = lambda *shape: xp.asarray(rng.standard_normal(shape), dtype)
    left = draw(60, 500), draw(500, 60).T, draw(60, 700)[:, :500], draw(120, 1000)[::2, ::2], draw(500)
    right = draw(500, 40), draw(40, 500).T, draw(500, 70)[:, 3:43], draw(500, 3)[:, 1], draw(500, 1)
    return [(a, b) for a in left for b in right]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_are_the_hosts_whatever_the_strides(gpu, dtype):
    for a, b in views(gpu.xp, np.random.default_rng(0), dtype):
        expected = to_host(a).astype(np.float64) @ to_host(b)
        ours = matmul(a, b)
        assert (ours.shape, ours.dtype) == (np.shape(expected), dtype)
        assert_agree(to_host(ours), expected, 1e-5 if dtype == "float32" else 1e-12)
    mixed = matmul(gpu.xp.ones((2, 3), "float32"), gpu.xp.ones((3, 4)))
    assert (mixed.dtype, float(mixed.sum())) == (np.float64, 24)


def test_products_without_rows_columns_or_terms(gpu):
    empty = gpu.xp.empty
    for a, b in (((0, 3), (3, 2)), ((2, 3), (3, 0)), ((2, 0), (0, 3)), ((0,), (0,)), ((0,), (0, 4)), ((0, 2), (2,))):
        product = to_host(matmul(empty(a), empty(b)))
        np.testing.assert_array_equal(product, np.zeros(a) @ np.zeros(b))


@pytest.mark.parametrize(("dtype", "on"), [("float32", False), ("float32", True), ("float64", False)])
def test_captured_products_are_the_eager_ones_to_the_last_bit(tf32, dtype, on):
    """While another stream computes products too, with a workspace of its own."""
    gpu = tf32(on)
    xp, cuda, rng = gpu.xp, gpu.xp.cuda, np.random.default_rng(0)
    assert why_no_capture(xp) is None
    pool, stream = cuda.MemoryPool(), cuda.Stream(non_blocking=True)
    with stream, cuda.using_allocator(pool.malloc):
        operands = views(xp, rng, dtype)
        # Few rows and columns and many terms: cuBLAS splits such a sum, and adds up in the workspace.
        operands += [(xp.asarray(rng.standard_normal((32, 100_000)), dtype), xp.ones((100_000, 16), dtype))]
        batch = [xp.asarray(rng.standard_normal((36, 64, 64)), dtype) for _ in range(3)]
        step = lambda: [matmul(a, b) for a, b in operands] + [batched_matmul([batch]), batch[2]][1:]
        expected = [to_host(product) for product in step()]
        stream.begin_capture(cuda.runtime.streamCaptureModeRelaxed)
        products = step()
        graph = stream.end_capture()
    batch[2][...] = 0
    elsewhere = xp.ones((32, 100_000), dtype), xp.ones((100_000, 16), dtype)
    gpu.synchronize()
    for _ in range(20):
        graph.launch(stream)
        beside = matmul(*elsewhere)
        stream.synchronize()
        for product, before in zip(products, expected, strict=True):
            np.testing.assert_array_equal(to_host(product), before)
        assert to_host(beside).min() == to_host(beside).max() == 100_000


def test_tf32_rounds_the_factors_of_a_product(tf32):
    a, b = np.random.default_rng(0).standard_normal((2, 256, 256))
    for on, least, most in ((False, 0, 1e-6), (True, 1e-4, 1e-3)):
        gpu = tf32(on)
        ours = to_host(matmul(gpu.to_device(a, "float32"), gpu.to_device(b, "float32")))
        assert least <= np.linalg.norm(ours - a @ b) / np.linalg.norm(a @ b) <= most


# The command


def command(*arguments):
    """The output of `minicoulomb ...`, which succeeds."""
    status, output = status_of(*arguments)
    assert status == 0, output
    return output


def status_of(*arguments):
    """(exit status, output) of `minicoulomb ...` in a process of its own, as a user calls it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-m", "minicoulomb", *map(str, arguments)]
    result = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=300)
    return result.returncode, result.stdout + result.stderr


def final_state(folder):
    (path,) = folder.glob("0*")
    return checkpoints.load(RunDirectory(path).checkpoints()[-1]).state


@pytest.mark.parametrize("preset", ["grid", "digits", "digits-conv"])
def test_training_is_the_same_in_every_process_and_goes_on_where_it_stopped(tmp_path, preset):
    call = ["train", "--preset", preset, "--backend", "cupy", "--steps", 200, "--batch-size", 32]
    call += ["--checkpoint-every", 100, "--sample-every", 100]
    for name in ("first", "second"):
        command(*call, "--out", tmp_path / name)
    command(*call, "--until", 100, "--out", tmp_path / "third")
    (stopped,) = (tmp_path / "third").glob("0*")
    command("train", "--resume", stopped)
    first, second, third = (arrays_of(final_state(tmp_path / name)) for name in ("first", "second", "third"))
    for name, value in first.items():
        assert np.isfinite(value).all()
        np.testing.assert_array_equal(value, second[name])
        np.testing.assert_array_equal(value, third[name])


TRAIN = ("train", "--preset", "ring", "--backend", "cupy", "--steps", "20", "--sample-every", "0")


@pytest.mark.parametrize("way", ["--graph", "--no-graph"])
def test_kernels_may_lie_in_a_folder_with_any_letters(tmp_path, monkeypatch, way):
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "Z\u00fcge \u65e5\u672c"))
    status, output = status_of(*TRAIN, way, "--out", tmp_path / "runs")
    assert status == 0, output
    assert "no CUDA graph" not in output


def test_too_little_memory_of_the_gpu_is_told_in_a_line_with_sizes_and_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("CUPY_GPU_MEMORY_LIMIT", str(16 * MIB))
    status, output = status_of(*TRAIN, "--batch-size", "65536", "--g-width", "512", "--out", tmp_path / "runs")
    assert status == 1
    assert "Traceback" not in output
    assert re.search(r"Error: Out of memory allocating [\d,]+ bytes .*; use a smaller --batch-size", output), output


def test_info_names_the_gpu(gpu):
    name = gpu.xp.cuda.runtime.getDeviceProperties(gpu.device)["name"].decode()
    assert name in command("info", "--backend", "cupy")
