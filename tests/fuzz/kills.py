"""The part kills: SIGKILL before each file operation of a command, and what the next command makes of the rest.

Afterwards the run is resumed, or if there is none the same command is called again. Then every file must be what it is
without the kill: the same checkpoints and pictures to the byte, and no draft beside them.
"""

import json
import random
import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .kinds import RUN, TINY, make_world
from .trial import Failure, Fault, command, fault, place, spread, tree

TRAIN = ["train", "--preset", "ring", *TINY, *"--log-every 2 --sample-every 3 --checkpoint-every 2".split()]
RESUME = ["train", "--resume", RUN, "--steps", "12"]


class Story(NamedTuple):
    """command: what is killed; needs: what of the world lies there before; run: what the next command resumes.

    A command that makes or resumes a run ends with its --steps.
    """

    command: list[str]
    needs: str
    run: str = ""


def _prepare(source):
    return Story(["prepare", source, "out.npy", "--size", "8", "--workers", "1"], source)


def _draw(*argv):
    return Story([argv[0], RUN, *argv[1:]], "runs")


EARLIER = f"{RUN}/checkpoints/step-0000004.npz"
STORIES = {
    "train": Story([*TRAIN, "--steps", "12"], "", RUN),
    "resume": Story(RESUME, "runs", RUN),
    "rewind": Story(["train", "--resume", EARLIER, "--yes", "--steps", "12"], "runs", RUN),
    "init-from": Story([*TRAIN, "--init-from", RUN, "--steps", "4"], "runs", "runs/00001-ring"),
    "prepare zip": _prepare("a.zip"),
    "prepare tar.gz": _prepare("a.tar.gz"),
    "prepare folder": _prepare("faces"),
    "prepare lmdb": _prepare("lmdb"),
    "samples as a picture": _draw("sample", "-n", "4", "-o", "out.png"),
    "samples as an array": _draw("sample", "-n", "4", "-o", "out.npz"),
    "samples as files": Story(["sample", "images/00000-images", "-n", "3", "-o", "out"], "images"),
    "report": _draw("report", "-o", "out.html"),
    "plot": _draw("plot", "-o", "out.png"),
    "field": _draw("field", "-o", "out.png"),
}


class Attack:
    """The world, and for each story the number of its file operations and the files of its end."""

    def __init__(self, root: Path, seed: int, names: Iterable[str] = STORIES):
        self.root, self.world = root, make_world(root / "world")
        self.ends, self.wrong, self.cases = {}, [], []
        for name in names:
            found, files = self._uninterrupted(name)
            if found:
                self.wrong.append(Failure(found[0], f"{name}: without a kill", "R", found[1]))
                continue
            count = int(files.pop("count"))
            self.ends[name] = _essence(files)
            self.cases += [(name, [number]) for number in range(1, count + 1)]
        rng = random.Random(seed)
        rng.shuffle(self.cases)
        # More cases than operations: a second kill, of the command that goes on.
        self.cases += [(name, [at, rng.randint(1, at)]) for name, (at,) in self.cases]

    def _uninterrupted(self, name):
        folder = self.root / "whole"
        folder.mkdir()
        place(self.world, STORIES[name].needs.split(), folder)
        outcome = command(STORIES[name].command, folder, FUZZ_KILL=0, FUZZ_COUNT=folder / "count")
        found, files = fault(outcome) or (Fault(f"status {outcome.status}") if outcome.status else None), tree(folder)
        shutil.rmtree(folder)
        return (found, outcome.output) if found else None, files

    def case(self, number: int) -> Failure | None:
        name, kills = self.cases[number]
        story, folder = STORIES[name], self.root / f"case-{number}"
        folder.mkdir()
        place(self.world, story.needs.split(), folder)
        argv, found = story.command, None
        for at in kills:
            outcome = command(argv, folder, FUZZ_KILL=at)
            torn = [file for file, content in tree(folder).items() if _is_torn(file, content, self.ends[name])]
            found = found or (Fault(f"half-written {torn[0]}") if torn else None)
            if outcome.status != -signal.SIGKILL:  # it ended before
                found = found or fault(outcome)
            if story.run and (folder / story.run).exists():
                argv = ["train", "--resume", story.run, *story.command[-2:]]
        was_done = _essence(tree(folder)) == self.ends[name]  # then a command may refuse to do it again
        outcome = command(argv, folder)
        found = found or fault(outcome)
        found = found or (Fault("the next command fails") if outcome.status and not was_done else None)
        end, whole = _essence(tree(folder)), self.ends[name]
        shutil.rmtree(folder)
        if differing := sorted(file for file in end.keys() | whole.keys() if end.get(file) != whole.get(file)):
            drafts = [file for file in differing if ".tmp" in file]
            found = found or Fault("a draft stays" if drafts else f"not as without a kill: {differing[0]}")
        what = f"{name}: killed before file operation {' and '.join(map(str, kills))}"
        return Failure(found, what, "R", outcome.output) if found else None


def _essence(files):
    """What must be equal: all but times and speeds, and earlier checkpoints, of which one more may be there."""
    found = {}
    checkpoints = sorted(name for name in files if "/step-" in name and name.endswith(".npz"))
    for name, content in files.items():
        if name.endswith("metrics.jsonl"):
            lines = map(json.loads, content.splitlines())
            found[name] = [{k: v for k, v in line.items() if "second" not in k} for line in lines]
        elif name.endswith("out.npy.json"):
            found[name] = {k: v for k, v in json.loads(content).items() if k != "array"}
        elif not name.endswith(("log.txt", "count", "lock")) and name not in checkpoints[:-1]:
            found[name] = content
    return found


def _is_torn(name, content, end):
    """Whether a file that a killed command left under its final name is not whole."""
    return name.startswith("out") and name in end and isinstance(end[name], bytes) and content != end[name]


def attack(part: str, seed: int, numbers: range, root: Path, workers: int) -> Iterator[Failure | None]:
    """The failure, or None, of each case; first the stories that fail without a kill."""
    attack = Attack(root, seed)
    yield from attack.wrong
    yield from spread(attack.case, range(len(attack.cases))[numbers.start : numbers.stop], workers)
