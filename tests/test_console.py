"""What a run shows, on a terminal and elsewhere."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

from minicoulomb.console import Progress

ROOT = Path(__file__).parents[1]
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


def test_elsewhere_there_are_plain_lines(tmp_path):
    result = subprocess.run([*COMMAND, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "\x1b" not in result.stdout
    assert "\r" not in result.stdout
    steps = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("step ")]
    assert steps == ["1/400", "100/400", "200/400", "300/400", "400/400"]
    assert result.stderr == ""


def test_a_long_count_tells_its_speed_and_the_time_left(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    show = Progress("samples")
    assert show(64, 6464) == "samples 64/6,464"
    now += 10
    assert show(128, 6464) == "samples 128/6,464  6.4 images/s  16:30 left"
    now += 5
    assert show(64, 6464) == "samples 64/6,464"  # counted anew
