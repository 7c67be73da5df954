"""What a run shows: a status line that is rewritten in place on a terminal, plain lines elsewhere."""

import math
import os
import shutil
import sys
import time
from typing import Any

import click

from minicoulomb.arrays.backend import Backend
from minicoulomb.training.run import RunDirectory

# Seconds between two states of the status line.
REFRESH = 0.2
BAR = 10


class Console:
    """Tells of one run, on standard output and in its log.txt."""

    def __init__(self, run: RunDirectory, first: int, steps: int):
        self.run, self.first, self.steps = run, first, steps
        self.terminal = sys.stdout.isatty()
        self.began = self.shown = time.monotonic()

    def line(self, text: str) -> None:
        """A line of its own, on the screen and in the log."""
        if self.terminal:
            click.echo("\r\x1b[K", nl=False)
        click.echo(text)
        self.run.log(text)

    def report(self, metrics: dict[str, Any], logged: bool) -> None:
        """One step's metrics: the status line on a terminal; elsewhere, and in the log, a line for each logged step."""
        if "fid" in metrics:
            self.line(f"step {metrics['step']}: FID {metrics['fid']:.3f}" + ", the lowest so far" * metrics["best"])
        now = time.monotonic()
        done = metrics["step"] - self.first
        left = (now - self.began) / done * (self.steps - metrics["step"])
        # What matters most comes first: a narrow terminal cuts the end off. Not every objective has all of it.
        formats = {"loss_d": ".4f", "loss_g": "+.4f", "mmd2": ".5f", "samples_per_second": ",.0f", "r2": "+.2f"}
        seen = {name: f"{name} {metrics[name]:{form}}" for name, form in formats.items() if name in metrics}
        seen["samples_per_second"] = f"{metrics['samples_per_second']:,.0f} samples/s"
        text = "  ".join([f"{metrics['step']}/{self.steps}", f"{_clock(left)} left", *seen.values()])
        if logged:
            self.run.log(f"step {text}")
        if not self.terminal:
            if logged:
                click.echo(f"step {text}")
        elif now - self.shown >= REFRESH:
            self.shown = now
            click.echo(_status_line(metrics["step"] / self.steps, text), nl=False)


class Progress:
    """A long count on a terminal: what, how many of how many, how fast in `unit` a second, and the time left."""

    def __init__(self, what: str, unit: str = "images"):
        self.what, self.unit, self.before = what, unit, math.inf

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done <= self.before:  # a count begins, perhaps from where it was interrupted; and workers take time to start
            self.first, self.began, self.shown = done, now, 0.0
        self.before = done
        if now - self.shown < REFRESH and done < total:
            return
        self.shown = now
        text = f"{self.what} {done:,}/{total:,}"
        if done > self.first and now > self.began:
            speed = (done - self.first) / (now - self.began)
            text += f"  {speed:,.{0 if speed >= 100 else 1}f} {self.unit}/s  {_clock((total - done) / speed)} left"
        click.echo(_status_line(done / total, text) + "\n" * (done == total), nl=False, err=True)


def showing(what: str, unit: str = "images") -> Progress | None:
    """A callback that shows how far a long count is, on a terminal."""
    return Progress(what, unit) if sys.stderr.isatty() else None


def tell_choice(backend: Backend) -> None:
    """What --backend auto chose and why, beside the output, which may be JSON."""
    if backend.choice:
        click.echo(backend.choice, err=True)


def tell_skipped(name: str, reason: str) -> None:
    """That an image was left out, and why."""
    click.echo(f"skipped {name}: {reason}", err=True)


def warn(text: str | None) -> None:
    """A remark beside the output, if there is one."""
    if text:
        click.echo(text, err=True)


def table(metrics: dict[str, Any]) -> list[str]:
    """Names and values, a line for each."""
    return [f"  {name:<18}{_shown(value)}" for name, value in metrics.items()]


def _status_line(share, text):
    filled = int(BAR * share)
    bar = _colour("█" * filled, "green") + _colour("░" * (BAR - filled), "bright_black")
    return f"\r{bar} {text[: shutil.get_terminal_size().columns - BAR - 2]}\x1b[K"


def _colour(text, colour):
    """Coloured, unless NO_COLOR is set (no-color.org)."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=colour)


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _shown(value):
    if value is None:
        return "unknown"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
