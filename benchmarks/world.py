"""A step by several processes of one thread each, beside the same step by one process.

    mpirun -n 2 python -m benchmarks.world my-64-b128

Both take whole training steps, draws included, in turns in one run; a process that does not compute sleeps. The
ratio is the median of the pairs'.
"""

import minicoulomb.__main__  # noqa: F401  isort: skip  (one thread for BLAS, and malloc keeps its memory)
import time
from collections.abc import Callable
from statistics import median

import click
import numpy as np

from benchmarks.workloads import WORKLOADS, Workload
from minicoulomb.arrays.backend import Backend
from minicoulomb.arrays.threads import set_threads
from minicoulomb.cli.common import CONTEXT, Command
from minicoulomb.data.dataset import ArrayDataset
from minicoulomb.data.mixtures import grid
from minicoulomb.errors import UserError
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.steps import Steps
from minicoulomb.world.launch import current, join
from minicoulomb.world.steps import shared

# Images of the data set, and seconds for which a sample repeats a step.
IMAGES, SAMPLE = 256, 0.3


def data(space):
    """The grid, or random images."""
    if space.shape == (2,):
        return grid()
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, *space.shape), np.uint8)
    return ArrayDataset("images", pixels, hold_out_every=0)


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("names", nargs=-1, required=True, type=click.Choice(list(WORKLOADS)))
@click.option("--repeats", type=click.IntRange(1), default=5, help="pairs of samples  [5]")
@click.option("--threads", type=click.IntRange(1), help="threads of the one process  [as many as processes]")
def benchmark(names, repeats, threads):
    """Time a step by all processes of mpirun, of one thread each, beside a single process, in turns."""
    join(insist=True)
    if (world := current()) is None:
        raise UserError("mpirun: starts no processes here; use mpirun -n 2 python -m benchmarks.world")
    click.echo(f"| {world.size} processes | together | one process | ratio |\n|---|---:|---:|---:|")
    for name in names:
        workload = WORKLOADS[name]()
        backend = world.open_backend(workload.config.replace(threads=1))
        sides = [
            Side(shared(world, workload.config, data), workload, backend, threads=1),
            Side(Steps, workload, backend, threads=threads or world.size),
        ]
        calls = [max(1, int(SAMPLE / side(1))) for side in sides]  # the first calls warm up
        times = [[side(n) for side, n in zip(sides, calls, strict=True)] for _ in range(repeats)]
        together, alone = (1e3 * median(column) for column in zip(*times, strict=True))
        ratio = median(a / b for a, b in times)
        click.echo(f"| `{name}` | {together:,.1f} ms | {alone:,.1f} ms | {ratio:.2f} |")


class Side:
    """Seconds of a training step by `steps_of`, on that many threads of this process."""

    def __init__(self, steps_of: Callable, workload: Workload, backend: Backend, threads: int):
        self._checkpoint = checkpoints.initial(workload.config, workload.space)
        self._steps, self._threads = steps_of(self._checkpoint, backend, False), threads
        self._data = data(workload.space)

    def __call__(self, calls: int) -> float:
        set_threads(self._threads)
        began = time.perf_counter()
        for _ in range(calls):
            self._steps(self._data).read()
            self._checkpoint.state.step += 1
        return (time.perf_counter() - began) / calls


if __name__ == "__main__":
    benchmark(prog_name="python -m benchmarks.world")
