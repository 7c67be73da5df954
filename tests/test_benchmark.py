"""The benchmark: its rival computes what we do, a case that does not agree is refused, and no test takes a time."""

import json
import subprocess
import sys

import numpy as np
import pytest
from cli_cases import run

from minicoulomb.backend import open_backend
from minicoulomb.benchmark import cases as benchmark_cases
from minicoulomb.benchmark.agreement import Disagreement, agree
from minicoulomb.benchmark.cases import Case, Setting, cases, open_torch, select
from minicoulomb.benchmark.measure import BUDGET, FEWEST, Contest, measure
from minicoulomb.benchmark.report import HEADER, Row
from minicoulomb.benchmark.workloads import WORKLOADS, Workload
from minicoulomb.config import Config
from minicoulomb.errors import UserError
from minicoulomb.layers import BatchNorm, Conv, ConvTranspose, LeakyReLU, Linear, ReLU, Reshape, Residual, Tanh
from minicoulomb.models import Space
from minicoulomb.network import Network

NUMPY = open_backend("numpy")
# Generator, discriminator, one sample's shape, other settings.
FAMILIES = [
    ("mlp", "mlp", (2,), {"relative_potential": True, "potential_scale": 10.0}),
    ("mlp", "mlp", (8, 8, 3), {"d_activation": "elu", "g_activation": "tanh"}),
    ("my", "my-big", (16, 16, 3), {"extra_layers": 1}),
    ("dcgan", "dcgan", (16, 16, 3), {"extra_layers": 1}),
    ("dcgan", "my", (8, 8, 1), {}),
]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="the benchmark compares with PyTorch; pip install torch to run it")


def small(generator, discriminator, shape, settings, dtype="float64"):
    widths = {"g_width": 4, "d_width": 4, "latent": 3, "batch_size": 5, "dtype": dtype}
    config = Config(generator=generator, discriminator=discriminator, **widths, **{"d": 1.0, "eps": 1.0} | settings)
    return Workload(config, Space(shape))


# The rival


@pytest.mark.parametrize(
    "family", FAMILIES, ids=lambda family: f"{family[0]}-{family[1]}-{'x'.join(map(str, family[2]))}"
)
def test_the_rivals_step_has_our_losses_gradients_and_weights(torch, family):
    from minicoulomb.benchmark.steps import Pair

    pair = Pair(small(*family), NUMPY)
    pair.check(1e-10, 1e-10)
    start = [pair.state.theta.copy(), pair.state.w.copy()]
    for _ in range(3):
        pair.step()
        pair.their_step()
    for ours, peer, before in zip((pair.state.theta, pair.state.w), pair.peers, start, strict=True):
        agree("the way of three steps", ours - before, peer.flat(peer.parameters) - before, 1e-6)


def test_a_rival_that_is_off_is_refused(torch):
    from minicoulomb.benchmark.steps import Pair

    pair = Pair(small(*FAMILIES[2]), NUMPY)
    with torch.no_grad():
        pair.peers[0].parameters[-1][0] += 1e-3
    with pytest.raises(Disagreement, match="no times are taken"):
        pair.check(1e-10, 1e-10)


GEOMETRIES = [
    (Conv(2, 3, 5, 2, ((1, 2), (1, 2))), (8, 6, 2)),
    (Conv(2, 3, 5, 2, ((2, 1), (2, 1))), (8, 6, 2)),
    (Conv(2, 3, (4, 3), (2, 3), ((0, 3), (1, 0))), (7, 9, 2)),
    (Conv(2, 3, 3, 2, 1, bias=False), (8, 8, 2)),
    (ConvTranspose(3, 2, 5, 2, ((1, 2), (1, 2))), (4, 3, 3)),
    (ConvTranspose(3, 2, 5, 2, ((2, 1), (2, 1))), (4, 3, 3)),
    (ConvTranspose(3, 2, (4, 3), (2, 3), ((0, 3), (1, 0)), bias=False), (4, 3, 3)),
]


@pytest.mark.parametrize("direction", ["forward", "input", "parameters", "training"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("layer", "shape"), GEOMETRIES)
def test_convolutions_of_any_geometry_have_a_rival(torch, monkeypatch, layer, shape, turned, direction):
    from minicoulomb.benchmark import peer, pieces

    monkeypatch.setattr(peer, "better_turned", lambda *networks: turned)
    pieces.Layers([layer], shape, 3, "float64", NUMPY).check(direction, 1e-12)


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([BatchNorm(3), LeakyReLU()], (4, 5, 3)),
        ([ReLU(), BatchNorm(3), ReLU()], (3,)),
        ([Residual(Linear(4, 4), Tanh(2.0, 0.5), Linear(4, 4), scale=0.3)], (4,)),
        ([Linear(2, 12), ReLU(), Reshape((2, 3, 2)), Conv(2, 2, 2), Reshape((4,)), Linear(4, 1)], (2,)),
    ],
)
def test_other_layers_have_a_rival(torch, layers, shape):
    from minicoulomb.benchmark.pieces import Layers

    Layers(layers, shape, 6, "float64", NUMPY).check("training", 1e-10)


def test_a_network_and_its_rival_exchange_parameters_and_images(torch):
    from minicoulomb.benchmark.peer import Peer

    rng = np.random.default_rng(0)
    for network in (
        *small("my", "my-big", (16, 16, 3), {}).networks(),
        *small("mlp", "dcgan", (8, 8, 3), {}).networks(),
    ):
        theta = rng.standard_normal(network.size)
        peer = Peer(network, torch.float64)
        peer.load(theta)
        np.testing.assert_array_equal(peer.flat(peer.parameters), theta)
        x = rng.standard_normal((2, *network.input_shape))
        np.testing.assert_array_equal(peer.to_ours(peer.to_torch(x)), x)


def test_the_papers_layers_cost_the_rival_no_pass_of_zeros(torch):
    from minicoulomb.benchmark.peer import Pad, Peer, better_turned

    G, D = small("my", "my-big", (16, 16, 3), {}).networks()
    assert better_turned(G, D)
    assert not any(isinstance(module, Pad) for net in (G, D) for module in Peer(net).module.modules())
    assert any(isinstance(module, Pad) for module in Peer(D, turned=False).module.modules())


def test_a_layer_without_a_rival_is_named(torch):
    from minicoulomb.benchmark.peer import Peer

    with pytest.raises(NotImplementedError, match="Conv.*peer.py"):
        Peer(Network([Conv(2, 3, (5,))], (9, 2)))


@pytest.mark.parametrize("form", ["cdist", "addmm"])
def test_both_forms_of_the_rivals_potential_agree(torch, form):
    from minicoulomb.benchmark.pieces import potentials_contest

    for m, d in ((2, 2.0), (40, 1.0)):
        potentials_contest(150, m, d, 1.0, 1.0, form, NUMPY)


@pytest.mark.parametrize("form", [{}, {"foreach": True}, {"fused": True}])
def test_every_form_of_the_rivals_adam_agrees(torch, form):
    from minicoulomb.benchmark.pieces import adam_contest

    adam_contest(1000, form, NUMPY)


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
    names = [case.name for case in cases()]
    assert len(names) == len(set(names))
    assert {f"step-{workload}" for workload in WORKLOADS} <= set(names)
    assert {"conv-128-256-5x5-at-32-forward", "convt-1024-512-5x5-at-4-parameters"} <= set(names)


def test_cases_are_selected_by_how_they_begin():
    assert len(select([])) == len(cases())
    assert [case.name for case in select(["adam-fused", "step-my"])] == [
        "step-my-64-b64",
        "step-my-64-b128",
        "adam-fused",
    ]
    with pytest.raises(UserError, match="case 'stepp'.*--list"):
        select(["step", "stepp"])


def test_the_command_lists_cases_and_tells_of_unknown_ones():
    assert run("benchmark", "memory", "--list").split() == [case.name for case in select(["memory"])]
    assert "no case begins with that" in run("benchmark", "nothing", status=1)


def test_the_command_prints_a_table_and_writes_json(torch, monkeypatch, tmp_path):
    rows = [Row("fast", 0.01234, 1.5, 0.0082, "ms", 5), Row("large", 1234.5, 99.96, 12.35, "MiB", 1)]
    listed = [Case(row.case, lambda name, setting, row=row: row) for row in rows]
    monkeypatch.setattr(benchmark_cases, "cases", lambda: listed)
    output = run("benchmark", "--threads", 1, "--json", tmp_path / "figures.json").splitlines()
    assert "threads 1" in output[0]
    assert torch.__version__ in output[0]
    assert output[2:] == [
        *HEADER,
        "| `fast` | 0.0123 ms | 1.5 ms | 0.01 |",
        "| `large` | 1,234 MiB | 100 MiB | 12.35 |",
    ]
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["threads"] == 1
    assert written["rows"] == [row._asdict() for row in rows]


def test_a_case_that_does_not_agree_ends_the_command(torch, monkeypatch):
    def off(name, setting):
        agree("dL_D / dw", np.ones(2), np.zeros(2), 1e-10)

    monkeypatch.setattr(benchmark_cases, "cases", lambda: [Case("off", off)])
    assert "Error: dL_D / dw: differs from PyTorch's by" in run("benchmark", status=1)


def test_without_pytorch_the_command_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"pip install 'minicoulomb\[benchmark\]'"):
        open_torch(1)
    assert "PyTorch does not import" in run("benchmark", "step-grid", status=1)


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
