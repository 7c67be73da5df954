"""Lists of images that may be longer than memory: sorted on disk, one JSON line for each image.

    ["img_align_celeba/000001.jpg", 11440, [1443490838000000000]]         name, size in bytes, where (see source.py)

The order is that of the names' code points, the same on every machine. A list is sorted in parts that fit into
memory, and the parts are merged. A list of fewer than CHUNK images is sorted without touching the disk.
"""

import hashlib
import heapq
import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from minicoulomb.data.source import Entry

by_name, by_position = attrgetter("name", "where"), attrgetter("where")
# Entries sorted at a time; each needs half a kilobyte of memory.
CHUNK = 2**15


class Listing(NamedTuple):
    """n: number of entries; sha256: of the lines; batches: position in the file at which each batch of lines begins."""

    n: int
    sha256: str
    batches: array


def in_order(entries: Iterable[Entry], folder: Path, key: Callable[[Entry], Any] = by_name) -> Iterator[Entry]:
    """The entries, sorted; meanwhile parts of them lie in `folder`, in files without a name."""
    entries = iter(entries)
    parts = []
    with ExitStack() as stack:
        while chunk := sorted(islice(entries, CHUNK), key=key):
            if not parts and len(chunk) < CHUNK:
                yield from chunk
                return
            file = stack.enter_context(TemporaryFile("w+", dir=folder, encoding="ascii"))
            file.writelines(map(_to_line, chunk))
            file.seek(0)
            parts.append(map(_from_line, file))
            del chunk  # otherwise it stays in memory while the next one is sorted
        yield from heapq.merge(*parts, key=key)


def without_twins(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Sorted entries with distinct names: an archive may repeat a name, and only its first entry is kept."""
    before, times = None, 1
    for entry in entries:
        times = times + 1 if entry.name == before else 1
        before = entry.name
        if times > 1:
            reason = entry.refused or "a name that an earlier file has; rename or remove one"
            entry = entry._replace(name=f"{entry.name} ({times})", refused=reason)
        yield entry


def write_listing(entries: Iterable[Entry], path: Path | None, batch: int) -> Listing:
    """Write the entries in their order; without a path, only return what would be written."""
    n, position, digest, batches = 0, 0, hashlib.sha256(), array("q")
    with ExitStack() as stack:
        file = stack.enter_context(path.open("wb")) if path else None
        for entry in entries:
            line = _to_line(entry).encode()
            if n % batch == 0:
                batches.append(position)
            digest.update(line)
            n, position = n + 1, position + len(line)
            if file:
                file.write(line)
    return Listing(n, digest.hexdigest(), batches)


def read_listing(path: Path) -> Iterator[Entry]:
    """All entries of a list."""
    with path.open(encoding="ascii") as file:
        yield from map(_from_line, file)


def read_batch(file, position: int, batch: int) -> list[Entry]:
    """The entries of a batch, or as many as are left, from a position in a list opened in binary mode."""
    file.seek(position)
    return [_from_line(line) for line in islice(file, batch)]


def _to_line(entry):
    # A name may hold bytes that are no text; JSON's escapes keep them.
    return json.dumps(entry if entry.refused else entry[:3]) + "\n"


def _from_line(line):
    return Entry(*json.loads(line))
