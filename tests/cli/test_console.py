"""What a run shows, on a terminal and elsewhere."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

from data_files import contents, write_folder

from minicoulomb.cli.console import Progress

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "minicoulomb", "train", "--preset", "ring", "--steps", "400", "--batch-size", "16"]


def on_a_terminal(command, **environment):
    """What `command` writes to a terminal 100 columns wide."""
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", **environment}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=slave, stderr=slave)
    os.close(slave)
    output = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # Linux's way of saying that the other end is closed
            break
        if not piece:
            break
        output += piece
    os.close(master)
    assert process.wait() == 0, output
    return output.decode()


def test_a_terminal_shows_a_bar_that_is_rewritten(tmp_path):
    output = on_a_terminal([*COMMAND, "--out", str(tmp_path)], NO_COLOR="")
    assert "█" in output
    assert "\x1b[32m" in output
    assert "\r" in output
    assert all(word in output for word in ("loss_d", "loss_g", "mmd2", "samples/s", "left"))
    log = (tmp_path / "00000-ring" / "log.txt").read_text()
    assert "\x1b" not in log
    assert "step 400/400" in log


def test_no_color_is_respected(tmp_path):
    output = on_a_terminal([*COMMAND, "--out", str(tmp_path)], NO_COLOR="1")
    assert "█" in output
    assert "\x1b[3" not in output
    assert "\x1b[9" not in output


def test_preparing_shows_the_speed_and_the_time_left_of_this_run_alone(capsys, monkeypatch):
    preparing = Progress("preparing")
    for now, done in ((100.0, 1000), (101.0, 1100), (101.1, 1110), (106.0, 1600), (111.0, 2000)):
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        preparing(done, 2000)
    lines = capsys.readouterr().err.split("\r")[1:]
    assert [line.split("preparing ")[1].rstrip("\x1b[K\n") for line in lines] == [
        "1,000/2,000",
        "1,100/2,000  100 images/s  0:09 left",
        "1,600/2,000  100 images/s  0:04 left",
        "2,000/2,000  90.9 images/s  0:00 left",
    ]
    assert lines[-1].endswith("\n")


def test_preparing_is_shown_on_a_terminal_alone(tmp_path):
    write_folder(tmp_path / "photos", contents(5))
    command = [*COMMAND[:3], "prepare", str(tmp_path / "photos"), str(tmp_path / "a.npy")]
    assert "preparing 5/5" in on_a_terminal(command)
    (tmp_path / "a.npy").unlink()
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == (f"5 images: {tmp_path / 'a.npy'}\n", "")


def test_elsewhere_there_are_plain_lines(tmp_path):
    result = subprocess.run([*COMMAND, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "\x1b" not in result.stdout
    assert "\r" not in result.stdout
    steps = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("step ")]
    assert steps == ["1/400", "100/400", "200/400", "300/400", "400/400"]
    assert result.stderr == ""


def test_a_count_may_begin_anew(capsys, monkeypatch):
    show = Progress("samples")
    for now, done in ((100.0, 64), (110.0, 128), (115.0, 64)):
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        show(done, 6464)
    lines = [line.split("samples ")[1].rstrip("\x1b[K") for line in capsys.readouterr().err.split("\r")[1:]]
    assert lines == ["64/6,464", "128/6,464  6.4 images/s  16:30 left", "64/6,464"]
