"""A run directory: everything that one training run leaves behind.

    runs/00000-grid/
        config.json                       the resolved configuration
        metrics.jsonl                     one JSON object for each logged step
        log.txt                           what the terminal showed, as plain lines
        samples/step-0001000.png          pictures
        checkpoints/step-0001000.npz      training states; the first is written with the directory itself
        checkpoints/best.npz, best.json   with --fid-every the state of the lowest FID, and {"step", "fid"}

The directory appears whole, by renaming, so a run that exists can be resumed at whatever moment it is killed.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from minicoulomb.config import Config
from minicoulomb.errors import UserError, explained
from minicoulomb.files import atomic_write
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.checkpoint import Checkpoint


class RunDirectory:
    """The directory `path` of one run."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def create(cls, out: Path, name: str, checkpoint: Checkpoint) -> "RunDirectory":
        """A new numbered directory in `out`, one above the highest number there, holding the first checkpoint."""
        with explained(f"{out}: cannot hold a run", "choose another --out"):
            out.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=out, prefix=".", suffix=".tmp") as folder:
                draft = Path(folder) / name
                for part in ("samples", "checkpoints"):
                    (draft / part).mkdir(parents=True)
                (draft / "config.json").write_text(checkpoint.config.to_json() + "\n")
                (draft / "metrics.jsonl").touch()
                cls(draft).save(checkpoint)
                while True:
                    path = out / f"{_next_number(out):05d}-{name}"
                    try:
                        return cls(draft.rename(path))
                    except OSError:
                        if not path.exists():  # otherwise another run has just used the number
                            raise

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """The existing run in the directory `path`; UserError if it is none."""
        if not (path / "metrics.jsonl").is_file():
            raise UserError(f"{path}: not a run directory; to start from a checkpoint alone use --init-from")
        return cls(path)

    def checkpoints(self) -> list[Path]:
        """The run's checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*.npz"))

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write the checkpoint, then remove all but the last `keep_checkpoints`."""
        path = self.path / "checkpoints" / f"step-{checkpoint.state.step:07d}.npz"
        checkpoints.save(path, checkpoint)
        for old in self.checkpoints()[: -checkpoint.config.run.keep_checkpoints]:
            old.unlink()
        return path

    def best(self) -> dict[str, Any] | None:
        """Step and FID of checkpoints/best.npz; None where there is none."""
        path = self._best(".json")
        return json.loads(path.read_text()) if path.exists() else None

    def save_best(self, checkpoint: Checkpoint, fid: float) -> bool:
        """Keep the checkpoint as best.npz if its FID is lower than the best so far; whether it is."""
        best = self.best()
        if best and best["fid"] <= fid:
            return False
        checkpoints.save(self._best(".npz"), checkpoint)
        with atomic_write(self._best(".json")) as file:
            file.write(json.dumps({"step": checkpoint.state.step, "fid": fid}).encode())
        return True

    def _best(self, suffix):
        return self.path / "checkpoints" / f"best{suffix}"

    def picture_path(self, step: int) -> Path:
        return self.path / "samples" / f"step-{step:07d}.png"

    def log_metrics(self, metrics: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        self._append("metrics.jsonl", json.dumps(metrics))

    def log(self, line: str) -> None:
        """Append one line to log.txt."""
        self._append("log.txt", line)

    def _append(self, name, line):
        path = self.path / name
        with explained(f"{path}: cannot be written", "free some space, then --resume"), path.open("a") as file:
            file.write(line + "\n")

    def rewind(self, config: Config, step: int) -> None:
        """Make the directory that of a run at `step`: later checkpoints, pictures and metrics go, as do torn lines.

        What a killed process left half-written (*.tmp) goes too.
        """
        for path in [*self.path.rglob("step-*.npz"), *self.path.rglob("step-*.png")]:
            if int(path.stem.removeprefix("step-")) > step:
                path.unlink()
        best = self.best()
        if best and best["step"] > step:
            for suffix in (".json", ".npz"):
                self._best(suffix).unlink(missing_ok=True)
        for path in self.path.rglob(".*.tmp"):
            path.unlink()
        metrics = self.path / "metrics.jsonl"
        kept = [line for line in metrics.read_text().splitlines(keepends=True) if _step_of(line) <= step]
        for path, text in ((metrics, "".join(kept)), (self.path / "config.json", config.to_json() + "\n")):
            with atomic_write(path) as file:
                file.write(text.encode())


def find_checkpoint(path: Path) -> Path:
    """`path` itself if it is a file, the latest checkpoint if it is a run directory; else UserError."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path}: does not exist; give a run directory like runs/00000-grid")
    found = RunDirectory(path).checkpoints()
    if not found:
        raise UserError(f"{path}: holds no checkpoints/step-*.npz; give a run directory like runs/00000-grid")
    return found[-1]


def _next_number(out):
    numbers = [int(path.name[:5]) for path in out.iterdir() if path.name[:5].isdecimal() and path.name[5:6] == "-"]
    return max(numbers, default=-1) + 1


def _step_of(line):
    """The step of a line of metrics.jsonl; infinity for a line torn by a kill."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")
