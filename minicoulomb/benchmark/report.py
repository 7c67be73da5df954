"""What a benchmark prints: on what it ran, and a Markdown table, row by row."""

import datetime
import platform
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicoulomb import __version__
from minicoulomb.threads import available_cores

HEADER = ("| case | minicoulomb | PyTorch | ratio |", "|---|---:|---:|---:|")


class Row(NamedTuple):
    """One case's figures: `unit` is ms or MiB; ratio is ours to theirs, repeats how many pairs it is the median of."""

    case: str
    ours: float
    theirs: float
    ratio: float
    unit: str
    repeats: int

    def line(self) -> str:
        ours, theirs = (f"{_rounded(value)} {self.unit}" for value in (self.ours, self.theirs))
        return f"| `{self.case}` | {ours} | {theirs} | {self.ratio:.2f} |"


def environment(threads: int, torch_version: str) -> dict[str, str | int]:
    """What the figures depend on, by name."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "cores": available_cores(),
        "threads": threads,
        "dtype": "float32",
        "minicoulomb": __version__,
        "numpy": f"{np.__version__} ({blas['name']} {blas['version']}{_blas_threads()})",
        "torch": torch_version,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _blas_threads():
    """How many threads NumPy's BLAS uses beside ours, where threadpoolctl can tell."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return ""
    threads = {pool["num_threads"] for pool in threadpool_info() if "numpy" in pool["filepath"]}
    return f" on {max(threads)} thread{'s' * (max(threads) > 1)}" if threads else ""


def _processor():
    """The processor's name, as Linux tells it, or what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _rounded(value):
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
