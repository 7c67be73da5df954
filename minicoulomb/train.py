"""The training loop: draw a batch, take a step of Algorithm 1, and at set intervals log, draw and save.

The state at a step depends on the configuration and the step alone: every batch comes from the streams of its own
step (streams.py), so a resumed run is the uninterrupted one, bit for bit.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from minicoulomb import pictures
from minicoulomb.backend import Backend
from minicoulomb.checkpoint import Checkpoint
from minicoulomb.config import Config
from minicoulomb.data.dataset import Dataset, decode
from minicoulomb.gan import Batch, Diverged, step
from minicoulomb.run import Run
from minicoulomb.sampling import samples
from minicoulomb.signals import StopRequest
from minicoulomb.streams import stream
from minicoulomb.workspace import Workspace

PICTURE_POINTS = 2500
PICTURE_IMAGES = 64


def train(
    run: Run,
    checkpoint: Checkpoint,
    dataset: Dataset,
    backend: Backend,
    until: int,
    stop: StopRequest,
    report: Callable[[dict[str, Any], bool], None],
) -> None:
    """Train the checkpoint's state in place up to step `until`, or until `stop`, and save it whatever the reason.

    After each step report(metrics, logged) hears its scalars and speed, and whether they went to metrics.jsonl.
    Raises Diverged, with the last good state saved, when a loss or gradient is not finite.
    """
    config, _, G, D, state = checkpoint
    workspace = Workspace()
    if state.step == 0 and config.sample_every:
        pictures.save(picture(checkpoint, dataset), run.picture_path(0))
    seconds, steps_timed, began = 0.0, 0, time.perf_counter()
    while state.step < until and not stop:
        start = time.perf_counter()
        try:
            scalars = step(G, D, state, draw_batches(dataset, state.step, config, backend), config, workspace)
        except Diverged as error:
            raise Diverged(f"{error}; the last good state is in {run.save(checkpoint)}") from None
        seconds += time.perf_counter() - start
        steps_timed += 1
        speed = {"samples_per_second": round(config.batch_size * steps_timed / seconds, 1)}
        metrics = {"step": state.step, **scalars, **speed}
        logged = state.step in (1, until) or state.step % config.log_every == 0
        if logged:
            run.log_metrics({**metrics, "seconds": round(time.perf_counter() - began, 3)})
            seconds, steps_timed = 0.0, 0
        report(metrics, logged)
        if _due(state.step, config.sample_every) or state.step == config.steps:
            pictures.save(picture(checkpoint, dataset), run.picture_path(state.step))
        if _due(state.step, config.checkpoint_every) and state.step != until:
            run.save(checkpoint)
    run.save(checkpoint)


def draw_batches(dataset: Dataset, step: int, config: Config, backend: Backend) -> list[Batch]:
    """The batches of one step, `d_steps` of them, from the streams of the updates of D that they serve."""

    def draw(update):
        y = dataset.draw(stream(config.seed, "real", update), config.batch_size)
        z = stream(config.seed, "latent", update).standard_normal((config.batch_size, config.latent))
        batch = [to_device(z), decode(backend.to_device(y), dtype)]
        if config.noise:
            noise = stream(config.seed, "noise", update).standard_normal((2, *y.shape))
            batch += [to_device(noise[0]), to_device(noise[1])]
        return Batch(*batch)

    dtype = np.dtype(config.dtype)
    to_device = lambda array: backend.to_device(array, dtype)
    return [draw(step * config.d_steps + k) for k in range(config.d_steps)]


def picture(checkpoint: Checkpoint, dataset: Dataset) -> Image.Image:
    """What the generator makes now: generated points over real ones, or a grid of images; always the same z."""
    config, space, G, _, state = checkpoint
    if len(space.shape) == 3:
        return pictures.image_grid(samples(G, state, PICTURE_IMAGES, config.seed, config.batch_statistics))
    x = samples(G, state, PICTURE_POINTS, config.seed, config.batch_statistics)
    real = dataset.draw(stream(config.seed, "picture"), PICTURE_POINTS)
    return pictures.scatter(real, x, title=f"{dataset.name}, step {state.step:,}")


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
