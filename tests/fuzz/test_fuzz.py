"""The harness notices what it is there for."""

import mmap
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minicoulomb.errors import UserError
from minicoulomb.files import check_unfolded

from . import bombs, files, kills, options
from .damage import apply, draw, flip, shrunk
from .trial import Fault, command, fault, forked


def error():
    print("Error: points.npy: not finite; remove NaN", file=sys.stderr)
    sys.exit(1)


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def much():
    """600 MB of new pages; malloc would lend out again what other tests have freed."""
    mmap.mmap(-1, 6 * 10**8, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)


def traceback():
    check_unfolded("a.zip", "many", 1)


def escape():
    print("Error: \x1b[2J", file=sys.stderr)
    sys.exit(1)


def program():
    pickle.loads(b"cos\nsystem\n(S'true'\ntR.")


FAULTS = {
    "executed os.system": lambda: os.system("true"),
    "executed subprocess": lambda: subprocess.run(["true"]),
    "executed pickle.find_class": program,
    "executed a change of ../elsewhere": lambda: Path("../elsewhere").touch(),
    "executed a change of ../there": lambda: (Path("here").touch(), Path("here").rename("../there")),
    "executed a change of /dev/.draft": lambda: Path("/dev/.draft").touch(),
    "SIGSEGV": crash,
    "over 500 MB": much,
    "minicoulomb.errors.UserError": lambda: (_ for _ in ()).throw(UserError("a: b; c")),
    "TypeError": traceback,
    "status 3": lambda: sys.exit(3),
    "no message": lambda: sys.exit(1),
    "raw control characters": escape,
    "a long message": lambda: print("x" * 10**5),
}


@pytest.mark.parametrize("what", FAULTS)
def test_each_fault_is_noticed(tmp_path, what):
    folder = tmp_path / "case"
    folder.mkdir()
    outcome = forked(FAULTS[what], folder)
    assert fault(outcome).what.startswith(what), outcome


def test_an_honest_error_is_no_fault(tmp_path):
    (tmp_path / "case").mkdir()
    assert fault(forked(error, tmp_path / "case")) is None
    assert fault(forked(lambda: None, tmp_path / "case")) is None
    assert fault(command(["train", "--nothing"], tmp_path / "case")) is None


def test_a_traceback_names_the_innermost_frame_of_the_package(tmp_path):
    (tmp_path / "case").mkdir()
    assert fault(forked(traceback, tmp_path / "case")).frame.startswith("files.py:")


def test_a_hang_is_noticed_and_a_wait_for_others_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("fuzz.trial.SECONDS", 1)

    def loop():
        while True:
            pass

    (tmp_path / "case").mkdir()
    assert fault(forked(loop, tmp_path / "case")).what == "over 1 s"
    assert fault(forked(lambda: time.sleep(1.5), tmp_path / "case")) is None


def test_a_kill_comes_before_its_file_operation(tmp_path):
    (tmp_path / "case").mkdir()
    argv = ["sample", "--help"]
    assert command(argv, tmp_path / "case", FUZZ_KILL=0, FUZZ_COUNT=tmp_path / "case/count").status == 0
    assert (tmp_path / "case/count").read_text() == "0"


def test_damage_is_the_same_for_the_same_seed_and_is_made_small():
    content = bytes(range(256)) * 4
    edits = draw(random.Random(3), content)
    assert edits == draw(random.Random(3), content)
    at, _, new = flip(random.Random(3), content)[0]
    assert bin(new[0] ^ content[at]).count("1") == 1
    fails = lambda edits: apply(content, edits)[500] == 0
    found = shrunk([(3, 9, b"abcdef"), (400, 600, bytes(200)), (900, 950, b"")], content, fails)
    assert found == [(500, 501, b"\0")]


def test_faults_are_grouped_by_kind_and_frame():
    assert Fault("KeyError", "a.py:1 f") == Fault("KeyError", "a.py:1 f") != Fault("KeyError", "a.py:2 f")


# A small part of the attacks themselves.


@pytest.fixture(scope="module")
def attack(tmp_path_factory):
    return files.Attack(tmp_path_factory.mktemp("attack"), least_share=1.0)


@pytest.mark.parametrize(("part", "cases"), [("damage", 74), ("flips", 40)])
def test_no_damaged_file_does_harm(attack, part, cases):
    assert not [failure for number in range(cases) if (failure := attack.case(part, 0, number))]


def test_no_kill_does_harm(tmp_path):
    attack = kills.Attack(tmp_path, 0, ["resume", "prepare zip"])
    assert not attack.wrong
    assert not [failure for number in range(4) if (failure := attack.case(number))]


def test_no_bomb_goes_off(tmp_path):
    assert not any(bombs.attack("bombs", 0, range(17, 20), tmp_path, 1))


def test_no_extreme_option_does_harm(tmp_path):
    assert not any(options.attack("options", 0, range(0, 1000, 50), tmp_path, 1))
