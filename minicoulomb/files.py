"""Two promises about files: one that we write appears whole or not at all, and one that we read fits into memory.

atomic_write(path)                     writes under another name, syncs to disk, then renames
check_place(path)                      refuses a place that cannot be written, before a long computation
check_unfolded(what, bytes, stored)    refuses what would unfold to far more bytes than the file has
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from minicoulomb.errors import UserError, explained

# What a small file may unfold to, in bytes, and how many times its size a large one may.
UNFOLDED, TIMES = 2**28, 64


def check_unfolded(what: str, unfolded: int, stored: int) -> None:
    """UserError if `stored` bytes declare that they unfold to more than any honest file; call it before they do."""
    if unfolded > (limit := max(UNFOLDED, TIMES * stored)):
        raise UserError(
            f"{what}: {stored:,} bytes would unfold to {unfolded:,}: at most {limit:,}; it is no honest file"
        )


def check_place(path: Path) -> None:
    """UserError unless a file can be written to `path`; call it before the file's content is computed."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: cannot be written (it is a folder or a device); choose another name")
    if not path.parent.is_dir():
        raise UserError(f"{path}: cannot be written (no folder {path.parent}); create it, or choose another place")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{path}: cannot be written (the folder is read-only); choose another place")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends, and is removed if the block raises.

    An OSError within (a full disk, an unwritable folder) becomes a UserError that names the path.
    """
    check_place(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained(f"{path}: cannot be written", "free some space or choose another place"):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def _sync_folder(folder: Path) -> None:
    """Put the renaming on disk too, where the system can sync a folder (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
