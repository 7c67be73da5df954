"""Decoding over processes and over interruptions: whatever happens in between, the bytes at the end are the same."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from cli_cases import ROOT
from data_files import contents, encoded, levels, names, write_folder, write_tar, write_zip

from minicoulomb.data import cache, decoding, partial
from minicoulomb.data.archives import Tar, Zip
from minicoulomb.data.cache import prepare
from minicoulomb.data.folder import Folder
from minicoulomb.errors import UserError

N = 20
SIDE = 8


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Batches of 2 images, each with its line in the journal, and a second process from the second image on."""
    monkeypatch.setattr(cache, "BATCH", 2)
    monkeypatch.setattr(partial, "JOURNAL_EVERY", 0)
    monkeypatch.setattr(decoding, "WORTHWHILE", 1)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # waits for the disk, hundreds of times here


def shuffled(files):
    items = list(files.items())
    random.Random(0).shuffle(items)
    return dict(items)


def with_bad(files, *numbers):
    return files | {names(N)[i]: b"no image" for i in numbers}


SOURCES = {
    "folder": lambda path: Folder(write_folder(path, contents(N))),
    "zip": lambda path: Zip(write_zip(path, shuffled(contents(N)))),
    "tar.gz": lambda path: Tar(write_tar(path, shuffled(contents(N)))),
    "bad": lambda path: Folder(write_folder(path, with_bad(contents(N), 3, 4, 11))),
    "bad tar.gz": lambda path: Tar(write_tar(path, shuffled(with_bad(contents(N), 3, 4, 11)))),
}


@pytest.fixture(params=SOURCES)
def source(request, tmp_path):
    return SOURCES[request.param](tmp_path / "source")


def made(source, target, **options):
    """All bytes that a cache consists of, but for the array's modification time."""
    report = prepare(source, target, size=SIDE, skip_bad=True, **options)
    manifest = json.loads(target.with_name(target.name + ".json").read_text())
    del manifest["array"]["stamp"]
    left = sorted(path.name for path in target.parent.iterdir() if target.name in path.name)
    assert left == [target.name, target.name + ".files", target.name + ".json"]
    return target.read_bytes(), target.with_name(target.name + ".files").read_bytes(), manifest, report.skipped


# Processes


on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux tells them")


def status_of(pid):
    """(state, parent) of a process as Linux tells them; ("X", 0) if it is gone."""
    try:
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "X", 0
    return state, int(parent)


def children_of(pid):
    pids = [path.name for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [child for child in pids if status_of(child)[1] == pid]


def test_neither_the_number_of_processes_nor_the_format_changes_the_result(source, tmp_path):
    results = [made(source, tmp_path / f"{workers}.npy", workers=workers) for workers in (1, 2)]
    assert results[0] == results[1]
    bad = [i for i in (3, 4, 11) if len(results[0][3])]
    assert levels(np.load(tmp_path / "2.npy")) == [i for i in range(N) if i not in bad]


@pytest.mark.parametrize("workers", [1, 3])
def test_the_first_bad_image_is_named_however_many_processes_look(tmp_path, workers):
    source = SOURCES["bad"](tmp_path / "source")
    with pytest.raises(UserError, match=names(N)[3]):
        prepare(source, tmp_path / "a.npy", size=SIDE, workers=workers)


@on_linux
def test_no_more_processes_are_started_than_there_is_work_for(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "WORTHWHILE", 15)
    heard = []
    source = SOURCES["folder"](tmp_path / "source")
    progress = lambda *_: heard.append(len(children_of(os.getpid())))
    prepare(source, tmp_path / "a.npy", size=SIDE, workers=8, progress=progress)
    assert set(heard) == {0}


@on_linux
@pytest.mark.parametrize("source", ["folder", "bad tar.gz"], indirect=True)
def test_a_killed_process_is_told_and_the_work_goes_on_in_the_next_run(source, tmp_path):
    whole = made(source, tmp_path / "whole.npy")

    def kill(done, total):
        os.kill(int(children_of(os.getpid())[0]), signal.SIGKILL)

    with pytest.raises(UserError, match=r"was killed by signal 9.*fewer --workers"):
        prepare(source, tmp_path / "a.npy", size=SIDE, skip_bad=True, workers=2, progress=kill)
    assert not children_of(os.getpid())
    heard = []
    assert made(source, tmp_path / "a.npy", workers=2, progress=lambda *counts: heard.append(counts)) == whole
    assert heard[0] > (2, N)


def test_an_error_in_opening_the_source_comes_from_the_processes_as_it_is(tmp_path):
    source = SOURCES["zip"](tmp_path / "source")
    entries = list(source.entries())
    (tmp_path / "list").write_text("".join(json.dumps(entry[:3]) + "\n" for entry in entries))
    source.path.unlink()
    job = decoding.Job(source, tmp_path / "list", 2, SIDE, None, 3)
    with pytest.raises(UserError, match="cannot be read as zip"):
        list(decoding.decoded(job, [0, 1], 100, 2))


def test_a_compressed_archive_is_read_forward_alone(tmp_path, monkeypatch):
    source, positions, content = SOURCES["tar.gz"](tmp_path / "source"), [], Tar.content

    def watched(self, stream, position, size):
        positions.append(position)
        return content(self, stream, position, size)

    monkeypatch.setattr(Tar, "content", watched)
    prepare(source, tmp_path / "a.npy", size=SIDE)
    assert positions == sorted(positions)
    assert len(positions) == N


# Interruptions


def test_from_every_moment_the_work_goes_on_to_the_same_bytes(source, tmp_path):
    """What a kill after each batch would leave behind is copied, with and without damage, and gone on from."""
    snapshots = tmp_path / "snapshots"
    snapshots.mkdir()

    def copy(done, total):
        shutil.copytree(tmp_path / ".a.npy.partial", snapshots / f"{done:02d}")

    whole = made(source, tmp_path / "a.npy", progress=copy)
    rng = random.Random(0)
    assert len(list(snapshots.iterdir())) == N // 2
    for number, snapshot in enumerate(sorted(snapshots.iterdir())):
        for damage in ("none", "torn line", "rows behind", "rows lost"):
            target = tmp_path / f"{number}-{damage.split()[0]}-{damage.split()[-1]}" / "a.npy"
            target.parent.mkdir()
            work = target.parent / ".a.npy.partial"
            shutil.copytree(snapshot, work)
            if damage == "torn line":
                os.truncate(work / "journal", (work / "journal").stat().st_size - rng.randint(1, 3))
            elif damage == "rows behind":
                with (work / "array").open("ab") as file:
                    file.write(rng.randbytes(100))
            elif damage == "rows lost":
                os.truncate(work / "array", (work / "array").stat().st_size // 2)
            heard = []
            assert made(source, target, progress=lambda *counts, to=heard: to.append(counts)) == whole
            if damage in ("none", "rows behind"):
                assert [done for done, _ in heard] == list(range(2 * number + 4, N + 1, 2))


@pytest.mark.parametrize("renamings", [0, 1, 2])
def test_a_kill_between_the_last_renamings_is_mended(source, tmp_path, monkeypatch, renamings):
    whole = made(source, tmp_path / "whole.npy")
    replace, count = Path.replace, [0]

    def killed(self, target):
        if count[0] == renamings:
            raise KeyboardInterrupt
        count[0] += 1
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "a.npy", size=SIDE, skip_bad=True)
    monkeypatch.setattr(Path, "replace", replace)
    assert not (tmp_path / "a.npy").exists()
    heard = []
    assert made(source, tmp_path / "a.npy", progress=lambda *counts: heard.append(counts)) == whole
    assert not heard


def test_what_a_kill_after_the_last_renaming_leaves_is_removed(tmp_path, monkeypatch):
    source = SOURCES["folder"](tmp_path / "source")
    monkeypatch.setattr(partial.Partial, "discard", lambda self: None)
    prepare(source, tmp_path / "a.npy", size=SIDE)
    monkeypatch.undo()
    assert (tmp_path / ".a.npy.partial").exists()
    assert prepare(source, tmp_path / "a.npy", size=SIDE).reused
    assert not (tmp_path / ".a.npy.partial").exists()


def interrupted(source, target, at, **options):
    def interrupt(done, total):
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(source, target, progress=interrupt, **({"size": SIDE} | options))


@pytest.mark.parametrize("other", [{"size": 16}, {"crop": 10}, {"channels": 1}])
def test_work_with_other_settings_is_not_gone_on_with(tmp_path, other):
    source = SOURCES["folder"](tmp_path / "source")
    whole = made(source, tmp_path / "whole.npy")
    interrupted(source, tmp_path / "a.npy", 10, **other)
    assert made(source, tmp_path / "a.npy") == whole


def test_work_on_images_that_have_changed_since_begins_again(tmp_path):
    source = SOURCES["folder"](tmp_path / "source")
    interrupted(source, tmp_path / "a.npy", 10)
    (source.path / names(N)[0]).write_bytes(encoded(23))
    prepare(source, tmp_path / "a.npy", size=SIDE)
    assert levels(np.load(tmp_path / "a.npy")) == [23, *range(1, N)]


def test_what_was_skipped_before_the_interruption_stops_a_run_that_skips_nothing(tmp_path):
    source = SOURCES["bad"](tmp_path / "source")
    interrupted(source, tmp_path / "a.npy", 10, skip_bad=True)
    with pytest.raises(UserError, match=names(N)[3]):
        prepare(source, tmp_path / "a.npy", size=SIDE)
    report = prepare(source, tmp_path / "a.npy", size=SIDE, skip_bad=True)
    assert [name for name, _ in report.skipped] == [names(N)[i] for i in (3, 4, 11)]


def test_a_second_process_waits_for_the_first_and_takes_its_result(tmp_path):
    source = SOURCES["folder"](tmp_path / "source")
    reports = []
    second = threading.Thread(target=lambda: reports.append(prepare(source, tmp_path / "a.npy", size=SIDE)))

    def begin_second(done, total):
        if done == 4:
            second.start()
            time.sleep(0.3)

    first = prepare(source, tmp_path / "a.npy", size=SIDE, progress=begin_second)
    second.join()
    assert reports == [first._replace(reused=True)]


# Real kills

KILLED = """
import os, sys
from minicoulomb.data import cache, partial
from minicoulomb.data.sources import image_source
from pathlib import Path
cache.BATCH, partial.JOURNAL_EVERY = 2, 0
source, target = image_source(Path(sys.argv[1])), Path(sys.argv[2])
at, done = 0, -(10**6)

def operate(event, arguments):
    global done
    if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"):
        done += 1
        if done == at:
            os._exit(9)

def sync(file):
    operate("open", ())

os.fsync = sync
sys.addaudithook(operate)
status = 9 << 8
while status == 9 << 8:  # killed before each operation in turn, until one run ends by itself
    at += 1
    folder = target / str(at)
    folder.mkdir(parents=True)
    for kill in (True, False):
        child = os.fork()
        if not child:
            done = 0 if kill else done
            cache.prepare(source, folder / "a.npy", size=8, skip_bad=True)
            os._exit(0)
        ended = os.waitpid(child, 0)[1]
        status = ended if kill else status
        assert kill or not ended, f"cannot go on after operation {at}"
print(at)
"""


@on_linux
@pytest.mark.parametrize("source", ["bad tar.gz"], indirect=True)
def test_a_kill_before_any_file_operation_costs_nothing_and_leaves_nothing(source, tmp_path):
    whole = made(source, tmp_path / "whole.npy")
    command = [sys.executable, "-c", KILLED, str(source.path), str(tmp_path / "kills")]
    kills = int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert kills > 40
    for folder in (tmp_path / "kills").iterdir():
        assert made(source, folder / "a.npy") == whole
        assert len(list(folder.iterdir())) == 3


PREPARE = """
import sys
from minicoulomb.data import cache, decoding, partial
from minicoulomb.data.archives import Zip
cache.BATCH, decoding.WORTHWHILE, partial.JOURNAL_EVERY = 2, 1, 0
print("ready", flush=True)
cache.prepare(Zip(sys.argv[1]), sys.argv[2], size=8, skip_bad=True, workers=int(sys.argv[3]))
"""


def test_a_script_needs_no_main_guard(tmp_path):
    source = SOURCES["zip"](tmp_path / "source")
    (tmp_path / "script.py").write_text(PREPARE)
    command = [sys.executable, tmp_path / "script.py", source.path, tmp_path / "a.npy", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ready\n", "")
    assert levels(np.load(tmp_path / "a.npy")) == list(range(N))


def alive(pid):
    return status_of(pid)[0] not in "ZX"


def all_end(pids):
    deadline = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


def kill_and_go_on(tmp_path, times, rng):
    files = {f"{i:04d}.png": encoded(i % 25) for i in range(300)} | {"0100.png": b"no image"}
    source = Zip(write_zip(tmp_path / "a.zip", files))
    whole = made(source, tmp_path / "whole.npy")
    target, partial = tmp_path / "a.npy", tmp_path / ".a.npy.partial"
    resumed = 0
    for i in range(times):
        command = [sys.executable, "-c", PREPARE, str(source.path), str(target), str(1 + i % 2)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdout.readline()
        if i:
            time.sleep(rng.uniform(0, 1.0 if i % 2 else 0.25))
        else:  # the first of them in the midst of its work, however fast the machine
            while not partial.exists() and process.poll() is None:
                time.sleep(0.001)
        children = children_of(process.pid)
        process.kill()
        process.communicate()
        assert all_end(children), "a decoding process has outlived its parent"
        resumed += partial.exists()
    assert made(source, target) == whole
    return resumed


@on_linux
def test_a_killed_preparation_goes_on_to_the_same_bytes(tmp_path):
    assert kill_and_go_on(tmp_path, 4, random.Random(0))


@pytest.mark.slow
@on_linux
def test_a_preparation_killed_thirty_times_goes_on_every_time(tmp_path):
    kill_and_go_on(tmp_path, 30, random.Random(1))


@on_linux
@pytest.mark.parametrize("delay", [0, 0.5])  # while they start, and in the midst of their work
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_ends_all_processes_cleanly(tmp_path, number, status, delay):
    path = write_zip(tmp_path / "a.zip", {f"{i:05d}.png": encoded(0) for i in range(5000)})
    command = [sys.executable, "-m", "minicoulomb", "prepare", str(path), str(tmp_path / "a.npy")]
    command += ["--workers", "2", "--size", "256"]
    # A shell that starts this in the background has it ignore SIGINT, and what it starts as well.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True)
    signal.signal(signal.SIGINT, before)
    children = []
    while len(children) < 2 and process.poll() is None:
        children = children_of(process.pid)
        time.sleep(0.02)
    time.sleep(delay)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == status, errors
    assert b"Traceback" not in errors
    assert all_end(children)
    assert not (tmp_path / "a.npy").exists()
