"""A run directory: everything that one training run leaves behind.

    runs/00000-grid/
        config.json                       the resolved configuration
        metrics.jsonl                     one JSON object for each logged step
        log.txt                           what the terminal showed, as plain lines
        samples/step-0001000.png          pictures; of text step-0001000.txt, lines
        checkpoints/step-0001000.npz      training states; the first is written with the directory itself
        checkpoints/best.npz, best.json   with --fid-every the state of the lowest FID, and {"step", "fid"}
        lock                              names the process that trains the run; gone when it ends

The directory appears whole, by renaming, so a run that exists can be resumed at whatever moment it is killed. Only
files with exactly these names are read, replaced or removed; all others are the user's.
"""

import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from minicoulomb.diagnostics import Diverged
from minicoulomb.errors import UserError, explained
from minicoulomb.files import atomic_write, draft, one_process, remove_drafts
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.checkpoint import Checkpoint

# Names of this folder's own files, as a regular expression.
OWN = r"(step-\d+|best)\.(npz|png|txt|json)|config\.json|metrics\.jsonl"
PICTURES = (".png", ".txt")

# Models that the package brings, in the folder `trained`; tests/pack_trained.py makes them from runs of these presets.
TRAINED = ("grid", "digits-conv")

# Bytes of a line of metrics.jsonl, which has about 300, and of the file: ten million lines, which take minutes.
LONGEST_LINE, LARGEST_FILE = 2**16, 2**32


class RunDirectory:
    """The directory `path` of one run."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def create(cls, out: Path, name: str, checkpoint: Checkpoint) -> "RunDirectory":
        """A new numbered directory in `out`, one above the highest number there, holding the first checkpoint."""
        with explained(f"{out}: cannot hold a run", "choose another --out"):
            out.mkdir(parents=True, exist_ok=True)
            with draft(out / "run", folder=True) as folder:
                run = cls(folder)
                run._make_folders()
                (folder / "config.json").write_text(checkpoint.config.to_json() + "\n")
                (folder / "metrics.jsonl").touch()
                run.save(checkpoint)
                paths = (out / f"{number:05d}-{name}" for number in count(_next_number(out)))
                while True:
                    path = next(paths)
                    try:
                        return cls(folder.rename(path))
                    except OSError:
                        if not path.exists():  # otherwise another run has just used the number
                            raise

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """The existing run in the directory `path`; UserError if it is none."""
        if not (path / "metrics.jsonl").is_file():
            rule = "not a run directory, without metrics.jsonl"
            raise UserError(f"{path}: {rule}; to start from a checkpoint alone use --init-from")
        return cls(path)

    def only_here(self) -> AbstractContextManager[bool]:
        """A context in which no other process trains the run; its value is false if the file system has no locks."""
        return one_process(self.path / "lock", str(self.path))

    def checkpoints(self) -> list[Path]:
        """The run's checkpoints, oldest first."""
        return list(self._numbered("checkpoints", ".npz").values())

    def later(self, step: int) -> list[int]:
        """The steps of the checkpoints after `step`."""
        return [number for number in self._numbered("checkpoints", ".npz") if number > step]

    def _numbered(self, folder, suffix):
        """{step: path} of the files step-N of a folder, in the order of their numbers."""
        paths = {path.stem.removeprefix("step-"): path for path in (self.path / folder).glob(f"step-*{suffix}")}
        found = {int(number): path for number, path in paths.items() if re.fullmatch("[0-9]{7}|[1-9][0-9]{7,}", number)}
        return dict(sorted(found.items()))

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write the checkpoint, then remove all but the last `keep_checkpoints`; Diverged if it is not finite."""
        path = self._checkpoint_path(checkpoint.state.step)
        with _written(path.parent):
            self._write(path, checkpoint)
            self._remove_old(checkpoint.config)
        return path

    def _checkpoint_path(self, step):
        return self.path / "checkpoints" / f"step-{step:07d}.npz"

    def _make_folders(self):
        for name in ("samples", "checkpoints"):
            (self.path / name).mkdir(exist_ok=True)

    def _remove_old(self, config):
        for old in self.checkpoints()[: -config.run.keep_checkpoints]:
            old.unlink()

    def _write(self, path, checkpoint):
        """Write a checkpoint, unless it is not finite: then Diverged names the last one that is."""
        try:
            checkpoints.save(path, checkpoint)
        except Diverged as error:
            steps = list(self._numbered("checkpoints", ".npz"))
            good = f"the run can resume from step {steps[-1]}" if steps else "it has no checkpoint left"
            raise Diverged(error.what, f"{error} at step {checkpoint.state.step}; {good}") from None

    def best(self) -> dict[str, Any] | None:
        """Step and FID of checkpoints/best.npz; None where there is none."""
        path = self._best(".json")
        if not path.exists():
            return None
        if _has_fid(best := _parsed(path.read_bytes())):
            return best
        return min(filter(_has_fid, self.entries()), key=lambda e: e["fid"], default=None)

    def save_best(self, checkpoint: Checkpoint, fid: float) -> bool:
        """Keep the checkpoint as best.npz if its FID is lower than the best so far; whether it is."""
        best = self.best()
        if not math.isfinite(fid) or (best and best["fid"] <= fid):
            return False
        self._write(self._best(".npz"), checkpoint)
        with atomic_write(self._best(".json")) as file:
            file.write(json.dumps({"step": checkpoint.state.step, "fid": fid}).encode())
        return True

    def _best(self, suffix):
        return self.path / "checkpoints" / f"best{suffix}"

    def picture_path(self, step: int, of_text: bool = False) -> Path:
        return self.path / "samples" / f"step-{step:07d}.{'txt' if of_text else 'png'}"

    def log_metrics(self, metrics: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl. JSON has no NaN and no infinity: they become null."""
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in metrics.items()}
        self._append("metrics.jsonl", json.dumps(finite))

    def log(self, line: str) -> None:
        """Append one line to log.txt."""
        self._append("log.txt", line)

    def _append(self, name, line):
        path = self.path / name
        with _written(path), path.open("a+b") as file:
            if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":  # torn by a kill
                file.write(b"\n")
            file.write(f"{line}\n".encode())

    def entries(self) -> Iterator[dict[str, Any]]:
        """The entries of metrics.jsonl, in the order of the file."""
        return (entry for _, entry in self._metrics())

    def _metrics(self):
        """(line, entry) of each whole line of metrics.jsonl, one at a time."""
        path = self.path / "metrics.jsonl"
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise UserError(f"{path}: has {size:,} bytes: at most {LARGEST_FILE:,}; leave an empty one")
        with path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                if entry := _parsed(line):
                    yield line.strip() + b"\n", entry

    def rewind(self, checkpoint: Checkpoint, source: Path) -> None:
        """Make the directory that of a run at `checkpoint`, which `source` holds: what came later goes.

        These are checkpoints, then pictures, the best state and metrics, so that a kill in between leaves a whole run.
        Torn lines of metrics.jsonl and drafts that a killed process left go too.
        """
        step, folders = checkpoint.state.step, [self.path / "checkpoints", self.path / "samples"]
        with _written(self.path):
            self._make_folders()
            path = self._checkpoint_path(step)
            if not (path.exists() and path.samefile(source)):
                self._write(path, checkpoint)
            for later in reversed(self.later(step)):
                self._checkpoint_path(later).unlink()
            self._remove_old(checkpoint.config)
            for number, picture in [p for suffix in PICTURES for p in self._numbered("samples", suffix).items()]:
                if number > step:
                    picture.unlink()
            best = self.best()
            if best and best["step"] > step:
                for suffix in (".npz", ".json"):
                    self._best(suffix).unlink(missing_ok=True)
            for folder in [self.path, *folders]:
                remove_drafts(folder, OWN)
            remove_drafts(self.path.parent, "run")
            with atomic_write(self.path / "metrics.jsonl") as file:
                file.writelines(line for line, entry in self._metrics() if entry["step"] <= step)
            with atomic_write(self.path / "config.json") as file:
                file.write((checkpoint.config.to_json() + "\n").encode())


def find_checkpoint(path: Path) -> Path:
    """`path` itself if it is a file, the latest checkpoint if it is a run directory; else UserError.

    A name of TRAINED is that model, unless there is a file or directory of the name.
    """
    if path.is_file():
        return path
    if str(path) in TRAINED and not path.exists():
        return Path(__file__).with_name("trained") / f"{path}.npz"
    if not path.is_dir():
        raise UserError(f"{path}: does not exist; give a run directory like runs/00000-grid")
    found = RunDirectory(path).checkpoints()
    if not found:
        raise UserError(f"{path}: holds no checkpoints/step-*.npz; give a run directory like runs/00000-grid")
    return found[-1]


def load(path: Path) -> Checkpoint:
    """The checkpoint in the file `path`, or the latest of the run directory `path`.

    UserError if it is damaged, which names the latest whole one of its run.
    """
    found = find_checkpoint(path)
    try:
        return checkpoints.load(found)
    except UserError as error:
        if path.is_dir() and find_checkpoint(path) != found:  # training has written the next one, and removed this one
            return load(path)
        for other in reversed(RunDirectory(found.absolute().parent.parent).checkpoints()):
            with suppress(UserError):
                checkpoints.load(other)
                error.args = (f"{error}; the latest whole one is {other}",)
                break
        raise


def _written(path):
    return explained(f"{path}: cannot be written", "choose another place")


def _next_number(out):
    numbers = [int(path.name[:5]) for path in out.iterdir() if path.name[:5].isdecimal() and path.name[5:6] == "-"]
    return max(numbers, default=-1) + 1


def _parsed(line):
    """The JSON object with a step in a line; None if there is none, as in a line torn by a kill."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and type(entry.get("step")) is int else None


def _has_fid(entry):
    return entry is not None and type(entry.get("fid")) is float and math.isfinite(entry["fid"])
