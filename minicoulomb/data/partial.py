"""Work that may be interrupted at any moment and goes on where it was: rows in a file, and a journal beside it.

    .faces.npy.partial/
        array      room for the header of a .npy file, then the rows so far
        journal    a line that identifies the work, then [entries done, rows, [[name, reason] of each bad entry]]
        files      the list of all entries, and `forward`, the same in the order of the archive, where that matters
        sorted     the rows in the order of the names, where they were not decoded in that order
        manifest   the manifest of the cache, about to be renamed

A line of the journal is written after its rows are on disk. Rows beyond the last whole line are dropped, and made
again. The folder's name is not that of a cache: hidden, without .npy at its end.
"""

import hashlib
import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from minicoulomb.data.decoding import DecodedBatch
from minicoulomb.data.listing import read_listing

# Seconds between two lines of the journal, each of which waits for the disk. Work of less time is not kept.
JOURNAL_EVERY = 1.0
# Bytes of the header of a .npy file of version 1.0 and few axes, for any number of rows: NumPy leaves room for it.
HEADER = 128


class Partial:
    """The work on the cache `target`: a context that one process at a time can enter; others wait.

    done       entries of the list that are decoded or skipped
    rows       how many of them have a row in the array
    skipped    [name, reason] of the others
    """

    def __init__(self, target: Path):
        self.folder = target.with_name(f".{target.name}.partial")
        self.array, self.sorted = self.folder / "array", self.folder / "sorted"
        self.files, self.forward = self.folder / "files", self.folder / "forward"
        self.manifest = self.folder / "manifest"
        self._rows: Any = None

    def __enter__(self) -> "Partial":
        journal = self.folder / "journal"
        while True:
            self.folder.mkdir(exist_ok=True)
            self._journal = journal.open("a+b")
            _lock(self._journal)
            with suppress(OSError):
                if os.path.samestat(os.fstat(self._journal.fileno()), journal.stat()):
                    break
            self._journal.close()  # the process before has finished and removed it
        self._kept = self._journal.seek(0, os.SEEK_END) > 0
        return self

    def __exit__(self, *exception) -> None:
        if self._rows:
            self._rows.close()
        self._journal.close()
        if not self._kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def discard(self) -> None:
        """Remove the work when the context ends."""
        self._kept = False

    def begin(self, identity: dict, row_bytes: int) -> None:
        """Go on after the last line of the journal if it is of exactly this work, otherwise from the start."""
        self._row_bytes = row_bytes
        self.done, self.rows, self.skipped, self._new = 0, 0, [], []
        head = json.dumps(identity, sort_keys=True).encode() + b"\n"
        self._journal.seek(0)
        end = len(head) if self._journal.readline() == head else 0
        with suppress(Exception):  # a torn or damaged line, or no array
            for line in self._journal if end else ():
                done, rows, bad = json.loads(line)
                whole = line.endswith(b"\n") and 0 <= rows == done - len(self.skipped) - len(bad)
                if not whole or self.array.stat().st_size < self._end(rows):
                    break
                self.done, self.rows, end = done, rows, end + len(line)
                self.skipped += bad
        self._kept = self.done > 0
        self._journal.truncate(end if self._kept else 0)
        if not self._kept:
            self._journal.write(head)
        self._rows = self.array.open("r+b" if self._kept else "w+b")
        self._rows.truncate(self._end(self.rows))
        self._rows.seek(self._end(self.rows))
        self._noted = time.monotonic()

    def append(self, batch: DecodedBatch) -> None:
        """Add the next entries of the list, decoded."""
        self._rows.write(batch.pixels)
        self.done += batch.n
        self.rows += len(batch.pixels) // self._row_bytes
        self._new += batch.bad
        if time.monotonic() - self._noted >= JOURNAL_EVERY:
            self.note()

    def note(self) -> None:
        """Put the rows on disk, then write a line of the journal."""
        self._rows.flush()
        os.fsync(self._rows.fileno())
        self._journal.write(json.dumps([self.done, self.rows, self._new]).encode() + b"\n")
        self._journal.flush()
        self.skipped += map(list, self._new)
        self._new, self._kept, self._noted = [], True, time.monotonic()

    def finish(self, shape: tuple[int, ...], forward: bool) -> tuple[Path, str]:
        """The whole array as a .npy file of rows of `shape`, on disk; and the SHA-256 of its rows.

        With `forward` the rows were decoded in the order of the archive; they are put in the order of names.
        """
        self._rows.close()
        path = self._sort() if forward else self.array
        with path.open("r+b") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (self.rows, *shape)}
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
            os.fsync(file.fileno())
            return path, hashlib.file_digest(file, "sha256").hexdigest()

    def _sort(self):
        """Copy the rows in the order of the names; only their positions are held in memory."""
        bad = {name for name, _ in self.skipped}
        decoded, named = (
            np.fromiter((e.where[0] for e in read_listing(path) if e.name not in bad), np.int64)
            for path in (self.forward, self.files)
        )
        rows = np.memmap(self.array, np.uint8, "r", HEADER, (self.rows, self._row_bytes))
        with self.sorted.open("wb") as file:
            file.seek(HEADER)
            for row in np.searchsorted(decoded, named):
                file.write(rows[row])
        return self.sorted

    def _end(self, rows):
        return HEADER + rows * self._row_bytes


def _lock(file):
    """Wait until no other process has locked the file. The lock ends with the process."""
    # Windows and certain network file systems have no such locks: two processes must not prepare a cache at once there.
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
