"""The cases: each has a name, and a function that checks both sides and measures them.

step-...      whole steps of Algorithm 1, both Adams included, each CUDA kernel launched by itself
graph-...     the same as one CUDA graph on each side
compiled-...  the same against torch.compile, ours as one CUDA graph where there is a GPU
memory-...    peak memory of whole steps, each side in a separate process
train-...     training from a .npy file, with uploads and logging, in samples a second, beside the step's own speed
sample-...    G's samples;  fid-features: Inception's features

On a GPU no other process computes, and the batch is on the device already: no other case copies from or to the host.
"""

import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import REST, WARM_UP, measure
from benchmarks.memory import peak_memory
from benchmarks.report import Row
from benchmarks.workloads import WORKLOADS
from minicoulomb.arrays.backend import Backend, open_backend
from minicoulomb.arrays.graph import own_stream
from minicoulomb.arrays.threads import set_threads
from minicoulomb.errors import UserError
from minicoulomb.layers import BatchNorm, Conv, ConvTranspose, LeakyReLU, ReLU, Residual

# Large enough that the interpreter and the libraries are a small part of the memory.
LARGE = [name for name in WORKLOADS if name != "grid"]

# The batch of single layers.
SAMPLES = 128
DIRECTIONS = ("forward", "input", "parameters")
ADAMS = {"adam": {}, "adam-foreach": {"foreach": True}, "adam-fused": {"fused": True}}
ADAM_SIZE = 19_000_000
POTENTIALS = {
    "potential-images": {"n": 128, "m": 64 * 64 * 3, "d": 1.0, "eps": 1.0, "scale": 0.5},
    "potential-plane": {"n": 10_000, "m": 2, "d": 2.0, "eps": 3.0, "scale": 15.0},
    "potential-plane-1e5": {"n": 100_000, "m": 2, "d": 2.0, "eps": 3.0, "scale": 15.0},
}
# Parts of the names of cases that would take minutes on a processor.
ONLY_ON_A_GPU = ("-b512", "-1e5", "train-my")
TRAINED, SAMPLED = ("grid", "my-64-b128"), ("my-64-b64",)


class Setting(NamedTuple):
    """How to measure: on how many threads of the host, how many pairs of samples, and where."""

    threads: int = 1
    repeats: int = 5
    backend: Backend = open_backend("numpy")


class Case(NamedTuple):
    name: str
    run: Callable[[str, Setting], Row]

    def __call__(self, setting: Setting) -> Row:
        """The row of this case; raises Disagreement if the two sides compute different numbers.

        On a GPU, errors of CuPy and PyTorch become a UserError with the place: too little memory, or a shape that one
        of NVIDIA's libraries does not support.
        """
        try:
            return self.run(self.name, setting)
        except (RuntimeError, MemoryError) as error:
            if setting.backend.name == "numpy":
                raise
            place = traceback.extract_tb(error.__traceback__)[-1]
            reason = (str(error).splitlines() or [""])[0]
            where = f"{Path(place.filename).name}:{place.lineno}"
            raise UserError(f"{self.name}: {type(error).__name__} at {where}: {reason}") from None


def cases(gpu: bool = False) -> list[Case]:
    """All cases for a GPU or for the host, in the order in which they run."""
    steps = [
        Case(f"{way}-{name}", _timed(_step(workload, f"{way}_contest")))
        for way in ("step", "graph", "compiled")
        for name, workload in WORKLOADS.items()
    ]
    memory = [Case(f"memory-{name}", _memory(name)) for name in LARGE]
    adams = [Case(name, _timed(_adam(form))) for name, form in ADAMS.items()]
    potentials = [
        Case(name + suffix, _timed(_potential(**sizes, form=form)))
        for name, sizes in POTENTIALS.items()
        for suffix, form in (("", "cdist"), ("-addmm", "addmm"))
    ]
    users = [
        *(Case(f"train-{name}", _rate("train_rate", WORKLOADS[name])) for name in TRAINED),
        *(Case(f"sample-{name}", _timed(_sample(WORKLOADS[name]))) for name in SAMPLED),
        Case("fid-features", _rate("features_rate")),
    ]
    all_of_them = [*steps, *memory, *_convolutions(), *_normalizations(), *adams, *potentials, *users]
    return [case for case in all_of_them if gpu or not any(part in case.name for part in ONLY_ON_A_GPU)]


def select(names: Iterable[str], gpu: bool = False) -> list[Case]:
    """The cases whose name begins with one of `names`, or all; UserError for a name that no case begins with."""
    known, names = cases(gpu), tuple(names)
    for name in names:
        if not any(case.name.startswith(name) for case in known):
            raise UserError(f"case {name!r}: no case begins with that; python -m benchmarks --list prints the names")
    return [case for case in known if not names or case.name.startswith(names)]


def open_torch(threads: int) -> str:
    """PyTorch's version; sets the threads of both sides. Raises UserError if PyTorch is not installed."""
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"PyTorch does not import ({error}): the benchmark compares with it; pip install 'minicoulomb[benchmark]'"
        ) from None
    set_threads(threads)
    torch.set_num_threads(threads)
    return torch.__version__


def _timed(contest):
    """The function of a case, by a function of a backend that returns the checked Contest."""

    def run(name, setting):
        from benchmarks.device import free_memory, prepare_torch, synchronize

        backend, rest = setting.backend, REST if setting.threads > 1 else 0.0
        prepare_torch(backend)
        with own_stream(backend):
            free_memory(backend)
            both, warm_up = contest(backend), WARM_UP if backend.name == "cupy" else 0
            free_memory(backend)
            wait = partial(synchronize, backend)
            ours, theirs, ratio, repeats = measure(both, setting.repeats, wait, rest=rest, warm_up=warm_up)
        return Row(name, 1e3 * ours, 1e3 * theirs, ratio, "ms", repeats, _note(both, ours))

    return run


def _note(contest, seconds):
    """The notes of a row: PyTorch's memory format, and how near to the device's limit this package is."""
    notes = [contest.note] if contest.note else []
    if contest.limit:
        least, count = contest.limit
        notes.append(f"minicoulomb at {least / seconds:.0%} of the limit: {count}")
    return "; ".join(notes)


def _step(workload, contest_of):
    def contest(backend):
        from benchmarks import steps

        return getattr(steps, contest_of)(workload(), backend)

    return contest


def _sample(workload):
    def contest(backend):
        from benchmarks.users import sample_contest

        return sample_contest(workload(), backend)

    return contest


def _rate(rate, *workload):
    def run(name, setting):
        from benchmarks import users
        from benchmarks.device import free_memory, prepare_torch

        prepare_torch(setting.backend)
        free_memory(setting.backend)
        return getattr(users, rate)(name, *(each() for each in workload), setting.backend)

    return run


def _convolutions():
    """Three cases for each different convolution of the workloads' networks."""
    found = {}
    for workload in WORKLOADS.values():
        for network in workload().networks():
            for layer, shape in _leaves(network.root, network.input_shape):
                if isinstance(layer, Conv | ConvTranspose):
                    size = layer.kernel_size
                    taps = f"{size}x{size}" if isinstance(size, int) else "x".join(map(str, size))
                    kind = "convt" if isinstance(layer, ConvTranspose) else "conv"
                    name = f"{kind}-{layer.c_in}-{layer.c_out}-{taps}-at-{shape[0]}"
                    found[name] = replace(layer, bias=False), shape
    return [
        Case(f"{name}-{direction}", _timed(_layers([layer], shape, direction)))
        for name, (layer, shape) in found.items()
        for direction in DIRECTIONS
    ]


def _leaves(layer, shape):
    """(layer without children, shape of its input) of all layers, but those of shortcuts."""
    if not layer.children:
        yield layer, shape
    for child in layer.children[:1] if isinstance(layer, Residual) else layer.children:
        yield from _leaves(child, shape)
        shape = child.output_shape(shape)


def _normalizations():
    activations = {"relu": ReLU(), "leaky-relu": LeakyReLU()}
    shape = (32, 32, 128)
    return [
        Case(f"norm-{name}-128-at-32", _timed(_layers([BatchNorm(128, activation)], shape, "training")))
        for name, activation in activations.items()
    ]


def _layers(layers, shape, direction):
    def contest(backend):
        from benchmarks.pieces import layers_contest

        return layers_contest(layers, shape, SAMPLES, direction, backend)

    return contest


def _adam(form):
    def contest(backend):
        from benchmarks.pieces import adam_contest

        return adam_contest(ADAM_SIZE, form, backend)

    return contest


def _potential(**sizes):
    def contest(backend):
        from benchmarks.pieces import potentials_contest

        return potentials_contest(**sizes, backend=backend)

    return contest


def _memory(workload):
    def run(name, setting):
        if setting.backend.name == "cupy":
            from benchmarks.device import free_memory

            free_memory(setting.backend)
        peaks = [peak_memory(side, workload, setting.threads, setting.backend) for side in ("ours", "theirs")]
        ours, theirs = (peak.used / 2**20 for peak in peaks)
        held = " and ".join(f"{peak.held / 2**20:,.0f}" for peak in peaks if peak.held)
        note = f"the pools then hold {held} MiB of the device" if held else ""
        return Row(name, ours, theirs, ours / theirs, "MiB", 1, note)

    return run
