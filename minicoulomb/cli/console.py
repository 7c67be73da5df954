"""Output of the commands: progress bars on a terminal, plain lines elsewhere, remarks on standard error."""

import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from minicoulomb.errors import printable
from minicoulomb.training.run import RunDirectory

# Characters of a bar, of the space behind it and the last column, and of click's time left.
WIDTH, SPACES, CLOCK = 10, 2, 11
# Steps after which the time of a run is estimated, and seconds left from which on faster choices are named.
MEASURED, LONG = 10, 20 * 60
# Seconds after which the progress of what is mostly quick is shown.
PATIENCE = 1.0
# Seconds between the lines that show progress where there is no terminal.
PAUSE = 30.0
# Seconds of the longest time left that is shown, below the limit of a timedelta.
LONGEST = 10**13
# The most important ones first, because a narrow terminal cuts the end off. An objective may lack some.
FORMATS = {
    "loss_d": "loss_d {:.4f}",
    "loss_g": "loss_g {:+.4f}",
    "mmd2": "batch mmd2 {:.5f}",
    "samples_per_second": "{:,.0f} samples/s",
    "r2": "r2 {:+.2f}",
}
# Of the samples in a picture.
PICTURED = {
    "sample_mmd2": "mmd2 {:.5f}",
    "mmd2_floor": "floor {:.5f}",
    "js4": "4-grams {:.3f}",
    "js4_floor": "floor {:.3f}",
    "modes20": "modes20 {}",
    "high_quality": "high quality {:.3f}",
    "classes": "classes {}",
    "d_correlation": "D's correlation {:.2f}",
    "d_correlation_limit": "limit {:.2f}",
}


class Console:
    """Output of one run, on standard output and in its log.txt.

    faster   options that would shorten the run, for one that turns out to be long
    """

    def __init__(self, run: RunDirectory, first: int, steps: int, faster: str = ""):
        self.run, self.first, self.steps, self.faster = run, first, steps, faster
        self.start: tuple[int, float] | None = None
        self.estimated = False
        self.bar = _bar(steps - first, sys.stdout, show_eta=False) if sys.stdout.isatty() else None

    def line(self, text: str) -> None:
        """Log and print a line."""
        self.run.log(printable(text))
        click.echo("\r\x1b[K" * bool(self.bar), nl=False)
        say(text)

    def report(self, metrics: dict[str, Any], logged: bool) -> None:
        """Show a step's metrics on the bar; without a terminal, and in the log, as a line for each logged step."""
        step = metrics["step"]
        if "fid" in metrics:
            self.line(f"step {step}: FID {metrics['fid']:.3f}" + ", the lowest so far" * metrics["best"])
        if pictured := _numbers(PICTURED, metrics):
            self.line(f"samples at step {step}:  {'  '.join(pictured)}")
        numbers, left = _numbers(FORMATS, metrics), self._seconds_left(step)
        if left is not None:
            numbers.insert(0, f"{_clock(left)} left")
        text = "  ".join([f"step {step}/{self.steps}", *numbers])
        if logged:
            self.run.log(text)
        if self.bar:
            _advance(self.bar, step - self.first, text.removeprefix("step "))
        elif logged:
            say(text)

    def _seconds_left(self, step):
        """An estimate that leaves out the first step, which is slow; None at that step. A long one is printed once."""
        self.start = began, since = self.start or (step, time.monotonic())
        if step == began:
            return None
        left = (time.monotonic() - since) / (step - began) * (self.steps - step)
        if step - began >= MEASURED and not self.estimated:
            self.estimated = True
            if left > LONG:
                self.line(f"about {in_words(left)} left" + f"; faster: {self.faster}" * bool(self.faster))
        return left


def _numbers(formats, metrics):
    return [form.format(metrics[name]) for name, form in formats.items() if name in metrics]


def showing(what: str, unit: str = "images", patience: float = 0) -> Callable[[int, int], None]:
    """A callback progress(done, total) that shows a bar with the speed and the time left.

    Without a terminal it prints a line every PAUSE seconds instead.

    patience   seconds that a count lasts before it is shown
    """
    is_terminal = sys.stderr.isatty()
    wait, again = (patience, patience / 10) if is_terminal else (PAUSE, PAUSE)
    bar: Any = None
    last, due, is_shown = math.inf, 0.0, False

    def show(done: int, total: int) -> None:
        nonlocal bar, last, due, is_shown
        now = time.time()
        if done <= last:  # a new count, perhaps continued after an interruption
            bar, due, is_shown = _bar(total - done, sys.stderr), now + wait, False
        last = done
        if now < due and not (is_shown and done == total):
            return
        due, is_shown = now + again, True
        steps, seconds = done - (total - bar.length), now - bar.start
        speed = f"  {steps / seconds:,.1f} {unit}/s" if steps and seconds > 0 else ""
        text = f"{what} {done:,}/{total:,}{speed}"
        if not is_terminal:
            warn(f"{text}  {_clock(seconds / steps * (total - done))} left")
            return
        _advance(bar, steps, text)
        if done == total:
            bar.render_finish()

    return show


def _bar(length, file, show_eta=True):
    """A progress bar by click, in colours unless NO_COLOR is set (no-color.org)."""
    full, empty = "█░" if "utf" in (file.encoding or "").lower() else "#-"
    colours = {"fill_char": click.style(full, "green"), "empty_char": click.style(empty, "bright_black")}
    colours |= {"color": False} if os.environ.get("NO_COLOR") else {}
    shown = {"bar_template": "%(bar)s %(info)s", "item_show_func": str, "show_percent": False, "width": WIDTH}
    return click.progressbar(length=length, file=file, update_min_steps=0, show_eta=show_eta, **shown, **colours)


def _advance(bar, done, text):
    """Show `done` of the bar's length, and as many parts of the text, which two spaces separate, as fit."""
    width = shutil.get_terminal_size().columns - WIDTH - SPACES - CLOCK * bar.show_eta
    if len(text) > width:
        text = text[: width + 2].rpartition("  ")[0] or text[:width]
    bar.update(done - bar.pos, text)
    bar.file.write("\x1b[?25h")  # click hides the cursor, and a killed process cannot show it again


def say(*lines: str, err: bool = False) -> None:
    """Print lines, however odd the names in them, in any encoding of the output."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    text = "\n".join(map(printable, lines))
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)


def _clock(seconds):
    return timedelta(seconds=round(min(seconds, LONGEST)))


def in_words(seconds: float) -> str:
    """ "40 min", "3 h 20 min", "12 days"."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 48:
        return f"{hours // 24:,} days"
    return f"{hours} h " * bool(hours) + f"{minutes} min"


def count_of(n: int, noun: str) -> str:
    """ "1 image", "2 images"."""
    return f"{n} {noun}" + "s" * (n != 1)


def skipped(name: str, reason: str) -> None:
    """Print the name of an image that was left out, and the reason, on standard error."""
    warn(f"skipped {name}: {reason}")


def warn(text: str | None) -> None:
    """Print a remark, if any, on standard error, apart from the output."""
    if text:
        say(text, err=True)


def table(metrics: dict[str, Any]) -> list[str]:
    """A line for each name and value."""
    width = max(18, 2 + max(map(len, metrics)))
    return [f"  {name:<{width}}{_shown(value)}" for name, value in metrics.items()]


def _shown(value):
    if value is None:
        return "unknown"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
