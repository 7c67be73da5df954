"""What is known of a run, gathered for its report; what is not there is said, never raised."""

from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from minicoulomb.data.dataset import Dataset
from minicoulomb.data.mixtures import Mixture
from minicoulomb.errors import UserError
from minicoulomb.evaluation.evaluate import EVALUATED, SMALL, evaluate
from minicoulomb.pictures.field_picture import field_picture
from minicoulomb.pictures.metric_curves import Series, read_metrics
from minicoulomb.report.images import chosen, read
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.sampling import samples

# Pictures from the start of the run to its end, and lines from the end of its log.
PICTURES, LOG_LINES = 8, 20


class Facts(NamedTuple):
    """One run at one step.

    given      the run as it was called on the command line
    data       what it was trained on, in words
    metrics    what `minicoulomb evaluate` measures, empty where that is not possible or takes long
    missing    what could not be done, and why
    pictures   (step, picture) in ascending order, up to the step; broken ones are left out
    """

    given: Path
    name: str
    checkpoint: Checkpoint
    versions: dict[str, str]
    data: str
    modes: int | None
    metrics: dict[str, Any]
    series: dict[str, Series]
    pictures: list[tuple[int, Image.Image]]
    field: Image.Image | None
    log: list[str]
    missing: list[str]

    @property
    def title(self) -> str:
        objective = self.checkpoint.config.algorithm.objective
        what = "A Coulomb GAN" if objective == "coulomb" else f"A baseline, objective {objective},"
        return f"{what} on {self.data}"


def gather(
    given: Path, folder: Path, checkpoint: Checkpoint, versions: dict[str, str], dataset: Dataset | UserError
) -> Facts:
    """The facts of the run in `folder` at the checkpoint; `dataset` may be the reason why there is none.

    Samples are those of `minicoulomb evaluate` with seed 0. Raises UserError where `folder` is no run directory.
    """
    shape, missing = checkpoint.space.shape, []
    metrics, field = {}, None
    if isinstance(dataset, UserError):
        missing.append(f"The data are not there, so nothing was compared with them: {dataset}.")
    else:
        with np.errstate(all="ignore"):  # the weights of a run that diverged may overflow
            metrics = _metrics(checkpoint, dataset) if prod(shape) <= SMALL else {}
            field = _field(checkpoint, dataset)
    pictures, broken = _pictures(folder, checkpoint.state.step)
    if broken:
        missing.append(f"No whole pictures, left out: {', '.join(broken)}.")
    return Facts(
        given,
        folder.resolve().name,
        checkpoint,
        versions,
        _in_words(checkpoint),
        len(dataset.modes) if isinstance(dataset, Mixture) else None,
        metrics,
        read_metrics(folder),
        pictures,
        field,
        _log(folder),
        missing,
    )


def _metrics(checkpoint, dataset):
    config = checkpoint.config
    return evaluate(samples(checkpoint.G, checkpoint.state, EVALUATED, 0, config.run.batch_statistics), dataset, config)


def _field(checkpoint, dataset):
    """None of data whose field cannot be drawn."""
    try:
        return field_picture(checkpoint, dataset)
    except UserError:
        return None


def _pictures(folder, last):
    """(step, picture) of evenly chosen ones up to the step `last`, and the names of those that are broken."""
    paths = {int(p.stem[5:]): p for p in (folder / "samples").glob("step-*.png") if p.stem[5:].isdecimal()}
    steps = chosen(sorted(step for step in paths if step <= last), PICTURES)
    found = [(step, read(paths[step])) for step in steps]
    whole = [(step, image) for step, image in found if image]
    return whole, [paths[step].name for step, image in found if not image]


def _log(folder):
    try:
        return (folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    except OSError:
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
    return f"{Path(data).name}, points of {shape[0]} numbers"
