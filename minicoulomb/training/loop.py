"""The training loop: draw a batch, take a step, and at set intervals log, look at samples and save.

The state after a step depends on the configuration and the number of steps alone: every batch comes from the random
numbers of its own step (arrays/rng.py), so a resumed run equals the uninterrupted one, bit for bit.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from minicoulomb.arrays.backend import Backend
from minicoulomb.arrays.rng import rng_for
from minicoulomb.arrays.upload import Upload
from minicoulomb.arrays.workspace import Workspace
from minicoulomb.baselines import OBJECTIVES
from minicoulomb.config import Config
from minicoulomb.data.dataset import Dataset, decode
from minicoulomb.diagnostics import Diverged, Metrics
from minicoulomb.gan import Batch, step
from minicoulomb.schedules import eps_at, learning_rates_at, rates_at
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.run import RunDirectory
from minicoulomb.training.signals import StopRequest

# Seconds after which a step's numbers are read although they are not logged: a sign of life, and of a divergence.
READ_EVERY = 0.2


def train(
    run: RunDirectory,
    checkpoint: Checkpoint,
    dataset: Dataset,
    backend: Backend,
    until: int,
    stop: StopRequest,
    report: Callable[[dict[str, Any], bool], None],
    look: Callable[[Path], dict[str, float]],
    fid: Callable[[], float | None] | None = None,
) -> None:
    """Train the checkpoint's state in place up to step `until`, or until `stop`, and save it whatever the reason.

    report   called with a step's metrics and whether they were logged to metrics.jsonl. Reading a metric waits for a
             GPU, so it is done for the steps that are logged, before a picture or checkpoint, and every READ_EVERY
             seconds
    look     draws a picture of samples into the path and returns what to log about them; called every `sample_every`
             steps and at the end
    fid      measures the state every `fid_every` steps and at the end; None says that it was stopped. The state with
             the lowest FID is kept

    Raises Diverged, with the last good state saved, when a loss, a gradient or a saved state is not finite. Any other
    error between two steps, such as that of a full disk or a closed output, is raised after the state is saved.
    """
    config, _, G, D, state = checkpoint
    algorithm, settings, gradients = config.algorithm, config.run, OBJECTIVES[config.algorithm.objective]
    workspace, upload = Workspace(), Upload(backend)
    if _due(state.step, settings.sample_every) and not run.picture_path(state.step).exists():
        look(run.picture_path(state.step))
    began = time.perf_counter()
    unread, timed, seconds, since = [], 0, 0.0, began
    while state.step < until and not stop:
        batches, rates = draw_batches(dataset, state.step, config, upload), rates_at(algorithm, state.step)
        with np.errstate(all="ignore"):  # reported by name when it is read or saved
            unread.append(step(G, D, state, batches, algorithm, rates, gradients, workspace))
        state.step += 1
        is_end = state.step == algorithm.steps
        logged = state.step in (1, until) or state.step % settings.log_every == 0
        is_picture = is_end or _due(state.step, settings.sample_every)
        is_checkpoint = _due(state.step, settings.checkpoint_every) and state.step != until
        is_measured = fid is not None and (is_end or _due(state.step, settings.fid_every))
        is_late = time.perf_counter() - since >= READ_EVERY
        if not (logged or is_picture or is_checkpoint or is_measured or stop or is_late):
            continue
        with _saved(run, checkpoint):
            numbers = _read(unread, run, checkpoint)
            # The speed of the steps since the last logged one, without the time spent between them.
            timed, seconds = timed + len(unread), seconds + time.perf_counter() - since
            speed = round(algorithm.batch_size * timed / seconds, 1)
            metrics = {"step": state.step, **numbers, "samples_per_second": speed}
            unread.clear()
            measured = fid() if fid is not None and is_measured else None
            if measured is not None:
                metrics |= {"fid": measured, "best": run.save_best(checkpoint, measured)}
                logged = True
            if is_picture:
                found = look(run.picture_path(state.step))
                metrics |= found
                logged = logged or bool(found)
            if logged:
                run.log_metrics({**metrics, "seconds": round(time.perf_counter() - began, 3)})
                timed, seconds = 0, 0.0
            report(metrics, logged)
            if is_checkpoint:
                run.save(checkpoint)
        since = time.perf_counter()
    with _saved(run, checkpoint):
        if unread:  # stopped during the last step
            _read(unread, run, checkpoint)
        run.save(checkpoint)


@contextmanager
def _saved(run: RunDirectory, checkpoint: Checkpoint) -> Iterator[None]:
    """If the block fails, between two steps, the state is saved first, and the reason logged."""
    try:
        yield
    except Diverged as error:
        run.log(str(error))
        raise
    except BaseException as error:
        run.log(f"{error}; saved in {run.save(checkpoint)}")
        raise


def _read(unread: list[Metrics], run: RunDirectory, checkpoint: Checkpoint) -> dict[str, float]:
    """The last step's numbers; if a step was not finite, the state is saved as that of the step before."""
    state, algorithm = checkpoint.state, checkpoint.config.algorithm
    first = state.step - len(unread)
    try:
        numbers = unread[-1].read()
    except Diverged:  # in this step or one before it
        state.step, error = next((number, e) for number, m in enumerate(unread, first) if (e := _divergence(m)))
        path = run.save(checkpoint)
        message = f"{error} at step {state.step}; the run can resume from step {state.step}, {path}"
        raise Diverged(error.what, message) from None
    lr_g, lr_d = learning_rates_at(algorithm, state.step - 1)
    numbers |= {"eps": eps_at(algorithm, state.step - 1), "lr_g": lr_g}
    return numbers | ({"lr_d": lr_d} if "loss_d" in numbers else {})


def _divergence(metrics: Metrics) -> Diverged | None:
    try:
        metrics.read()
    except Diverged as error:
        return error
    return None


def draw_batches(dataset: Dataset, step: int, config: Config, upload: Upload) -> list[Batch]:
    """The batches of one step, one for each update of D; they are valid until the next step's are drawn."""
    seed, shape = config.run.seed, (config.algorithm.batch_size, config.networks.latent)

    def draw(update):
        y = dataset.draw(rng_for(seed, "real", update), shape[0])
        z = rng_for(seed, "latent", update).standard_normal(shape)
        if not config.algorithm.noise:
            return [z, y]
        return [z, y, *rng_for(seed, "noise", update).standard_normal((2, *y.shape))]

    dtype = np.dtype(config.run.dtype)
    drawn = [draw(step * config.algorithm.d_steps + k) for k in range(config.algorithm.d_steps)]
    arrays = iter(upload(*chain(*drawn), dtype=dtype))
    batches = (Batch(*islice(arrays, len(batch))) for batch in drawn)
    return [batch._replace(y=decode(batch.y, dtype)) for batch in batches]


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
