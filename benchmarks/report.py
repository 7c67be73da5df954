"""The output of a benchmark: the environment, and a Markdown table, row by row."""

import datetime
import platform
from typing import NamedTuple

from benchmarks.limit import rates
from minicoulomb import __version__
from minicoulomb.arrays.backend import Backend
from minicoulomb.arrays.threads import available_cores
from minicoulomb.cli.environment import describe, numpy_version, processor, system

# From cli/environment.py, and from _gpu below.
GPU_FACTS = ("GPU", "compute capability", "multiprocessors", "clocks", "GPU memory", "TF32")
GPU_FACTS += ("CuPy", "CUDA driver", "CUDA runtime", "cuBLAS")
HEADER = ("| case | minicoulomb | PyTorch | ratio |", "|---|---:|---:|---:|")


class Row(NamedTuple):
    """One case's figures: `unit` is ms, MiB or samples/s, `ratio` is ours / theirs, the median of `repeats` pairs.

    theirs, ratio   None where nothing is compared
    note            a remark, or ""
    """

    case: str
    ours: float
    theirs: float | None
    ratio: float | None
    unit: str
    repeats: int
    note: str = ""

    def line(self) -> str:
        ours, theirs = (f"{_rounded(value)} {self.unit}" if value else "-" for value in (self.ours, self.theirs))
        return f"| `{self.case}` | {ours} | {theirs} | {f'{self.ratio:.2f}' if self.ratio else '-'} |"


def environment(threads: int, torch_version: str, backend: Backend) -> dict[str, str | int]:
    """The environment of the figures, by name."""
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": available_cores(),
        "threads": threads,
        "dtype": "float32",
        "minicoulomb": __version__,
        "numpy": numpy_version(),
        "torch": torch_version,
        "python": platform.python_version(),
        "system": system(),
        **(_gpu(backend) if backend.name == "cupy" else {}),
    }


def _gpu(backend):
    """The GPU, its libraries, whether both sides use TF32, and the highest clocks if CUDA knows them."""
    facts = describe(backend.name, backend.device, backend.tf32)
    _, clock, memory = (number / 1e6 for number in rates(backend))
    facts["clocks"] = f"{clock:.2f} GHz, memory {memory:.2f} GHz at most" if clock and memory else "unknown"
    return {name: facts[name] for name in GPU_FACTS}


def _rounded(value):
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
