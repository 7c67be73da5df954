"""The part options: extreme values of each option of each command, alone."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from .kinds import RUN, TINY, cli, make_world
from .trial import DIVERGED, KEPT, Failure, Fault, fault, forked, place, spread

INTEGERS = ["0", "-1", "1", "2147483648", "9223372036854775808", "1" + "0" * 30, "nan", "²", ""]
FLOATS = ["0", "-1", "1e-320", "1e-8", "1e30", "1e308", "inf", "nan", "-0.0"]
TEXTS = ["", "~", ".", "-", "a" * 300, "\udcff", "a\x1b[2Jb\nc", "/dev/null", "/dev/zero", "no/such", "ä" * 130]
TEXTS += ["pipe", "loop", "points.npy/x"]
VALUES = {"integer": INTEGERS, "float": FLOATS, "text": TEXTS, "path": TEXTS}

# A short call of each command, to which one option is added.
CALLS = {
    "train": ["--preset", "ring", *TINY, "--steps", "4", "--until", "2"],
    "sample": [RUN, "-o", "out.npz", "-n", "2"],
    "evaluate": [RUN, "-n", "8"],
    "field": [RUN, "-o", "out.png"],
    "particles": ["-o", "out.gif", "-n", "8", "--steps", "2"],
    "plot": [RUN, "-o", "out.svg"],
    "report": [RUN, "-o", "out.html"],
    "stats": ["digits", "-o", "out.npz"],
    "prepare": ["faces", "out.npy", "--workers", "1"],
    "models": ["mlp"],
    "gradcheck": ["--model", "mlp"],
}

# What may last by right: a file of 16 GB.
LONG = {("sample", "-n2147483648")}


def calls() -> Iterator[list[str]]:
    """Each command with each extreme value."""
    from minicoulomb.cli.main import main

    for name, words in CALLS.items():
        for parameter in main.get_command(click.Context(main), name).params:
            option = parameter.opts[0]
            for value in VALUES.get(parameter.type.name.split()[0], ()):
                named = f"{option}{'=' * option.startswith('--')}{value}"
                if isinstance(parameter, click.Option) and (name, named) not in LONG:
                    yield [name, *words, named]
                elif isinstance(parameter, click.Argument):
                    yield [name, *words[1:], "--", value]


def case(root, world, every, number):
    argv, folder = every[number], root / f"case-{number}"
    folder.mkdir()
    place(world, ["runs", "faces", "points.npy"], folder)
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    before = set(folder.rglob("*"))
    outcome = forked(cli(*argv), folder)
    found = fault(outcome)
    made = set(folder.rglob("*")) - before
    left = [] if outcome.status == 0 or DIVERGED in outcome.output else [p for p in made if not KEPT & set(p.parts)]
    if wrong := left or [path for path in made if ".tmp" in path.name]:
        found = found or Fault(f"an error left {wrong[0].relative_to(folder).parts[0]}")
    shutil.rmtree(folder)
    text = " ".join(argv)[:300].encode("utf-8", "backslashreplace").decode()
    return Failure(found, f"{argv[0]}: {text}", "M", outcome.output) if found else None


def attack(part: str, seed: int, numbers: range, root: Path, workers: int) -> Iterator[Failure | None]:
    """The failure, or None, of each call."""
    world = make_world(root / "world")
    every = list(calls())
    yield from spread(
        partial(case, root, world, every), range(len(every))[numbers.start : numbers.stop : numbers.step], workers
    )
