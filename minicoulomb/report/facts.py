"""The facts of a run for its report. Missing data or pictures are facts as well, not errors."""

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from minicoulomb.data.dataset import Dataset
from minicoulomb.errors import UserError
from minicoulomb.evaluation.evaluate import EVALUATED_LINES, measure, measured, parts_of
from minicoulomb.evaluation.verdict import verdict
from minicoulomb.pictures.field_picture import field_picture
from minicoulomb.pictures.metric_series import Series, read_metrics
from minicoulomb.report.images import chosen, read
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.plateau import LAST
from minicoulomb.training.sampling import samples
from minicoulomb.untrusted import opened

# The number of pictures in the course of the run, and of lines at the end of its log, within so many bytes.
PICTURES, LOG_LINES, LOG_BYTES = 8, 20, 2**16


class Facts(NamedTuple):
    """One run at one step.

    path       the run as named on the command line
    data       the training data in words
    parts      the number of modes of a mixture, or of classes
    metrics    those of the end of `minicoulomb train`; empty without data
    verdict    sentences on what they mean, and what to do next
    pictures   (step, picture) in ascending order, up to the step, without broken ones
    lines      of text, the last ones up to the step
    missing    sentences on what is missing, and why
    """

    path: Path
    name: str
    checkpoint: Checkpoint
    versions: dict[str, str]
    data: str
    parts: int | None
    metrics: dict[str, Any]
    verdict: list[str]
    series: dict[str, Series]
    pictures: list[tuple[int, Image.Image]]
    lines: list[str]
    field: Image.Image | None
    log: list[str]
    missing: list[str]

    @property
    def ended(self) -> bool:
        """Whether the run ended at this step because of a plateau."""
        steps, plateaus = self.series.get("plateaus", ((), ()))
        until_now = [n for step, n in zip(steps, plateaus, strict=True) if step <= self.checkpoint.state.step]
        return bool(self.checkpoint.config.algorithm.plateau and until_now and until_now[-1] >= LAST)

    @property
    def title(self) -> str:
        objective = self.checkpoint.config.algorithm.objective
        what = "A Coulomb GAN" if objective == "coulomb" else f"A baseline, objective {objective},"
        return f"{what} on {self.data}"


def gather(
    path: Path, folder: Path, checkpoint: Checkpoint, versions: dict[str, str], dataset: Dataset | UserError
) -> Facts:
    """The facts of the run in `folder` at the checkpoint; without data, `dataset` is the reason.

    Samples are those of `minicoulomb evaluate` with seed 0. Raises UserError if `folder` is not a run directory.
    """
    missing, parts = [], None
    metrics, field = {}, None
    if isinstance(dataset, UserError):
        missing.append(f"The samples are not compared with the data, which are missing: {dataset}.")
    else:
        parts = parts_of(dataset)
        with np.errstate(all="ignore"):  # the weights of a diverged run may overflow
            try:
                metrics = _metrics(checkpoint, dataset)
            except UserError as reason:
                missing.append(f"The samples are not compared with the data: {reason}.")
            field = _field(checkpoint, dataset)
    pictures, broken = _pictures(folder, checkpoint.state.step)
    if broken:
        missing.append(f"Damaged or too large pictures, left out: {', '.join(broken)}.")
    return Facts(
        path,
        folder.resolve().name,
        checkpoint,
        versions,
        _in_words(checkpoint),
        parts,
        metrics,
        verdict(metrics, parts, checkpoint.config) if metrics else [],
        read_metrics(folder),
        pictures,
        _lines(folder, checkpoint.state.step),
        field,
        _log(folder),
        missing,
    )


def _metrics(checkpoint, dataset):
    """The metrics of samples; UserError if they have none, as of a run that diverged."""
    G, state, config = checkpoint.G, checkpoint.state, checkpoint.config
    n = EVALUATED_LINES if dataset.alphabet else measured(dataset.shape)
    x = samples(G, state, n, 0, config.run.batch_statistics)
    return measure(checkpoint, dataset, x)


def _field(checkpoint, dataset):
    """The picture of the field, or None for data without one."""
    with suppress(UserError):
        return field_picture(checkpoint, dataset)
    return None


def _samples(folder, last, suffix):
    """{step: path} of the files of samples up to the step `last`."""
    paths = {int(p.stem[5:]): p for p in (folder / "samples").glob(f"step-*{suffix}") if p.stem[5:].isdecimal()}
    return {step: paths[step] for step in sorted(paths) if step <= last}


def _lines(folder, last):
    """The first lines of the last samples of text."""
    paths = list(_samples(folder, last, ".txt").values())
    return _read_lines(paths[-1])[:LOG_LINES] if paths else []


def _pictures(folder, last):
    """(step, picture) of evenly chosen pictures up to the step `last`, and the names of broken ones."""
    paths = _samples(folder, last, ".png")
    steps = chosen(list(paths), PICTURES)
    found = [(step, read(paths[step])) for step in steps]
    whole = [(step, image) for step, image in found if image]
    return whole, [paths[step].name for step, image in found if not image]


def _log(folder):
    """The last lines of the log."""
    return _read_lines(folder / "log.txt")[-LOG_LINES:]


def _read_lines(path):
    """Lines at the end of a file; none if it is missing or cannot be read."""
    with suppress(OSError, UserError), opened(path) as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        return file.read(LOG_BYTES).decode(errors="replace").split("\n")[:-1]
    return []


def _in_words(checkpoint):
    known = {
        "grid": "25 Gaussians in the plane",
        "ring": "8 Gaussians on a circle",
        "digits": "handwritten digits of 8×8 pixels",
    }
    data, shape = checkpoint.config.data.data, checkpoint.space.shape
    if data in known:
        return known[data]
    if len(shape) == 3:
        return f"{Path(data).name}, images of {shape[1]}×{shape[0]} pixels{' in colour' * (shape[2] == 3)}"
    kind = f"lines of {shape[0]} characters" if len(shape) == 2 else f"points of {shape[0]} numbers"
    return f"{Path(data).name}, {kind}"
