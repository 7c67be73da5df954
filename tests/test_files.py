"""What files.py promises: of files of somebody else, of those that we write, and of one process at a time."""

import errno
import os
import sys
import types

import pytest

from minicoulomb import files
from minicoulomb.errors import UserError
from minicoulomb.files import TIMES, UNFOLDED, atomic_write, check_unfolded, draft, one_process, remove_drafts

fcntl = pytest.importorskip("fcntl")


def test_what_an_honest_file_unfolds_to_passes():
    check_unfolded("a.npz", UNFOLDED, 1)
    check_unfolded("a.npz", TIMES * UNFOLDED, UNFOLDED)


@pytest.mark.parametrize(("unfolded", "stored"), [(UNFOLDED + 1, 1), (TIMES * UNFOLDED + 1, UNFOLDED), (2**70, 34)])
def test_what_only_a_bomb_unfolds_to_is_refused(unfolded, stored):
    with pytest.raises(UserError, match=r"^a\.npz: .* bytes would unfold to .*: at most .*; "):
        check_unfolded("a.npz", unfolded, stored)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def locked(path):
    """The path's file, locked as by its process, while it is open."""
    file = path.open("a")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def test_drafts_of_dead_processes_go_and_those_of_live_ones_stay(tmp_path):
    mine = [".a.npz.tmp", ".b.npz.1.tmp", "a.npz.1.tmp", ".a.npz.one.tmp"]
    for name in [".a.npz.1.tmp", ".a.npz.2.tmp", *mine]:
        (tmp_path / name).write_text("half")
    (tmp_path / ".a.npz.3.tmp").mkdir()
    (tmp_path / ".a.npz.3.tmp" / "part").write_text("half")
    with locked(tmp_path / ".a.npz.2.tmp"):
        with atomic_write(tmp_path / "a.npz") as file:
            assert f".a.npz.{os.getpid()}.tmp" in names(tmp_path)
            remove_drafts(tmp_path, ".*")  # another process that starts now
            file.write(b"whole")
        left = [".a.npz.2.tmp", "a.npz", *set(mine) - {".b.npz.1.tmp"}]
        assert names(tmp_path) == sorted(left)
    assert (tmp_path / "a.npz").read_bytes() == b"whole"


def test_a_draft_goes_with_an_error_and_stays_where_it_is_moved_to(tmp_path):
    with draft(tmp_path / "run", folder=True) as folder:
        (folder / "part").write_text("1")
        folder.rename(tmp_path / "made")
    with pytest.raises(KeyError), draft(tmp_path / "run", folder=True):
        raise KeyError
    assert names(tmp_path) == ["made"]


def test_the_remedy_fits_the_error(tmp_path):
    """A missing folder was told to free some space."""
    with pytest.raises(UserError, match=r"a\.npz: cannot be written \(the folder .* does not exist\); create it$"):
        atomic_write(tmp_path / "no" / "a.npz").__enter__()
    long = tmp_path / ("a" * 250)
    with pytest.raises(UserError, match=r"cannot be written \(File name too long\); choose a shorter name$"):
        atomic_write(long).__enter__()


def test_a_device_is_not_replaced(tmp_path):
    """A superuser's -o /dev/null was renamed over the device."""
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", tmp_path):
        with pytest.raises(UserError, match="a folder or a device"), atomic_write(path):
            pass
    assert (tmp_path / "pipe.npz").is_fifo()


def no_locks(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_without_locks_files_are_written_and_drafts_of_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / ".a.npz.1.tmp").write_text("half")
    with atomic_write(tmp_path / "a.npz") as file:
        file.write(b"whole")
    assert names(tmp_path) == [".a.npz.1.tmp", "a.npz"]
    with one_process(tmp_path / "lock", "run") as is_locked:
        assert not is_locked


def test_one_process_at_a_time_and_it_is_named(tmp_path):
    path = tmp_path / "lock"
    path.write_text("process 1 on nowhere, which was killed")
    for _ in range(2):
        with one_process(path, "run") as is_locked:
            assert is_locked
            said = rf"^run: in use by process {os.getpid()} on .+ since 20..-..-.. ..:..:..; wait"
            with pytest.raises(UserError, match=said), one_process(path, "run"):
                pass
        assert not path.exists()


def test_a_lock_that_its_process_removed_meanwhile_is_taken_again(tmp_path, monkeypatch):
    path, lock = tmp_path / "lock", files._lock
    removed = []

    def slow(descriptor):
        if not removed:
            removed.append(path.unlink())
        return lock(descriptor)

    monkeypatch.setattr(files, "_lock", slow)
    with one_process(path, "run"):
        assert path.read_text().startswith("process ")


def test_windows_locks_a_byte_that_nobody_reads(tmp_path, monkeypatch):
    held = set()

    def locking(descriptor, mode, count):
        place = os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR)
        if place in held:
            raise OSError(errno.EACCES, "Permission denied")
        held.add(place)

    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    with one_process(tmp_path / "lock", "run") as is_locked, atomic_write(tmp_path / "a.npz") as file:
        assert is_locked
        file.write(b"whole")
        with pytest.raises(UserError, match="in use by process"), one_process(tmp_path / "lock", "run"):
            pass
    assert [place for _, place in held] == [files.LOCKED_BYTE]
    assert names(tmp_path) == ["a.npz"]
