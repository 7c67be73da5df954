"""A step as one CUDA graph: the numbers of eager steps to the last bit, on the stand-in here, on CuPy with -m gpu."""

import numpy as np
import pytest
import strict_cupy
from cli_cases import SMALL, run
from strict_cupy import nccl
from test_device import MODELS, OPTIONS

from minicoulomb.arrays import matmul
from minicoulomb.arrays.backend import Backend, open_backend, to_host
from minicoulomb.arrays.graph import WARM_UP, Graph, own_stream
from minicoulomb.config import Config
from minicoulomb.diagnostics import Diverged
from minicoulomb.space import SampleSpace
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.steps import Steps
from minicoulomb.world.nccl import NCCL

STEPS = WARM_UP + 3


@pytest.fixture(scope="module", params=["strict", pytest.param("cupy", marks=pytest.mark.gpu)])
def device(request) -> Backend:
    return strict_cupy.backend() if request.param == "strict" else open_backend("cupy")


class Draws:
    """Points as floats, images as bytes, text as ids of two bytes."""

    def __init__(self, shape):
        self.shape = shape

    def draw(self, rng, n, held_out=False, part=slice(None)):
        if len(self.shape) == 1:
            return rng.standard_normal((n, *self.shape))[part]
        if len(self.shape) == 2:
            return rng.integers(0, self.shape[1], (n, self.shape[0]), np.uint16)[part]
        return rng.integers(0, 256, (n, *self.shape), np.uint8)[part]


def start(models, options, device, dtype="float64"):
    shape = {"mlp": (2,), "text": (7, 300)}.get(models[0], (8, 8, 1))
    sizes = {"latent": 3, "g_width": 4, "d_width": 4, "batch_size": 6, "steps": STEPS, "lr_g": 0.01, "lr_d": 0.01}
    config = Config.of(generator=models[0], discriminator=models[1], dtype=dtype, **sizes | options)
    return checkpoints.initial(config, SampleSpace(shape), device.xp), Draws(shape)


def take(checkpoint, data, device, steps=STEPS, last_share=1.0, **how):
    """Take steps, the last one at this share of the rates; returns their metrics and the arrays of the state."""
    with own_stream(device):
        one = Steps(checkpoint, device, **how)
        metrics = []
        for number in range(steps):
            metrics.append(one(data, last_share if number == steps - 1 else 1.0))
            checkpoint.state.step += 1
        metrics = [each.read() for each in metrics]
        assert how.get("as_graph") is False or one.refusal is None
    return metrics, arrays_of(checkpoint)


def arrays_of(checkpoint):
    return {name: to_host(array) for name, array in vars(checkpoint.state).items() if hasattr(array, "shape")}


def assert_equal(ours, theirs):
    assert ours[0] == theirs[0]
    assert ours[1].keys() == theirs[1].keys()
    for name, array in ours[1].items():
        np.testing.assert_array_equal(array, theirs[1][name], err_msg=name)


EVERY = [(models, options) for models in MODELS[:1] for options in OPTIONS]
EVERY += [(models, options) for models in MODELS[1:] for options in ("paper", "all", "gan")] + [(MODELS[2], "winograd")]
EVERY += [(("text", "text"), options) for options in ("all", "gan", "winograd")]


@pytest.mark.parametrize(("models", "options"), EVERY)
def test_launches_are_the_eager_steps_to_the_last_bit(device, models, options):
    eager = take(*start(models, OPTIONS[options], device), device, as_graph=False)
    launched = take(*start(models, OPTIONS[options], device), device)
    assert_equal(launched, eager)
    assert len({tuple(metrics.values()) for metrics in eager[0]}) == STEPS  # each step computed


@pytest.mark.parametrize("models", [MODELS[0], MODELS[2]], ids="-".join)
def test_launches_in_float32_are_the_eager_steps_to_the_last_bit(device, models):
    checkpoint = lambda: start(models, OPTIONS["all"], device, "float32")
    assert_equal(take(*checkpoint(), device), take(*checkpoint(), device, as_graph=False))


@pytest.mark.parametrize("models", [MODELS[0], MODELS[2]], ids="-".join)
def test_launches_are_the_steps_of_the_host(device, models):
    """So that the rates on the device are those of the schedules, late enough for the averages' decays to differ."""
    options, arrays = OPTIONS["schedules"] | {"average": 0.9, "steps": 3000}, []
    for backend in (device, open_backend("numpy")):
        checkpoint, data = start(models, options, backend)
        checkpoint.state.step = 2000
        arrays.append(take(checkpoint, data, backend)[1])
    assert {"theta", "w", "statistics", "average", "average_statistics"} <= set(arrays[1])
    for name in arrays[1]:
        np.testing.assert_allclose(arrays[0][name], arrays[1][name], rtol=1e-8, atol=1e-11, err_msg=name)


def test_a_launched_step_has_the_learning_rates_that_a_plateau_leaves(device):
    steps = lambda **how: take(*start(MODELS[0], OPTIONS["paper"], device), device, **how)
    slow = steps(last_share=0.1)
    assert_equal(slow, steps(last_share=0.1, as_graph=False))
    before = steps(steps=STEPS - 1)[1]["theta"]
    moved = [there[1]["theta"] - before for there in (slow, steps())]
    np.testing.assert_allclose(10 * moved[0], moved[1], rtol=1e-9)


@pytest.mark.parametrize("ways", [(True, False), (False, True), (True, True)])
def test_a_resumed_run_is_the_uninterrupted_one_whichever_way(device, tmp_path, ways):
    whole = take(*start(MODELS[2], OPTIONS["all"], device), device, 2 * STEPS, as_graph=False)
    checkpoint, data = start(MODELS[2], OPTIONS["all"], device)
    first = take(checkpoint, data, device, as_graph=ways[0])
    checkpoints.save(tmp_path / "half.npz", checkpoint)
    checkpoint = checkpoints.load(tmp_path / "half.npz").to(device.xp)
    second = take(checkpoint, data, device, as_graph=ways[1])
    assert_equal((first[0] + second[0], second[1]), whole)


def test_a_launched_step_takes_three_calls_of_the_host(device):
    """The upload, the launch, and the copy of the metrics; the host waits for an earlier upload alone."""
    if device.xp is not strict_cupy:
        pytest.skip("counted by the stand-in")
    checkpoint, data = start(MODELS[2], OPTIONS["all"], device)
    with own_stream(device):
        steps = Steps(checkpoint, device)
        for _ in range(STEPS):
            steps(data)
        with strict_cupy.recorded() as waits:
            steps(data)
    assert len(waits.launches) <= 3
    assert {name for name, _ in waits} == {"Event.synchronize"}
    assert waits.uploads == []


def test_metrics_keep_their_numbers_while_further_steps_are_launched(device):
    checkpoint, data = start(MODELS[0], OPTIONS["paper"], device)
    with own_stream(device):
        steps, at_once = Steps(checkpoint, device), []
        for _ in range(STEPS):
            at_once.append(steps(data).read())
            checkpoint.state.step += 1
    late, _ = take(*start(MODELS[0], OPTIONS["paper"], device), device)
    assert late == at_once


@pytest.mark.parametrize("as_graph", [True, False])
def test_a_run_that_diverges_keeps_the_last_good_state_and_names_what_is_not_finite(device, as_graph):
    checkpoint, data = start(MODELS[0], OPTIONS["paper"], device)
    with own_stream(device):
        steps = Steps(checkpoint, device, as_graph)
        for _ in range(STEPS):
            steps(data).read()
            checkpoint.state.step += 1
        good = arrays_of(checkpoint)
        data.draw = lambda rng, n, part: np.full((n, 2), np.nan)
        bad = [steps(data), steps(data)]
        data.draw = Draws(data.shape).draw
        bad.append(steps(data))  # by itself a good step, but the run is over
        for metrics in bad:
            with pytest.raises(Diverged):
                metrics.read()
        for name in ("theta", "w", "moments_g", "moments_d"):
            np.testing.assert_array_equal(arrays_of(checkpoint)[name], good[name])


def test_the_pool_does_not_grow(device):
    checkpoint, data = start(MODELS[2], OPTIONS["all"], device)
    with own_stream(device):
        steps = Steps(checkpoint, device)
        for _ in range(WARM_UP + 1):
            steps(data)
        size = steps._graph._pool.total_bytes()
        for _ in range(5):
            steps(data)
            device.xp.zeros(10_000) + 1  # others allocate meanwhile
        assert steps._graph._pool.total_bytes() == size > 0


def test_a_function_that_cannot_be_captured_is_called(device):
    xp = device.xp
    total = xp.zeros(())

    def function():
        total[...] = total + 1
        return total + float(to_host(total)) * 0  # waits

    with own_stream(device):
        graph = Graph(xp)
        results = [float(to_host(graph(function))) for _ in range(STEPS)]
    assert results == [*range(1, STEPS + 1)]
    assert graph.refusal
    assert "\n" not in graph.refusal


def test_the_products_say_when_they_cannot_be_captured(device, monkeypatch):
    if device.xp is not strict_cupy:
        pytest.skip("one library is there")
    eager = take(*start(MODELS[0], OPTIONS["paper"], device), device, as_graph=False)
    monkeypatch.setattr(matmul, "_library", lambda cuda: (None, "cuBLAS does not open (no such file)"))
    checkpoint, data = start(MODELS[0], OPTIONS["paper"], device)
    with own_stream(device):
        steps = Steps(checkpoint, device)
        metrics = [steps(data).read() for checkpoint.state.step in range(STEPS)]
    assert steps.refusal == "cuBLAS does not open (no such file)"
    assert metrics == eager[0]


@pytest.fixture
def on_the_stand_in(monkeypatch):
    from minicoulomb.cli import common

    opened = lambda name, *rest, **more: strict_cupy.backend() if name == "cupy" else open_backend(name, *rest, **more)
    monkeypatch.setattr(common, "open_backend", opened)


@pytest.mark.usefixtures("on_the_stand_in")
@pytest.mark.parametrize(("options", "remarks"), [([], 1), (["--no-graph"], 0)])
def test_train_says_in_one_line_why_there_is_no_graph(tmp_path, monkeypatch, options, remarks):
    monkeypatch.setattr(matmul, "_library", lambda cuda: (None, "cuBLAS does not open (no such file)"))
    run("train", "--preset", "ring", *SMALL, "--steps", 8, "--backend", "cupy", "--out", tmp_path, *options)
    (log,) = tmp_path.glob("*/log.txt")
    said = [line for line in log.read_text().splitlines() if "no CUDA graph: cuBLAS does not open" in line]
    assert len(said) == remarks


class Alone:
    """A communicator of one process."""

    rank, size = 0, 1

    def allgather(self, value):
        return [value]

    def bcast(self, value):
        return value

    def Allreduce(self, part, total):
        total[...] = part

    Allgather = Allreduce


def test_sums_by_nccl_are_part_of_the_graph(device, monkeypatch):
    if device.xp is strict_cupy:
        monkeypatch.setattr(nccl, "communicator", Alone())
        monkeypatch.setattr(nccl, "available", True)
    group = NCCL.of(Alone(), device.xp)
    if group is None:
        pytest.skip("CuPy finds no NCCL: pip install nvidia-nccl-cu12")
    with own_stream(device):
        graph, x = Graph(device.xp), device.xp.zeros(6, np.float32)

        def rows():
            found = group.gather(x) + 1
            group.add_up(found)
            return found

        for number in range(WARM_UP + 3):
            x[...] = float(number)
            assert to_host(graph(rows)).tolist() == [[number + 1.0] * 6]
        assert graph.refusal is None
