"""What is measured: a case has a name, and a function that checks both sides and measures them.

step-...      whole steps of Algorithm 1, both Adams included
memory-...    peak memory of whole steps, each side in a process of its own
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from minicoulomb.backend import Backend, open_backend
from minicoulomb.benchmark.measure import REST, measure
from minicoulomb.benchmark.memory import peak_memory
from minicoulomb.benchmark.report import Row
from minicoulomb.benchmark.workloads import WORKLOADS
from minicoulomb.errors import UserError
from minicoulomb.layers import BatchNorm, Conv, ConvTranspose, LeakyReLU, ReLU
from minicoulomb.threads import set_threads

# Whose memory is not the interpreter's and the libraries'.
LARGE = [name for name in WORKLOADS if name != "grid"]

# The batch of single layers.
SAMPLES = 128
DIRECTIONS = ("forward", "input", "parameters")
ADAMS = {"adam": {}, "adam-foreach": {"foreach": True}, "adam-fused": {"fused": True}}
ADAM_SIZE = 19_000_000
POTENTIALS = {
    "potential-images": {"n": 128, "m": 64 * 64 * 3, "d": 1.0, "eps": 1.0, "scale": 0.5},
    "potential-plane": {"n": 10_000, "m": 2, "d": 2.0, "eps": 3.0, "scale": 15.0},
}


class Setting(NamedTuple):
    """How to measure: on how many threads, and how many pairs of samples."""

    threads: int = 1
    repeats: int = 5
    backend: Backend = open_backend("numpy")


class Case(NamedTuple):
    name: str
    run: Callable[[str, Setting], Row]

    def __call__(self, setting: Setting) -> Row:
        """The row of this case; Disagreement where both sides do not compute the same."""
        return self.run(self.name, setting)


def cases() -> list[Case]:
    """All of them, in the order in which they are run."""
    steps = [Case(f"step-{name}", _timed(_step(workload))) for name, workload in WORKLOADS.items()]
    memory = [Case(f"memory-{name}", _memory(name)) for name in LARGE]
    adams = [Case(name, _timed(_adam(form))) for name, form in ADAMS.items()]
    potentials = [
        Case(name + suffix, _timed(_potential(**sizes, form=form)))
        for name, sizes in POTENTIALS.items()
        for suffix, form in (("", "cdist"), ("-addmm", "addmm"))
    ]
    return [*steps, *memory, *_convolutions(), *_normalizations(), *adams, *potentials]


def select(names: Iterable[str]) -> list[Case]:
    """The cases whose name begins with one of `names`, all of them for none; UserError for a name that finds none."""
    known, names = cases(), tuple(names)
    for name in names:
        if not any(case.name.startswith(name) for case in known):
            raise UserError(f"case {name!r}: no case begins with that; minicoulomb benchmark --list has them")
    return [case for case in known if not names or case.name.startswith(names)]


def open_torch(threads: int) -> str:
    """PyTorch's version; it and this package are to use so many threads. UserError where it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"PyTorch does not import ({error}): it is what this compares with; pip install 'minicoulomb[benchmark]'"
        ) from None
    set_threads(threads)
    torch.set_num_threads(threads)
    return torch.__version__


def _timed(contest):
    """contest(backend) -> Contest, once it is checked."""

    def run(name, setting):
        rest = REST if setting.threads > 1 else 0.0
        both, wait = contest(setting.backend), setting.backend.synchronize
        ours, theirs, ratio, repeats = measure(both, setting.repeats, wait, rest=rest)
        return Row(name, 1e3 * ours, 1e3 * theirs, ratio, "ms", repeats)

    return run


def _step(workload):
    def contest(backend):
        from minicoulomb.benchmark.steps import step_contest

        return step_contest(workload(), backend)

    return contest


def _convolutions():
    """Three cases for each convolution of the workloads' networks, each once."""
    found = {}
    for workload in WORKLOADS.values():
        for network in workload().networks():
            shape = network.input_shape
            for layer in network.root.children:
                if isinstance(layer, Conv | ConvTranspose):
                    size = layer.kernel_size
                    kind = "convt" if isinstance(layer, ConvTranspose) else "conv"
                    name = f"{kind}-{layer.c_in}-{layer.c_out}-{size}x{size}-at-{shape[0]}"
                    found[name] = replace(layer, bias=False), shape
                shape = layer.output_shape(shape)
    return [
        Case(f"{name}-{direction}", _timed(_layers([layer], shape, direction)))
        for name, (layer, shape) in found.items()
        for direction in DIRECTIONS
    ]


def _normalizations():
    activations = {"relu": ReLU(), "leaky-relu": LeakyReLU()}
    shape = (32, 32, 128)
    return [
        Case(f"norm-{name}-128-at-32", _timed(_layers([BatchNorm(128, activation)], shape, "training")))
        for name, activation in activations.items()
    ]


def _layers(layers, shape, direction):
    def contest(backend):
        from minicoulomb.benchmark.pieces import layers_contest

        return layers_contest(layers, shape, SAMPLES, direction, backend)

    return contest


def _adam(form):
    def contest(backend):
        from minicoulomb.benchmark.pieces import adam_contest

        return adam_contest(ADAM_SIZE, form, backend)

    return contest


def _potential(**sizes):
    def contest(backend):
        from minicoulomb.benchmark.pieces import potentials_contest

        return potentials_contest(**sizes, backend=backend)

    return contest


def _memory(workload):
    def run(name, setting):
        ours, theirs = (peak_memory(side, workload, setting.threads) / 2**20 for side in ("ours", "theirs"))
        return Row(name, ours, theirs, ours / theirs, "MiB", 1)

    return run
