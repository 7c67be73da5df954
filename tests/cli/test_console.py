"""The output of a run, on a terminal and elsewhere."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from data_files import contents, write_folder

from minicoulomb.cli import console
from minicoulomb.cli.train import _faster
from minicoulomb.presets import resolve

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
    assert all(word in output for word in ("loss_d", "loss_g", "mmd2", "samples/s"))
    log = (tmp_path / "00000-ring" / "log.txt").read_text()
    assert "\x1b" not in log
    assert "step 400/400  0:00:00 left" in log


def test_no_color_is_respected(tmp_path):
    output = on_a_terminal([*COMMAND, "--out", str(tmp_path)], NO_COLOR="1")
    assert "█" in output
    assert "\x1b[3" not in output
    assert "\x1b[9" not in output


SHOWING = """
import time
from minicoulomb.cli.console import showing

show = showing({what!r}, patience={patience})
for now, done in {calls}:
    time.time = lambda: now
    show(done, {total})
"""


def shown(what, total, *calls, columns="100", patience=0, encoding="utf-8"):
    """The states of a bar without the bar itself, for calls at (now, done); and all output."""
    script = SHOWING.format(what=what, total=total, calls=calls, patience=patience)
    encoded = {"PYTHONIOENCODING": encoding}
    output = on_a_terminal([sys.executable, "-c", script], NO_COLOR="1", COLUMNS=columns, **encoded)
    states = output.replace("\x1b[?25h", "").replace("\x1b[?25l", "").split("\r")
    return [state.lstrip("█░#- ").rstrip() for state in states if state.strip()], output


def test_preparing_shows_the_speed_and_the_time_left_of_this_run_alone():
    """1,000 of 2,000 images were prepared before."""
    states, output = shown("preparing", 2000, (100.0, 1000), (101.0, 1100), (106.0, 1600), (111.0, 2000))
    assert states == [
        "preparing 1,000/2,000",
        "00:00:09  preparing 1,100/2,000  100.0 images/s",
        "00:00:04  preparing 1,600/2,000  100.0 images/s",
        "preparing 2,000/2,000  90.9 images/s",
    ]
    assert output.endswith("\n")


def test_a_narrow_terminal_cuts_the_text_off_and_the_cursor_is_visible_after_each_state():
    for columns in ("40", "60"):
        _, output = shown("preparing a long name of a folder", 2000, (0.0, 1), (9.0, 1000), columns=columns)
        states = re.sub(r"\x1b\[\?25.", "", output).split("\r")
        assert max(map(len, states)) < int(columns)
    assert output.rfind("\x1b[?25h") > output.rfind("\x1b[?25l")


def test_preparing_is_shown_on_a_terminal_alone(tmp_path):
    write_folder(tmp_path / "photos", contents(5))
    command = [*COMMAND[:3], "prepare", str(tmp_path / "photos"), str(tmp_path / "a.npy")]
    assert "preparing 5/5" in on_a_terminal(command)
    (tmp_path / "a.npy").unlink()
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == f"5 images: {tmp_path / 'a.npy'}\n"
    assert re.fullmatch("photos: 5 images of .*\n", result.stderr)


def test_elsewhere_there_are_plain_lines(tmp_path):
    result = subprocess.run([*COMMAND, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "\x1b" not in result.stdout
    assert "\r" not in result.stdout
    steps = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("step ")]
    assert steps == ["1/400", "100/400", "200/400", "300/400", "400/400"]
    assert result.stderr == ""


def test_a_count_may_begin_anew():
    states, _ = shown("samples", 6464, (100.0, 64), (110.0, 128), (115.0, 64))
    assert states == ["samples 64/6,464", "00:16:30  samples 128/6,464  6.4 images/s", "samples 64/6,464"]


def test_a_clock_that_stands_still_gives_no_speed():
    assert shown("samples", 10, (5.0, 1), (5.0, 5))[0] == ["samples 1/10", "samples 5/10"]


def test_what_is_quick_shows_no_bar_and_what_is_slow_does():
    """Each count has its own patience: the first one ends in time."""
    assert shown("parts", 3, (100.0, 1), (100.5, 2), (100.9, 3), patience=1)[1] == ""
    calls = (100.0, 1), (100.5, 3), (200.0, 1), (201.5, 2), (202.5, 3)
    assert shown("parts", 3, *calls, patience=1)[0] == ["00:00:01  parts 2/3  0.7 images/s", "parts 3/3  0.8 images/s"]


def test_a_terminal_of_ascii_shows_a_bar_of_ascii():
    states, output = shown("samples", 10, (5.0, 1), (6.0, 5), encoding="ascii")
    assert output.isascii()
    assert states[-1].endswith("samples 5/10  4.0 images/s")


def test_what_the_output_cannot_encode_is_shown_as_escapes(tmp_path):
    command = [*COMMAND[:3], "models", "mlp", "--size", "8"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    program = "from minicoulomb.cli.console import say; say('é and', 'π'); say('é', err=True)"
    for call in (command, [sys.executable, "-c", program]):
        result = subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("\\xe9 and\n\\u03c0\n", "\\xe9\n")


def reported(monkeypatch, calls, steps, faster=""):
    """The log of a run whose steps are reported at the times of `calls`, (step, seconds)."""
    lines, clock = [], SimpleNamespace()
    monkeypatch.setattr(console, "time", clock)
    shown = console.Console(SimpleNamespace(log=lines.append), 0, steps, faster)
    for step, now in calls:
        clock.monotonic = lambda now=now: now
        shown.report({"step": step}, logged=True)
    return lines


def test_the_time_left_of_endless_steps_is_shown(monkeypatch):
    """A timedelta has at most 2.7 million years."""
    lines = reported(monkeypatch, [(1, 10.0), (2, 20.0)], 10**30)
    assert lines[1].startswith(f"step 2/{10**30}  115740740 days, ")


def test_the_time_left_leaves_out_the_first_step(monkeypatch):
    """It took a minute, and others take a second."""
    lines = reported(monkeypatch, [(1, 60.0), (2, 61.0), (30, 89.0), (100, 159.0)], 100, faster="a sledge")
    assert lines == [
        "step 1/100",
        *(f"step {n}/100  0:{(100 - n) // 60:02}:{(100 - n) % 60:02} left" for n in (2, 30, 100)),
    ]


def test_after_ten_steps_a_long_run_names_faster_choices_once(monkeypatch):
    calls = [(1, 60.0), (6, 160.0), (11, 180.0), (21, 300.0)]
    lines = reported(monkeypatch, calls, 1011, faster="fewer --steps, --batch-size 64")
    assert [line for line in lines if "about" in line] == [
        "about 3 h 20 min left; faster: fewer --steps, --batch-size 64"
    ]
    assert lines.index("about 3 h 20 min left; faster: fewer --steps, --batch-size 64") == 2
    assert not [line for line in reported(monkeypatch, calls, 108, faster="a sledge") if "about" in line]
    assert reported(monkeypatch, calls, 1011)[2] == "about 3 h 20 min left"


def test_a_time_is_put_into_words():
    times = {1500: "25 min", 12000: "3 h 20 min", 47 * 3600: "47 h 0 min", 10**6: "11 days", 10**13: "115,740,740 days"}
    assert {seconds: console.in_words(seconds) for seconds in times} == times


def test_the_faster_choices_are_lower_than_the_run_s_own_and_apply():
    faster = lambda *shape, **chosen: _faster(resolve("paper-images", data="x", **chosen), shape)
    assert faster(64, 64, 3) == "fewer --steps, --batch-size 64, --g-width 32, --d-width 32, --size 32"
    assert faster(28, 28, 1) == "fewer --steps, --batch-size 64, --g-width 32, --d-width 32"
    assert faster(64, 64, 3, batch_size=64, g_width=8, d_width=48) == "fewer --steps, --d-width 32, --size 32"
    assert faster(2, batch_size=16, l2=0.0, objective="field") == "fewer --steps, --g-width 32"


def test_a_status_line_is_cut_between_numbers(tmp_path):
    output = on_a_terminal([*COMMAND, "--out", str(tmp_path)], NO_COLOR="1", COLUMNS="60")
    states = [state for state in re.split(r"[\r\n]", re.sub(r"\x1b\[(\?25.|K)", "", output)) if "/400" in state]
    assert len(states) > 3
    for state in states:
        assert len(state) <= 60
        assert re.fullmatch(
            r"[█░]{10} \d+/400(  0:00:\d\d left)?  loss_d \d\.\d{4}(  loss_g .\d\.\d{4})?", state.strip()
        )


def test_what_lasts_is_shown_every_half_minute_without_a_terminal(capsys, monkeypatch):
    clock = SimpleNamespace()
    monkeypatch.setattr(console, "time", clock)
    monkeypatch.setattr(console, "_bar", lambda length, file: SimpleNamespace(length=length, start=100.0))
    show = console.showing("samples", "samples", patience=1)
    for now, done in (
        (100.0, 1),
        (129.0, 290),
        (131.0, 310),
        (140.0, 400),
        (162.0, 620),
        (170.0, 700),
        (200.0, 1),
        (201.0, 700),
    ):
        clock.time = lambda now=now: now
        show(done, 700)
    assert capsys.readouterr().err == (
        "samples 310/700  10.0 samples/s  0:00:39 left\n"
        "samples 620/700  10.0 samples/s  0:00:08 left\n"
        "samples 700/700  10.0 samples/s  0:00:00 left\n"
    )
