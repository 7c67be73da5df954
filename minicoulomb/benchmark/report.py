"""What a benchmark prints: on what it ran, and a Markdown table, row by row."""

import datetime
import platform
from typing import NamedTuple

from minicoulomb import __version__
from minicoulomb.info import numpy_version, processor, system
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
    }


def _rounded(value):
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
