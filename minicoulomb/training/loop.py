"""The training loop: draw a batch, take a step of Algorithm 1, and at set intervals log, draw and save.

The state at a step depends on the configuration and the step alone: every batch comes from the streams of its own
step (streams.py), so a resumed run is the uninterrupted one, bit for bit.
"""

import time
from collections.abc import Callable
from itertools import chain, islice
from typing import Any

import numpy as np
from PIL import Image

from minicoulomb import pictures
from minicoulomb.arrays.backend import Backend
from minicoulomb.arrays.rng import rng_for
from minicoulomb.arrays.upload import Upload
from minicoulomb.arrays.workspace import Workspace
from minicoulomb.config import Config
from minicoulomb.data.dataset import Dataset, decode
from minicoulomb.evaluation.evaluate import EVALUATED, has_modes, mode_metrics
from minicoulomb.gan import Batch, Diverged, Metrics, step
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.run import RunDirectory
from minicoulomb.training.sampling import samples
from minicoulomb.training.signals import StopRequest

PICTURE_IMAGES = 64
# Seconds after which a step's numbers are read although nobody logs them: a sign of life, and of a divergence.
READ_EVERY = 0.2


def train(
    run: RunDirectory,
    checkpoint: Checkpoint,
    dataset: Dataset,
    backend: Backend,
    until: int,
    stop: StopRequest,
    report: Callable[[dict[str, Any], bool], None],
    fid: Callable[[], float | None] | None = None,
) -> None:
    """Train the checkpoint's state in place up to step `until`, or until `stop`, and save it whatever the reason.

    A step's metrics are read, which waits for a GPU, when they are to be logged, before a picture or checkpoint, and
    else every READ_EVERY seconds; report(metrics, logged) then hears its scalars and the speed, and whether they went
    to metrics.jsonl. Each picture's samples are counted by modes or classes, where the data have some, and that is
    logged. Every `fid_every` steps and at the end fid() measures the state, which is kept where that is the lowest so
    far; None says that it was stopped. Raises Diverged, with the last good state saved, when a loss or gradient is not
    finite.
    """
    config, _, G, D, state = checkpoint
    workspace, upload = Workspace(), Upload(backend)
    if state.step == 0 and config.run.sample_every:
        pictures.save(picture(checkpoint, dataset, pictured(checkpoint, dataset)), run.picture_path(0))
    began = time.perf_counter()
    unread, speed = [], Speed(config.algorithm.batch_size)
    while state.step < until and not stop:
        unread.append(step(G, D, state, draw_batches(dataset, state.step, config, upload), config, workspace))
        logged = state.step in (1, until) or state.step % config.run.log_every == 0
        is_picture = _due(state.step, config.run.sample_every) or state.step == config.algorithm.steps
        is_checkpoint = _due(state.step, config.run.checkpoint_every) and state.step != until
        is_measured = fid is not None and (
            _due(state.step, config.run.fid_every) or state.step == config.algorithm.steps
        )
        if not (logged or is_picture or is_checkpoint or is_measured or stop or speed.age >= READ_EVERY):
            continue
        scalars = _read(unread, run, checkpoint)
        metrics = {"step": state.step, **scalars, "samples_per_second": speed.over(len(unread))}
        unread.clear()
        measured = fid() if is_measured else None
        if measured is not None:
            metrics |= {"fid": measured, "best": run.save_best(checkpoint, measured)}
            logged = True
        if is_picture:
            x = pictured(checkpoint, dataset)
            modes = mode_metrics(x, dataset)
            metrics |= modes
            logged = logged or bool(modes)
        if logged:
            run.log_metrics({**metrics, "seconds": round(time.perf_counter() - began, 3)})
            speed.restart()
        report(metrics, logged)
        if is_picture:
            pictures.save(picture(checkpoint, dataset, x), run.picture_path(state.step))
        if is_checkpoint:
            run.save(checkpoint)
        speed.go_on()
    if unread:  # stopped while the last step was taken
        _read(unread, run, checkpoint)
    run.save(checkpoint)


def _read(unread: list[Metrics], run: RunDirectory, checkpoint: Checkpoint) -> dict[str, float]:
    """The last step's numbers; where a step was not finite, the state is saved as that of the step before."""
    try:
        return [metrics.read() for metrics in unread][-1]
    except Diverged as error:
        checkpoint.state.step = error.step
        message = f"{error}; the last good state is in {run.save(checkpoint)}"
        run.log(message)
        raise Diverged(message, error.step) from None


class Speed:
    """Samples per second since the last restart, of steps that were waited for, without what is done between them."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self.restart()
        self.go_on()

    def restart(self) -> None:
        self.steps, self.seconds = 0, 0.0

    def go_on(self) -> None:
        """From here on steps are taken."""
        self.since = time.perf_counter()

    @property
    def age(self) -> float:
        """Seconds since steps were last waited for."""
        return time.perf_counter() - self.since

    def over(self, steps: int) -> float:
        """The speed with so many more steps, which took the time since `go_on`."""
        self.steps += steps
        self.seconds += self.age
        return round(self.batch_size * self.steps / self.seconds, 1)


def draw_batches(dataset: Dataset, step: int, config: Config, upload: Upload) -> list[Batch]:
    """The batches of one step, `d_steps` of them, from the streams of the updates of D that they serve.

    They last until the next step's are drawn.
    """

    def draw(update):
        y = dataset.draw(rng_for(config.run.seed, "real", update), config.algorithm.batch_size)
        z = rng_for(config.run.seed, "latent", update).standard_normal(
            (config.algorithm.batch_size, config.networks.latent)
        )
        if not config.algorithm.noise:
            return [z, y]
        return [z, y, *rng_for(config.run.seed, "noise", update).standard_normal((2, *y.shape))]

    dtype = np.dtype(config.run.dtype)
    drawn = [draw(step * config.algorithm.d_steps + k) for k in range(config.algorithm.d_steps)]
    arrays = iter(upload(*chain(*drawn), dtype=dtype))
    batches = (Batch(*islice(arrays, len(batch))) for batch in drawn)
    return [batch._replace(y=decode(batch.y, dtype)) for batch in batches]


def pictured(checkpoint: Checkpoint, dataset: Dataset) -> np.ndarray:
    """What the generator makes now, always of the same z: as many as a picture shows, or as it takes to count modes."""
    config, space, G, _, state = checkpoint
    n = EVALUATED if len(space.shape) < 3 or has_modes(dataset) else PICTURE_IMAGES
    return samples(G, state, n, config.run.seed, config.run.batch_statistics)


def picture(checkpoint: Checkpoint, dataset: Dataset, x: np.ndarray) -> Image.Image:
    """Generated points x (n, m) over as many real ones, or a grid of the first images of x (n, h, w, c)."""
    if x.ndim == 4:
        return pictures.image_grid(x[:PICTURE_IMAGES])
    real = dataset.draw(rng_for(checkpoint.config.run.seed, "picture"), len(x))
    return pictures.scatter(real, x, title=f"{dataset.name}, step {checkpoint.state.step:,}")


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
