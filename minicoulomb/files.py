"""Promises about files: one that we write appears whole or not at all, and one that we read fits into memory.

atomic_write(path)                     writes a draft, syncs it to disk, then renames it
check_place(path)                      refuses a place that cannot be written, before a long computation
draft(path), remove_drafts(...)        drafts, and the end of those that killed processes left
one_process(path, what)                a context for one process at a time; the file says which
check_space(path, what, bytes, remedy) refuses what does not fit on the disk
check_unfolded(what, bytes, stored)    refuses what would unfold to far more bytes than the file has

The draft of `a.npz` is `.a.npz.PID.tmp`, locked by its process. The system releases a lock when its process ends,
whatever ends it, so a draft that nobody has locked is dead.
"""

import errno
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from minicoulomb.errors import UserError, explained, printable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What a small file may unfold to, in bytes, and how many times its size a large one may.
UNFOLDED, TIMES = 2**28, 64
# Larger numbers are not shown.
MOST = 10**18
# Windows keeps others from reading a locked byte, so it is one behind the text of the file.
LOCKED_BYTE = 2**16


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
        raise UserError(f"{path}: cannot be written (the folder {path.parent} does not exist); create it")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{path}: cannot be written (the folder is read-only); choose another place")


def check_space(path: Path, what: str, wanted: int, remedy: str) -> None:
    """UserError if the disk of `path` has not so many bytes free; call it before they are written."""
    with suppress(OSError):  # the writing itself says what is wrong with the place
        free = shutil.disk_usage(path.parent).free
        if wanted > free > 0:  # 0 on file systems that are no disk
            unit, name = (10**9, "GB") if wanted >= 10**9 else (10**6, "MB")
            needs, has = (f"{min(size, MOST) / unit:,.1f} {name}" for size in (wanted, free))
            raise UserError(f"{path}: {what} need {needs}, {has} are free; {remedy}")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends, and is removed if the block raises.

    An OSError within (a full disk, an unwritable folder) becomes a UserError that names the path. A device, such as
    /dev/null, is refused: a file would take its place.
    """
    check_place(path)
    with explained(f"{path}: cannot be written", "choose another place"), draft(path) as temporary:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)


@contextmanager
def draft(path: Path, folder: bool = False) -> Iterator[Path]:
    """A new file or folder beside `path`, which is removed at the end unless the block renames it."""
    remove_drafts(path.parent, re.escape(path.name))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with ExitStack() as stack:
        stack.callback(_remove, temporary)
        while True:
            temporary.mkdir(exist_ok=True) if folder else temporary.touch()
            with suppress(FileNotFoundError):
                if stack.enter_context(_locked(temporary)) is not False and temporary.exists():
                    break
            time.sleep(0.01)  # another process holds or removes it: it has no lock for a moment
        yield temporary


def remove_drafts(folder: Path, names: str) -> None:
    """Remove dead drafts of those paths in `folder` whose names match the regular expression."""
    pattern = re.compile(rf"\.({names})\.\d+\.tmp")
    with suppress(OSError):
        for path in [path for path in folder.iterdir() if pattern.fullmatch(path.name)]:
            with suppress(OSError), _locked(path) as is_locked:
                if is_locked:
                    _remove(path)


@contextmanager
def one_process(path: Path, what: str) -> Iterator[bool]:
    """A context for one process at a time, which the file `path` names; UserError if there is another.

    The value is false if the file system has no locks.
    """
    who = f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}"
    while True:
        with explained(f"{path}: cannot be written", "choose another place"):
            file = path.open("a+", errors="replace")
        with file:
            if (is_locked := _lock(file.fileno())) is False:
                file.seek(0)
                holder = printable(file.readline(200).rstrip("\n")) or "another process"
                raise UserError(f"{what}: in use by {holder}; wait until it ends, or stop it")
            if not (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())):
                continue  # the process before has removed it
            try:
                file.truncate(0)
                print(who, file=file, flush=True)
                yield is_locked is True
            finally:
                with suppress(OSError):
                    path.unlink()
            return


def _lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed; false if another process has locked it, None without locks."""
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES) else None
    return True


@contextmanager
def _locked(path):
    """A context with the lock of a draft. Windows does not rename what is open, so there drafts have none."""
    if not fcntl:
        yield None
        return
    with _opened(path) as descriptor:
        yield _lock(descriptor)


@contextmanager
def _opened(path):
    """The descriptor of an existing file or folder."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _remove(path):
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _sync_folder(folder: Path) -> None:
    """Put the renaming on disk too, where the system can sync a folder (not on Windows)."""
    if os.name == "posix":
        with _opened(folder) as descriptor:
            os.fsync(descriptor)
