"""What is measured: a case has a name, and a function that checks both sides and measures them.

step-...      whole steps of Algorithm 1, both Adams included
memory-...    peak memory of whole steps, each side in a process of its own
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from minicoulomb.backend import Backend, open_backend
from minicoulomb.benchmark.measure import measure
from minicoulomb.benchmark.memory import peak_memory
from minicoulomb.benchmark.report import Row
from minicoulomb.benchmark.workloads import WORKLOADS
from minicoulomb.errors import UserError
from minicoulomb.threads import set_threads

# Whose memory is not the interpreter's and the libraries'.
LARGE = [name for name in WORKLOADS if name != "grid"]


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
    return [*steps, *memory]


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
        ours, theirs, ratio, repeats = measure(contest(setting.backend), setting.repeats, setting.backend.synchronize)
        return Row(name, 1e3 * ours, 1e3 * theirs, ratio, "ms", repeats)

    return run


def _step(workload):
    def contest(backend):
        from minicoulomb.benchmark.steps import step_contest

        return step_contest(workload(), backend)

    return contest


def _memory(workload):
    def run(name, setting):
        ours, theirs = (peak_memory(side, workload, setting.threads) / 2**20 for side in ("ours", "theirs"))
        return Row(name, ours, theirs, ours / theirs, "MiB", 1)

    return run
