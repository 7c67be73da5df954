"""A text table of numbers -> an array: .csv and .tsv files, a point a row.

Separators are semicolons, tabs, commas or blanks, the first of these that the first line has. With semicolons a comma
is a decimal point, as in most of Europe. The first line may name the columns; a column whose name is empty, such as the
index that pandas writes, is no coordinate. Empty lines and lines that begin with # are left out.
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


def is_table(path: Path) -> bool:
    """Whether a file's suffix is that of a table."""
    return path.suffix.lower() in SUFFIXES


def read_table(path: Path) -> np.ndarray:
    """The numbers (n, m) of a table, float64; UserError for a cell that is no number, with its row and column."""
    with explained(f"{path}: cannot be read", "save it as CSV UTF-8", (OSError, csv.Error)), opened(path) as file:
        lines: Iterator[str] = (line.decode("utf-8-sig", "replace").strip(" \r\n") for line in file)
        lines = (line for line in lines if line.strip(",;\t ") and not line.startswith("#"))
        first = next(lines, "")
        if "\0" in first:
            raise UserError(f"{path}: UTF-16 or binary: must be UTF-8 text; save it as CSV UTF-8")
        separator = next((mark for mark in SEPARATORS if mark in first), ",")
        (names,) = csv.reader([first], delimiter=separator, skipinitialspace=True) if first else ([],)
        kept = [i for i, name in enumerate(names) if name.strip()]
        if any(map(_is_number, names)):
            names, lines = [], chain([first], lines)
        lines = (line.replace(",", ".") for line in lines) if separator == ";" else lines
        columns = kept if len(kept) < len(names) else None
        delimiter = None if separator == " " else separator
        try:
            with warnings.catch_warnings(action="ignore"):  # of a table without rows, which is refused as empty
                array = np.loadtxt(lines, delimiter=delimiter, quotechar='"', usecols=columns, ndmin=2)
            if len(array) and names and array.shape[1] != len(kept):
                raise ValueError(f"{len(kept)} names of columns and {array.shape[1]} numbers a row")
        except ValueError as error:
            column = re.search(r"column (\d+)", f"{error}")
            name = f" ({names[int(column[1]) - 1]:.40})" if column and int(column[1]) <= len(names) else ""
            rule = "every row must hold numbers alone, one for each column; remove other columns or rows"
            raise UserError(f"{path}: {str(error).partition(';')[0].rstrip('.'):.200}{name}: {rule}") from None
    return array


def _is_number(cell):
    """Whether a cell is a number, perhaps with a decimal comma."""
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True
