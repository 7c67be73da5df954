"""The training loop: draw a batch, take a step, and at set intervals log, look at samples and save.

The state after a step depends on the configuration and the number of steps alone: every batch comes from the random
numbers of its own step (arrays/rng.py), so a resumed run equals the uninterrupted one, bit for bit. What a plateau
changes depends on metrics.jsonl, too.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minicoulomb.arrays.backend import Backend
from minicoulomb.arrays.graph import own_stream
from minicoulomb.data.dataset import Dataset
from minicoulomb.diagnostics import Diverged, Metrics, Packed
from minicoulomb.schedules import eps_at, learning_rates_at
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.plateau import Plateau
from minicoulomb.training.run import RunDirectory
from minicoulomb.training.signals import StopRequest
from minicoulomb.training.steps import Steps

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
    as_graph: bool = True,
    remark: Callable[[str], object] = lambda line: None,
    steps_of: Callable[..., Steps] = Steps,
) -> None:
    """Train the checkpoint's state in place up to step `until`, until a plateau ends the run, or until `stop`; save it.

    report   called with a step's metrics and whether they were logged to metrics.jsonl. Reading a metric waits for a
             GPU, so it is done for the steps that are logged, before a picture or checkpoint, and every READ_EVERY
             seconds
    look     draws a picture of samples, or writes lines, into the path and returns what to log about them; called every
             `sample_every` steps and at the end
    fid      measures the state every `fid_every` steps and at the end; None says that it was stopped. The state with
             the lowest FID is kept
    as_graph launch a step on a GPU as one CUDA graph
    remark   called with a line where that cannot be, and at a plateau
    steps_of the class Steps, or a function in its place, with which several processes take each step together

    Raises Diverged, with the last good state saved, when a loss, a gradient or a saved state is not finite. Any other
    error between two steps, such as that of a full disk or a closed output, is raised after the state is saved.
    """
    with own_stream(backend):
        steps = steps_of(checkpoint, backend, as_graph)
        _train(run, checkpoint, dataset, until, stop, report, look, fid, steps, remark, as_graph)


def _train(run, checkpoint, dataset, until, stop, report, look, fid, steps, remark, as_graph):
    config, _, _, _, state = checkpoint
    algorithm, settings, plateau = config.algorithm, config.run, Plateau(config, run.entries())
    picture_path = lambda: run.picture_path(state.step, bool(checkpoint.space.alphabet))

    def measure(is_measured, is_picture):
        """What is logged of the state's samples."""
        found, before = {}, plateau.plateaus
        if is_measured and (measured := fid()) is not None:
            found = {"fid": measured, "best": run.save_best(checkpoint, measured)}
        if is_picture:
            found |= look(picture_path())
        if _due(state.step, plateau.every):
            found |= plateau.count(state.step, found)
        if plateau.plateaus > before:
            remark(plateau.in_words())
            if plateau.ended and not picture_path().exists():
                look(picture_path())
        return found

    is_picture = _due(state.step, settings.sample_every)
    if plateau.lacks(state.step):  # an earlier process was stopped in the middle
        if found := measure(fid is not None, is_picture):
            run.log_metrics({"step": state.step, **found})
    elif is_picture and not picture_path().exists():
        look(picture_path())
    began = time.perf_counter()
    unread, timed, seconds, since = [], 0, 0.0, began
    while state.step < until and not (stop or plateau.ended):
        unread.append(steps(dataset, plateau.share))
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
            numbers = _read(unread, run, checkpoint, plateau.share)
            # The speed of the steps since the last logged one, without the time spent between them.
            timed, seconds = timed + len(unread), seconds + time.perf_counter() - since
            speed = round(algorithm.batch_size * timed / seconds, 1)
            metrics = {"step": state.step, **numbers, "samples_per_second": speed}
            unread.clear()
            found = measure(is_measured, is_picture)
            metrics |= found
            logged = logged or bool(found)
            if logged:
                run.log_metrics({**metrics, "seconds": round(time.perf_counter() - began, 3)})
                timed, seconds = 0, 0.0
            report(metrics, logged)
            if is_checkpoint:
                run.save(checkpoint)
        if steps.refusal and as_graph:
            remark(f"no CUDA graph: {steps.refusal}; a step takes many launches, which is slower")
            as_graph = False
        since = time.perf_counter()
    with _saved(run, checkpoint):
        if unread:  # stopped during the last step
            _read(unread, run, checkpoint, plateau.share)
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


def _read(unread: list[Metrics | Packed], run: RunDirectory, checkpoint: Checkpoint, share: float) -> dict[str, float]:
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
    lr_g, lr_d = learning_rates_at(algorithm, state.step - 1, share)
    numbers |= {"eps": eps_at(algorithm, state.step - 1), "lr_g": lr_g}
    return numbers | ({"lr_d": lr_d} if "loss_d" in numbers else {})


def _divergence(metrics: Metrics | Packed) -> Diverged | None:
    try:
        metrics.read()
    except Diverged as error:
        return error
    return None


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
