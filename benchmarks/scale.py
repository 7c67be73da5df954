"""The time of a step of `my` / `my-big` on N processes, on paper: python -m benchmarks.scale [-o docs/scale.png]

    t(N) = fixed + sample n / N + (2 n)^2 m / (N pairs) + charges + gradients + waits,    at least the draws

    fixed        what does not shrink with the batch: transforms of the kernels, Adam on all parameters
    pairs        coordinates of pairs a second: each of 2 n charges of m numbers acts on a process's 2 n / N points
    charges      bytes of an all-gather of 2 n (m + 1) numbers, and of those of batch normalization and the diagnostics
    gradients    bytes of an all-reduce of all parameters
    waits        the latency of all exchanges, one after the other; most are those of batch normalization
    draws        random numbers of the whole batch, and the own real samples; a GPU computes meanwhile

docs/machines.md says where each constant is from, and compares with what was measured.
"""

from collections.abc import Callable
from math import log2, prod
from pathlib import Path
from typing import NamedTuple

import click

from benchmarks.workloads import WORKLOADS
from minicoulomb.cli.common import CONTEXT, PATH, Command
from minicoulomb.layers import BatchNorm
from minicoulomb.network import Network

FLOAT32 = 4
BATCH, FIXED = 128, 4096


class Work(NamedTuple):
    """What a step of Algorithm 1 computes and moves, for a batch n of any size.

    parameters    of both networks
    coordinates   of a sample, m
    exchanges     between the processes
    statistics    numbers that batch normalization has from each of them
    """

    parameters: int
    coordinates: int
    exchanges: int
    statistics: int

    @classmethod
    def of(cls, G: Network, D: Network) -> "Work":
        """Batch normalization exchanges once forward and once back: G passes once, D twice and once more back to x.

        The other exchanges are the charges, the gradients of G and of D, and the diagnostics.
        """
        g, d = ([layer.channels for layer in net.root.children if isinstance(layer, BatchNorm)] for net in (G, D))
        return cls(G.size + D.size, prod(D.input_shape), 2 * len(g) + 5 * len(d) + 4, 4 * sum(g) + 10 * sum(d))

    def bytes(self, n: int, size: int) -> dict[str, int]:
        """Bytes of the result of each kind of exchange, which every process holds in the end."""
        return {
            "charges": FLOAT32 * 2 * n * (self.coordinates + 1),
            "gradients": FLOAT32 * self.parameters,
            "statistics": FLOAT32 * self.statistics * size,
            "diagnostics": FLOAT32 * (6 * n + 2 * size),  # and both losses of each process
        }


class Machine(NamedTuple):
    """Constants in seconds, numbers a second, and functions of the number of processes.

    draw, read  seconds of a sample's random numbers, and of a real sample in memory
    bandwidth   bytes a second of a ring of N processes;  latency   seconds of an exchange of nothing
    crowd       how much longer each of N processes computes than one by itself
    draws_meanwhile   whether the host draws the next batch while another device computes
    """

    fixed: float
    sample: float
    pairs: float
    draw: float
    read: float
    bandwidth: Callable[[int], float]
    latency: Callable[[int], float]
    crowd: Callable[[int], float] = lambda size: 1.0
    draws_meanwhile: bool = False

    def parts(self, work: Work, n: int, size: int) -> dict[str, float]:
        """Seconds of a step by its parts; those of the draws apart, as `draws`."""
        crowd, moved = self.crowd(size), work.bytes(n, size)
        ring = (size - 1) / size / self.bandwidth(size)
        return {
            "fixed": self.fixed * crowd,
            "samples": self.sample * n / size * crowd,
            "potential": (2 * n) ** 2 * work.coordinates / size / self.pairs * crowd,
            "charges": (moved["charges"] + moved["diagnostics"] + moved["statistics"]) * ring,
            "gradients": moved["gradients"] * 2 * ring,
            "waits": work.exchanges * self.latency(size) * (size > 1),
            "draws": (self.draw + self.read / size) * n * crowd,
        }

    def seconds(self, work: Work, n: int, size: int) -> float:
        parts = self.parts(work, n, size)
        draws, computed = parts["draws"], sum(parts.values()) - parts["draws"]
        return max(computed, draws) if self.draws_meanwhile else computed + draws


def _cluster_latency(size):
    """NCCL's small exchanges, an assumption: 10 us in a machine of 8 GPUs, 10 us more each time the machines double."""
    return 10e-6 * (1 + max(0.0, log2(size / 8)))


def _crowd(size):
    """On two cores: 2 processes that exchange nothing take 1.05 times as long as one, 4 take 2.1."""
    return 1.0 if size == 1 else 1.05 * max(1.0, size / 2)


# Measured on that machine. With more processes than cores an exchange waits for the scheduler.
HOST = Machine(0.79, 0.0577, 3.8e10, 0.32e-6, 1.4e-6, lambda size: 4.5e9 if size < 3 else 2.2e9,
               lambda size: 7e-6 if size < 3 else 3e-3, _crowd)  # fmt: skip
# Steps of 22.4 ms (batch 128) and 73 ms (512) on an H200; pairs as PyTorch there. NVLink has 450 GB/s each way, eight
# ports of 400 Gb/s between machines 400 GB/s, by their data sheets.
H200 = Machine(7.1e-3, 0.1168e-3, 2.1e12, 0.32e-6, 1.4e-6, lambda size: 450e9 if size <= 8 else 400e9, _cluster_latency,
               draws_meanwhile=True)  # fmt: skip
# Name -> batch of N GPUs, and the most of them.
WAYS = {f"batch {BATCH}": (lambda size: BATCH, BATCH), f"batch {FIXED:,}": (lambda size: FIXED, 1024)}
WAYS[f"batch {BATCH} N"] = (lambda size: BATCH * size, 1024)


def my() -> Work:
    """The paper's networks at 64x64."""
    return Work.of(*WORKLOADS["my-64-b128"]().networks())


def rows(machine: Machine, work: Work, way: str) -> list[tuple[int, float, float, dict[str, float]]]:
    """(N, seconds of a step, samples a second, parts) for N = 1, 2, 4, ..."""
    batch, most = WAYS[way]
    sizes = [2**k for k in range(11) if 2**k <= most]
    times = [machine.seconds(work, batch(size), size) for size in sizes]
    return [(size, t, batch(size) / t, machine.parts(work, batch(size), size)) for size, t in zip(sizes, times)]


def draw(work: Work, path: Path) -> None:
    """Samples a second on N GPUs for each way, and the parts of a step as the batch grows."""
    from matplotlib.figure import Figure

    figure = Figure((9, 3.6), layout="constrained")
    speed, parts = figure.subplots(1, 2)
    for way in WAYS:
        found = rows(H200, work, way)
        speed.loglog([row[0] for row in found], [row[2] for row in found], marker=".", label=way)
    one = rows(H200, work, f"batch {BATCH}")[0][2]
    speed.loglog([1, 1024], [one, 1024 * one], "k:", lw=1, label="N times one")
    speed.set(xlabel="GPUs N", ylabel="samples per second", title="Speed")
    speed.legend(frameon=False)
    found = rows(H200, work, f"batch {BATCH} N")
    for name in found[0][3]:
        points = [(row[0], 1e3 * row[3][name]) for row in found if row[3][name]]
        parts.loglog(*zip(*points, strict=True), "--" if name == "draws" else "-", label=name)
    parts.set(xlabel="GPUs N", ylabel="ms per step", title=f"Parts of a step, batch {BATCH} N")
    parts.legend(frameon=False, fontsize=8, ncols=2)
    for axes in (speed, parts):
        axes.set_xticks([1, 8, 64, 512], ["1", "8", "64", "512"])
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


@click.command(cls=Command, context_settings=CONTEXT)
@click.option("-o", "--out", type=PATH, metavar="FILE", help="also draw the picture")
def scale(out):
    """Print the model's figures: N processes here, and up to 1,024 GPUs."""
    work = my()
    click.echo(f"{work}\n\n| processes here | ms |\n|---|---:|")
    for size in (1, 2, 4):
        click.echo(f"| {size} | {1e3 * HOST.seconds(work, BATCH, size):,.0f} |")
    for way in WAYS:
        names = list(H200.parts(work, BATCH, 1))
        click.echo(f"\n| {way}, N GPUs | ms | samples/s | {' | '.join(names)} |\n|" + "---:|" * (len(names) + 3))
        for size, seconds, speed, parts in rows(H200, work, way):
            columns = " | ".join(f"{1e3 * value:.2f}" for value in parts.values())
            click.echo(f"| {size:,} | {1e3 * seconds:.1f} | {speed:,.0f} | {columns} |")
    if out:
        draw(work, out)


if __name__ == "__main__":
    scale(prog_name="python -m benchmarks.scale")
