"""A text table of numbers -> an array: .csv and .tsv files, a point a row.

Separators are semicolons, tabs, commas or blanks, the first of these that the first line has. With semicolons a comma
is a decimal point, as in most of Europe. The first line may name the columns; a column whose name is empty, such as the
index that pandas writes, is no coordinate. Empty lines, lines that begin with # and Excel's first line sep=; are left
out.
"""

import csv
import re
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from minicoulomb.errors import UserError, explained
from minicoulomb.untrusted import opened

SUFFIXES = (".csv", ".tsv")
SEPARATORS = ";\t, "
RULE = "every row must hold numbers alone, one for each column; remove other columns or rows, and thousands separators"


def is_table(path: Path) -> bool:
    """Whether a file's suffix is that of a table."""
    return path.suffix.lower() in SUFFIXES


def read_table(path: Path) -> np.ndarray:
    """The numbers (n, m) of a table, float64; UserError for a cell that is no number, with its line and column."""
    number, line = 0, ""  # of the line that was read last

    def read_lines() -> Iterator[str]:
        nonlocal number, line
        for content in file:
            number += 1
            line = content.decode("utf-8-sig", "replace").strip(" \r\n")
            if line.strip(",;\t ") and not (line.startswith("#") or line[:4].lower() == "sep="):
                yield line

    with explained(f"{path}: cannot be read", "save it as CSV UTF-8", (OSError, csv.Error)), opened(path) as file:
        first = next(lines := read_lines(), "")
        if "\0" in first:
            raise UserError(f"{path}: UTF-16 or binary: must be UTF-8 text; save it as CSV UTF-8")
        separator = next((mark for mark in SEPARATORS if mark in first), ",")
        cells = lambda: next(csv.reader([line], delimiter=separator, skipinitialspace=True))
        names = cells() if first else []
        kept = [i for i, name in enumerate(names) if name.strip()]
        if any(map(_is_number, names)):
            names, lines = [], chain([first], lines)
        lines = (line.replace(",", ".") for line in lines) if separator == ";" else lines
        columns = kept if len(kept) < len(names) else None
        delimiter = None if separator == " " else separator
        try:
            with warnings.catch_warnings(action="ignore"):  # of a table without rows
                array = np.loadtxt(lines, delimiter=delimiter, quotechar='"', usecols=columns, ndmin=2)
        except ValueError as error:
            raise UserError(f"{path}: line {number}: {_reason(str(error), names, cells())}: {RULE}") from None
        if not len(array):
            raise UserError(f"{path}: no row of numbers: must hold a point a row; add data")
        if names and array.shape[1] != len(kept):
            raise UserError(f"{path}: {len(kept)} names of columns and {array.shape[1]} numbers a row: {RULE}")
    return array


def _reason(error, names, cells):
    """What NumPy's message says is wrong with a line, with the cell as it stands in the file."""
    column = re.search(r"could not convert .* column (\d+)", error)
    if not column or (i := int(column[1]) - 1) >= len(cells):
        return re.sub(r" at row \d+", "", error.partition(";")[0])[:200]
    return f"{cells[i]!r:.80} in column {i + 1}{f' ({names[i]:.40})' if names[i:] else ''} is no number"


def _is_number(cell):
    """Whether a cell is a number, perhaps with a decimal comma."""
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True
