"""The benchmark: its rival computes what we do, a case that does not agree is refused, and no test takes a time."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import strict_cupy
from click.testing import CliRunner
from cupy_cases import fake_cupy

from benchmarks import cases as benchmark_cases
from benchmarks import memory
from benchmarks.agreement import Disagreement, agree, bounds
from benchmarks.cases import Case, Setting, cases, open_torch, select
from benchmarks.command import benchmark
from benchmarks.limit import plane_limit
from benchmarks.measure import BUDGET, FEWEST, WARM_UP, Contest, Skipped, Times, measure, quick_time
from benchmarks.report import HEADER, Row, environment
from benchmarks.summary import summary
from benchmarks.workloads import WORKLOADS, Workload
from minicoulomb.arrays.backend import Backend, open_backend, to_host
from minicoulomb.arrays.graph import own_stream
from minicoulomb.config import Config
from minicoulomb.errors import UserError
from minicoulomb.models import SampleSpace

NUMPY = open_backend("numpy")


def bench(*args, status=0):
    """`python -m benchmarks ...`."""
    result = CliRunner().invoke(benchmark, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.output


# Generator, discriminator, one sample's shape, other settings.
FAMILIES = [
    ("mlp", "mlp", (2,), {"relative_potential": True, "potential_scale": 10.0}),
    ("mlp", "mlp", (8, 8, 3), {"d_activation": "elu", "g_activation": "tanh"}),
    ("my", "my-big", (16, 16, 3), {"extra_layers": 1}),
    ("dcgan", "dcgan", (16, 16, 3), {"extra_layers": 1}),
    ("dcgan", "my", (8, 8, 1), {}),
    ("resnet", "resnet", (16, 16, 3), {}),
    ("text", "text", (6, 5), {"g_depth": 2, "d_depth": 2}),
]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="the benchmark compares with PyTorch; pip install torch to run it")


@pytest.fixture(params=["numpy", "strict"])
def backend(request, torch, monkeypatch):
    """The host; or the stand-in for CuPy, beside which PyTorch computes on the host."""
    if request.param == "numpy":
        return NUMPY
    from benchmarks import device, pieces, steps, users

    for module in (device, pieces, steps, users):
        monkeypatch.setattr(module, "torch_device", lambda backend: torch.device("cpu"))
    monkeypatch.setattr(pieces, "plane_limit", lambda n, backend: (1e-3, "the count"))
    return strict_cupy.backend()


def small(generator, discriminator, shape, settings, dtype="float64"):
    widths = {"g_width": 4, "d_width": 4, "latent": 3, "batch_size": 5, "dtype": dtype}
    config = Config.of(generator=generator, discriminator=discriminator, **widths, **{"d": 1.0, "eps": 1.0} | settings)
    return Workload(config, SampleSpace(shape))


# The rival


@pytest.mark.parametrize(
    "family", FAMILIES, ids=lambda family: f"{family[0]}-{family[1]}-{'x'.join(map(str, family[2]))}"
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_rivals_step_has_our_losses_gradients_and_weights(backend, family, channels_last):
    from benchmarks.steps import Pair

    pair = Pair(small(*family), backend)
    pair.set_up_theirs(channels_last)
    pair.check(1e-10, 1e-10)
    start = [to_host(pair.state.theta).copy(), to_host(pair.state.w).copy()]
    for _ in range(3):
        pair.step()
        pair.their_step()
    for ours, module, before in zip((pair.state.theta, pair.state.w), pair.modules, start, strict=True):
        agree("the way of three steps", to_host(ours) - before, module.flat(module.parameters()) - before, 1e-6)


def test_a_rival_that_is_off_is_refused(torch):
    from benchmarks.steps import Pair

    pair = Pair(small(*FAMILIES[2]), NUMPY)
    with torch.no_grad():
        list(pair.modules[0].parameters())[-1][0] += 1e-3
    with pytest.raises(Disagreement, match="not measured"):
        pair.check(1e-10, 1e-10)


@pytest.mark.parametrize("pairs", [2**27, 1000])
@pytest.mark.parametrize("form", ["cdist", "addmm"])
def test_both_forms_of_the_rivals_potential_agree_in_one_block_or_many(backend, monkeypatch, form, pairs):
    from benchmarks import torch_step
    from benchmarks.pieces import potentials_contest

    monkeypatch.setattr(torch_step, "PAIRS", pairs)
    for m, d in ((2, 2.0), (40, 1.0)):
        potentials_contest(150, m, d, 1.0, 1.0, form, backend)


@pytest.mark.parametrize("form", [{}, {"foreach": True}, {"fused": True}])
def test_every_form_of_the_rivals_adam_agrees(backend, form):
    from benchmarks.pieces import adam_contest

    adam_contest(1000, form, backend)


def test_the_papers_layers_cost_the_rival_no_pass_of_zeros(torch):
    """They pad (1, 2), which PyTorch has only of turned images, so the workloads are turned."""
    from minicoulomb.models import build
    from minicoulomb.verify import to_torch

    workload = small("my", "my-big", (16, 16, 3), {})

    def layers_with_padding(network):
        module = to_torch(network, np.zeros(network.size))
        return [m for m in module.modules() if getattr(m, "padding", (0, 0)) != (0, 0)], module

    for turned, plain in zip(workload.networks(), build(workload.config.networks, workload.space), strict=True):
        padded, module = layers_with_padding(turned)
        assert len(padded) == sum(isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d) for m in module.modules())
        assert len(padded) > 1
        assert layers_with_padding(plain)[0] == []


def test_gradients_lie_as_their_parameters_do(torch):
    from benchmarks.torch_step import _laid_out_as

    plain = torch.arange(4 * 3 * 5 * 5.0).reshape(4, 3, 5, 5)
    turned = plain.to(memory_format=torch.channels_last).requires_grad_()
    assert _laid_out_as(plain, plain) is plain
    moved = _laid_out_as(turned, plain)
    assert moved.stride() == turned.stride()
    assert not moved.requires_grad
    assert (moved == plain).all()


# A GPU that this machine has not


@pytest.fixture
def gpu(torch, monkeypatch):
    """PyTorch's device is called cuda, and what it would be told is written down."""
    from benchmarks import device

    told = []
    monkeypatch.setattr(device, "torch_device", lambda backend: torch.device("cuda", backend.device))
    for name in ("set_device", "synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: told.append(name))
    return told


class Waits(SimpleNamespace):
    """As much of a backend as is asked where PyTorch is told about its device."""

    name, device, tf32 = "cupy", 0, False

    def synchronize(self):
        self.told.append("ours")


def waiting(told, **settings):
    pool = SimpleNamespace(free_all_blocks=lambda: told.append("free_all_blocks"))
    return Waits(told=told, xp=SimpleNamespace(get_default_memory_pool=lambda: pool), **settings)


@pytest.mark.parametrize("tf32", [False, True])
def test_pytorch_computes_at_our_precision_and_at_its_best(torch, gpu, monkeypatch, tf32):
    from benchmarks.device import prepare_torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    settings = {
        (torch.backends.cuda.matmul, "allow_tf32"): tf32,
        (torch.backends.cudnn, "allow_tf32"): tf32,
        (torch.backends.cudnn, "benchmark"): True,
        (torch.backends.cudnn, "deterministic"): False,
    }
    before = {key: getattr(*key) for key in settings}
    try:
        prepare_torch(waiting(gpu, tf32=tf32))
        assert {key: getattr(*key) for key in settings} == settings
    finally:
        for (where, name), value in before.items():  # these are no attributes that monkeypatch could put back
            setattr(where, name, value)
    assert gpu == ["set_device"]


def test_a_pytorch_without_the_gpu_is_told(torch, gpu, monkeypatch):
    from benchmarks.device import prepare_torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="finds no GPU.*--backend numpy"):
        prepare_torch(waiting(gpu))


def test_both_sides_are_waited_for_and_give_their_memory_back(gpu):
    from benchmarks.device import free_memory

    free_memory(waiting(gpu))
    assert gpu == ["ours", "synchronize", "free_all_blocks", "empty_cache"]


@pytest.mark.parametrize(("seconds", "chosen"), [((0.3, 0.2), True), ((0.2, 0.3), False)])
def test_pytorch_has_the_layout_that_is_faster(gpu, monkeypatch, seconds, chosen):
    from benchmarks import device

    tried, times = [], iter(seconds)
    monkeypatch.setattr(device, "quick_time", lambda work, synchronize: next(times))
    note = device.faster_layout(tried.append, lambda: None, waiting(gpu))
    assert tried == [False, True, chosen]
    assert f"channels {'last' if chosen else 'first'}, in 0.67" in note


def test_on_the_host_pytorch_has_its_default_layout(torch):
    from benchmarks.device import faster_layout

    assert faster_layout(pytest.fail, pytest.fail, NUMPY) == ""


def with_attributes(cupy, **attributes):
    """The stand-in, where CUDA tells these attributes of its GPU and refuses all others."""

    def tell(attribute, device):
        if attribute not in attributes:
            raise cupy.cuda.runtime.CUDARuntimeError("cudaErrorInvalidValue")
        return attributes[attribute]

    for name in ("MultiProcessorCount", "ClockRate", "MemoryClockRate"):
        setattr(cupy.cuda.runtime, f"cudaDevAttr{name}", name)
    cupy.cuda.runtime.deviceGetAttribute = tell
    return cupy


def gpu_of(capability, multiprocessors, kilohertz):
    attributes = {"MultiProcessorCount": multiprocessors, "ClockRate": kilohertz}
    return Backend("cupy", with_attributes(fake_cupy(capability=capability), **attributes))


def test_the_limit_of_a_gpu_is_that_of_the_unit_with_most_to_do():
    """5 additions and a reciprocal for each of 4e10 pairs: on an H100 the one lasts longer, on an A100 the others."""
    seconds, count = plane_limit(200_000, gpu_of("90", 132, 1_980_000))
    assert seconds == pytest.approx(4e10 / 16 / (132 * 1.98e9))
    assert "reciprocals bind, 9.57 ms at best" in count
    seconds, count = plane_limit(200_000, gpu_of("80", 108, 1_410_000))
    assert seconds == pytest.approx(4e10 * 5 / 64 / (108 * 1.41e9))
    assert "float32 bind, 20.5 ms at best" in count


def test_of_an_unknown_gpu_no_limit_is_told():
    assert plane_limit(100, gpu_of("61", 20, 1_700_000)) is None
    assert plane_limit(100, gpu_of("90", 132, 0)) is None
    assert plane_limit(100, Backend("cupy", with_attributes(fake_cupy()))) is None
    assert plane_limit(100, NUMPY) is None


def test_the_gpu_its_clocks_its_libraries_and_the_precision_are_told(monkeypatch):
    cupy = with_attributes(fake_cupy(), ClockRate=1_980_000, MemoryClockRate=2_619_000)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setenv("CUPY_TF32", "unset")  # so that it is put back
    about = environment(1, "2.13.0", Backend("cupy", cupy, tf32=True))
    assert {name: about[name] for name in ("GPU", "clocks", "TF32", "CuPy", "cuBLAS", "torch")} == {
        "GPU": "0 of 2: NVIDIA H100 80GB HBM3",
        "clocks": "1.98 GHz, memory 2.62 GHz at most",
        "TF32": "on",
        "CuPy": "14.2.0",
        "cuBLAS": "12.9.1",
        "torch": "2.13.0",
    }
    assert "GPU" not in environment(1, "2.13.0", NUMPY)


def test_our_peak_is_that_of_the_last_step():
    """Each step takes a new array of 3, 2 and gives back that of the step before."""

    class Hook:
        def __enter__(self):
            hooks.append(self)
            return self

        def __exit__(self, *_):
            hooks.remove(self)

    hooks = []
    pool = SimpleNamespace(total_bytes=lambda: 5000)
    xp = SimpleNamespace(cuda=SimpleNamespace(MemoryHook=Hook), get_default_memory_pool=lambda: pool)

    def steps(workload, backend):
        (hook,) = hooks
        hook.malloc_postprocess(device_id=0, size=1000, mem_size=1024, mem_ptr=1, pmem_id=1)
        sizes = iter([3072, 2048])

        def one_step():
            size = next(sizes)
            hook.malloc_postprocess(device_id=0, size=size, mem_size=size, mem_ptr=2, pmem_id=2)
            hook.free_postprocess(device_id=0, mem_size=size, mem_ptr=2, pmem_id=2)

        return one_step

    backend = Backend("numpy", xp)  # whose synchronize does nothing
    assert memory._our_peak(steps, None, backend) == memory.Peak(1024 + 2048, 5000)
    assert not hooks


@pytest.mark.parametrize("kind", [MemoryError, RuntimeError])
def test_what_a_gpu_fails_at_is_told_with_the_place(kind):
    """CuPy's OutOfMemoryError is a MemoryError, PyTorch's and all of CUDA's, cuBLAS's and cuDNN's are RuntimeErrors."""

    def run(name, setting):
        raise type("OutOfMemoryError", (kind,), {})("30 GB\nand an explanation")

    with pytest.raises(UserError, match=r"^step-large: OutOfMemoryError at test_benchmark.py:\d+: 30 GB$"):
        Case("step-large", run)(Setting(backend=strict_cupy.backend()))
    with pytest.raises(kind):  # on the host it is a mistake of ours
        Case("step-large", run)(Setting())


def test_tf32_leaves_fewer_digits_to_agree_in():
    loose, strict = (bounds(Backend("cupy", np, tf32=tf32)) for tf32 in (True, False))
    assert all(a > b for a, b in zip(loose, strict, strict=True))


def test_every_case_runs_on_a_device(torch, backend, monkeypatch):
    """With networks of few channels, few points, and one call for a time."""
    images = lambda generator, discriminator, size, n: small(generator, discriminator, (16, 16, 3), {}, "float32")

    def once(both, repeats, synchronize, **_):
        both.ours()
        both.theirs()
        synchronize()
        return Times(1.0, 2.0, 0.5, repeats)

    from benchmarks import users

    monkeypatch.setattr("benchmarks.workloads._images", images)
    monkeypatch.setattr("benchmarks.workloads._text", lambda *_: small("text", "text", (6, 5), {}, "float32"))
    monkeypatch.setattr(benchmark_cases, "measure", once)
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)  # another test compiles, which takes seconds
    monkeypatch.setattr(users, "quick_time", lambda work, wait: (work(), 0.5)[1])
    monkeypatch.setattr(users, "SAMPLES", 30)
    monkeypatch.setattr(users, "kernel_shapes", dict)
    monkeypatch.setattr(users, "Inception", Features)
    monkeypatch.setattr(benchmark_cases, "SAMPLES", 2)
    monkeypatch.setattr(benchmark_cases, "ADAM_SIZE", 1000)
    few = {name: {**sizes, "n": 60, "m": min(sizes["m"], 50)} for name, sizes in benchmark_cases.POTENTIALS.items()}
    monkeypatch.setattr(benchmark_cases, "POTENTIALS", few)
    setting = Setting(1, 1, backend)
    rows, skipped = {}, {}
    alike = [f"{way}-{name}" for way in ("graph", "compiled") for name in list(WORKLOADS)[1:-1]]
    for case in cases(gpu=True):
        try:
            rows |= {} if case.name.startswith("memory") or case.name in alike else {case.name: case(setting)}
        except Skipped as reason:
            skipped[case.name] = str(reason)
    assert "minicoulomb at 0% of the limit: the count" in rows["potential-plane-1e5"].note or backend is NUMPY
    assert set(skipped) == {"graph-grid", "graph-my-64-b512"}
    expected = "a CUDA graph takes a GPU" if backend is NUMPY else "PyTorch captures no CUDA graph without a GPU"
    assert all(reason.startswith(expected) for reason in skipped.values())
    for name in ("train-grid", "train-my-64-b128"):
        row = rows.pop(name)
        assert row.theirs == 128 / 0.5 if name == "train-grid" else 5 / 0.5
        assert row.ratio == row.ours / row.theirs > 0
        assert f"10 steps of {128 if name == 'train-grid' else 5}; in the place of PyTorch the step alone" in row.note
    features = rows.pop("fid-features")
    assert (features.ours, features.theirs, features.ratio) == (6.0, None, None)
    assert features.line() == "| `fid-features` | 6 images/s | - | - |"
    assert {(row.ours, row.theirs, row.ratio) for row in rows.values()} == {(1000.0, 2000.0, 0.5)}


class Features:
    """As much of Inception as its speed asks for."""

    batch = 3

    def __init__(self, weights, xp):
        self.features = lambda pixels: pixels.shape == (3, 64, 64, 3)


@pytest.mark.parametrize("family", FAMILIES[:3], ids=lambda family: family[0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_our_step_as_one_graph_is_the_eager_step(torch, monkeypatch, family, dtype):
    """To the last bit, with the numbers of schedules on the device; on the stand-in."""
    from benchmarks import steps

    monkeypatch.setattr(steps, "torch_device", lambda backend: torch.device("cpu"))
    device, states = strict_cupy.backend(), []
    for as_graph in (True, False):
        with own_stream(device):
            pair = steps.Pair(small(*family, dtype), device)
            if not as_graph:  # each call launches by itself, with the same numbers
                monkeypatch.setattr(steps, "Graph", lambda xp, refusal: Eager())
            one = pair.graph_step()
            for _ in range(5):
                one()
            states.append([to_host(array) for array in (pair.state.theta, pair.state.w, pair.state.moments_d)])
    for ours, theirs in zip(*states, strict=True):
        np.testing.assert_array_equal(ours, theirs)


class Eager:
    """A graph that calls the function each time."""

    refusal = None

    def __call__(self, function):
        return function()


def test_a_step_that_is_not_captured_is_not_taken_for_a_graph(torch, monkeypatch):
    from benchmarks import steps

    monkeypatch.setattr(steps, "torch_device", lambda backend: torch.device("cpu"))
    monkeypatch.setattr(steps, "why_no_capture", lambda xp: "an old driver")
    pair = steps.Pair(small(*FAMILIES[0]), strict_cupy.backend())
    with pytest.raises(Skipped, match="no CUDA graph: an old driver"):
        pair.graph_step()()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # of PyTorch's compiler
def test_compiling_changes_nothing_of_the_rivals_step(torch, monkeypatch):
    from benchmarks import steps

    monkeypatch.setattr(steps, "COMPILE", {"backend": "eager"})  # without a compiler of C++
    pair = steps.Pair(WORKLOADS["grid"]().small(4), NUMPY)
    pair.set_up_theirs(way="compiled")
    assert pair.torch_step.G is not pair.modules[0]
    pair.check(1e-10, 1e-10)
    pair.their_step()
    pair.step()
    agree("w after a step", pair.state.w, pair.modules[1].flat(pair.modules[1].parameters()), 1e-10)


def test_adam_for_a_graph_keeps_its_numbers_on_the_device(torch):
    """The default form, for want of a GPU: the same update, with a learning rate that is a tensor."""
    from benchmarks.steps import Pair

    pair = Pair(small(*FAMILIES[0]), NUMPY)
    results = []
    for capturable in (False, True):
        pair.set_up_theirs()
        monkeyed = pair.torch_step if not capturable else type(pair.torch_step)(*pair.modules, pair.config, capturable)
        group = monkeyed.adam_g.param_groups[0]
        assert isinstance(group["lr"], torch.Tensor) == group.get("capturable", False) == capturable
        group["capturable"] = False  # which PyTorch has on a GPU alone
        monkeyed.adam_d.param_groups[0]["capturable"] = False
        monkeyed.step(pair.z, pair.y)
        results.append(pair.modules[0].flat(pair.modules[0].parameters()))
    agree("theta", *results, 1e-7)


def test_the_summary_has_a_line_for_each_workload_and_says_what_is_missing(tmp_path):
    row = lambda case, ours, theirs, unit="ms": Row(case, ours, theirs, theirs and ours / theirs, unit, 3)._asdict()
    rows = [row("step-grid", 3.4, 4.4), row("graph-grid", 0.35, 0.41), row("step-my", 30.0, 55.8)]
    rows += [row("train-grid", 90_000.0, 100_000.0, "samples/s"), row("fid-features", 500.0, None, "images/s")]
    figures = {
        "dtype": "float32",
        "TF32": "on",
        "rows": rows,
        "failed": {"adam": "off"},
        "skipped": {"graph-my": "old"},
    }
    (tmp_path / "tf32.json").write_text(json.dumps(figures))
    lines = [" ".join(line.split()) for line in summary([tmp_path / "tf32.json"])]
    assert lines == [
        "workload ours ours, graph PyTorch graph compiled graph / graph graph / PyTorch",
        "grid, TF32 3.4 0.35 4.4 0.41 - 0.854 0.0795",
        "my, TF32 30 - 55.8 - - - -",
        "train-grid, TF32: 90,000 to 100,000, ratio 0.90 samples/s",
        "fid-features, TF32: 500 images/s",
        "tf32, adam: off",
        "tf32, graph-my: old",
    ]


def test_the_script_for_a_gpu_says_why_there_is_nothing_to_measure(torch, tmp_path):
    pytest.importorskip("cupy", reason="the script would fetch CuPy; pip install cupy-cuda12x to run this")
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    if open_backend("auto").name == "cupy":
        pytest.skip("there is a GPU: bash tests/gpu.sh shows more")
    settings = os.environ | {"OUT": str(tmp_path), "PYTHON": sys.executable, "PYTHONPATH": ""}
    script = Path(__file__).parents[1] / "gpu.sh"
    result = subprocess.run(["bash", script], env=settings, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "backend cupy: " in (tmp_path / "proof.log").read_text()
    assert (
        (tmp_path / "summary.txt").read_text().splitlines()[-1].startswith("proof                FAILED with status 1")
    )
    assert not (tmp_path / "steps.log").exists()


# Agreement and measuring


def test_agreement_is_relative_and_refuses_other_shapes_and_what_is_no_number():
    a = np.array([3.0, 4.0])
    agree("a", a, a * (1 + 1e-9), 1e-8)
    for other in (a * (1 + 1e-7), a[:, None], a * np.nan):
        with pytest.raises(Disagreement, match="a: "):
            agree("a", a, other, 1e-8)
        with pytest.raises(Disagreement, match="a: "):
            agree("a", other, a, 1e-8)


class Clock:
    """Time passes only in the work of the two sides: our work takes `ours` seconds and theirs `theirs`."""

    def __init__(self, ours, theirs):
        self.now, self.calls = 0.0, ""
        self.contest = Contest(lambda: self._work("o", ours), lambda: self._work("t", theirs))

    def __call__(self):
        return self.now

    def _work(self, side, seconds):
        self.calls += side
        self.now += seconds() if callable(seconds) else seconds


def test_sides_are_measured_in_turns():
    clock = Clock(0.5, 0.25)
    times = measure(clock.contest, 3, clock=clock)
    assert clock.calls == "ot" + 3 * "ot"  # one to warm up
    assert times == (0.5, 0.25, 2.0, 3)


def test_short_work_is_repeated_until_a_sample_is_long_enough():
    clock = Clock(0.001, 0.02)
    times = measure(clock.contest, 4, clock=clock)
    assert clock.calls.endswith(4 * ("o" * 60 + "t" * 3))
    assert times.ratio == pytest.approx(0.05)


def test_the_ratio_is_the_median_of_the_pairs():
    slow_machine = iter([1, 1, 1, 8, 1])
    factor = [1]

    def ours():
        factor[0] = next(slow_machine)
        return 0.1 * factor[0]

    clock = Clock(ours, lambda: 0.2 * factor[0])
    assert measure(clock.contest, 4, clock=clock).ratio == pytest.approx(0.5)


def test_on_a_gpu_the_first_calls_warm_up():
    clock = Clock(0.5, 0.25)
    times = measure(clock.contest, 3, clock=clock, warm_up=2)
    assert clock.calls == "otot" + "ot" + 3 * "ot"
    assert times == (0.5, 0.25, 2.0, 3)


def test_a_quick_time_is_the_shortest_sample_after_a_warm_up():
    seconds = iter([9.0] * WARM_UP + [0.5, 0.3, 0.2, 0.4])
    clock = Clock(lambda: next(seconds), 0)
    assert quick_time(clock.contest.ours, lambda: None, clock) == pytest.approx(0.2)


def test_slow_work_counts_from_the_first_pair_and_stops_in_time():
    clock = Clock(BUDGET, BUDGET)
    assert measure(clock.contest, 10, clock=clock).repeats == FEWEST
    assert clock.calls == FEWEST * "ot"


def test_the_device_is_waited_for_before_and_after_each_sample():
    clock, waits = Clock(0.5, 0.5), []
    measure(clock.contest, 2, synchronize=lambda: waits.append(clock.calls), clock=clock)
    assert waits[:4] == ["", "o", "o", "ot"]
    assert len(waits) == 2 * len(clock.calls)


# Cases and the command


def test_every_case_has_its_own_name_and_every_workload_its_step():
    names = [case.name for case in cases(gpu=True)]
    assert len(names) == len(set(names))
    assert {f"step-{workload}" for workload in WORKLOADS} <= set(names)
    assert {"conv-128-256-5x5-at-32-forward", "convt-1024-512-5x5-at-4-parameters"} <= set(names)


def test_cases_are_selected_by_how_they_begin():
    assert len(select([])) == len(cases())
    assert {case.name for case in select(["potential-plane-1e5"], gpu=True)} == {
        "potential-plane-1e5",
        "potential-plane-1e5-addmm",
    }
    with pytest.raises(UserError, match="step-my-64-b512"):
        select(["step-my-64-b512"])
    assert [case.name for case in select(["adam-fused", "step-my"])] == [
        "step-my-64-b64",
        "step-my-64-b128",
        "adam-fused",
    ]
    with pytest.raises(UserError, match="case 'stepp'.*--list"):
        select(["step", "stepp"])


def test_the_command_lists_cases_and_tells_of_unknown_ones():
    assert bench("memory", "--list").split() == [case.name for case in select(["memory"])]
    assert "no case begins with that" in bench("nothing", status=1)


def test_the_command_prints_a_table_and_writes_json(torch, monkeypatch, tmp_path):
    rows = [Row("fast", 0.01234, 1.5, 0.0082, "ms", 5, "a note"), Row("large", 1234.5, 99.96, 12.35, "MiB", 1)]
    listed = [Case(row.case, lambda name, setting, row=row: row) for row in rows]
    monkeypatch.setattr(benchmark_cases, "cases", lambda gpu: listed)
    output = bench("--threads", 1, "--json", tmp_path / "figures.json").splitlines()
    assert "threads 1" in output[0]
    assert torch.__version__ in output[0]
    assert output[2:] == [
        *HEADER,
        "| `fast` | 0.0123 ms | 1.5 ms | 0.01 |",
        "| `large` | 1,234 MiB | 100 MiB | 12.35 |",
        "",
        "- `fast`: a note",
    ]
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["threads"] == 1
    assert written["rows"] == [row._asdict() for row in rows]


def test_a_case_that_does_not_agree_fails_the_command_after_the_others(torch, monkeypatch, tmp_path):
    """An hour on a rented GPU is not to be lost to its first case."""

    def off(name, setting):
        agree("dL_D / dw", np.ones(2), np.zeros(2), 1e-10)

    fine = Row("fine", 1.0, 2.0, 0.5, "ms", 5)
    listed = [Case("off", off), Case("fine", lambda name, setting: fine)]
    monkeypatch.setattr(benchmark_cases, "cases", lambda gpu: listed)
    output = bench("--json", tmp_path / "figures.json", status=1).splitlines()
    assert output[-3].startswith("| `off` | dL_D / dw: differs from PyTorch's by")
    assert output[-2] == fine.line()
    assert output[-1] == "Error: 1 of 2 cases: not measured; the table has the reasons"
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["rows"] == [fine._asdict()]
    assert "differs from PyTorch's" in written["failed"]["off"]


def test_without_pytorch_the_command_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"pip install 'minicoulomb\[benchmark\]'"):
        open_torch(1)
    assert "PyTorch does not import" in bench("step-grid", status=1)


def test_other_commands_do_not_import_pytorch():
    program = "import sys, minicoulomb.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=30).returncode == 0


def test_memory_is_measured_in_a_process_of_its_own(torch, monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    row = Case("memory-grid", benchmark_cases._memory("grid"))(Setting())
    assert row.unit == "MiB"
    assert 0 < row.ours < 100
    assert 0 < row.theirs < 200
