"""The steps of a run: random draws, and gan.step with them, on a GPU as one launch.

steps = Steps(checkpoint, backend)
metrics = steps(dataset)               takes the step number state.step
"""

from collections.abc import Callable
from itertools import chain, islice

import numpy as np

from minicoulomb.arrays.backend import Backend
from minicoulomb.arrays.graph import Graph
from minicoulomb.arrays.matmul import why_no_capture
from minicoulomb.arrays.rng import rng_for
from minicoulomb.arrays.upload import Upload
from minicoulomb.arrays.workspace import Workspace
from minicoulomb.baselines import OBJECTIVES
from minicoulomb.config import Config
from minicoulomb.data.dataset import Dataset, decode
from minicoulomb.diagnostics import Metrics, Packed
from minicoulomb.gan import Batch, State, step
from minicoulomb.schedules import packed, rates_at, unpacked
from minicoulomb.training.checkpoint import Checkpoint


class Steps:
    """Takes the steps of a checkpoint's run, in place.

    On a GPU, a batch and the step's rates are one upload, and the step is one launch of a CUDA graph. With
    as_graph=False each CUDA kernel is launched by itself, with the same numbers.
    """

    def __init__(self, checkpoint: Checkpoint, backend: Backend, as_graph: bool = True):
        self._checkpoint, self._workspace, self._upload = checkpoint, Workspace(), Upload(backend)
        self._gradients = OBJECTIVES[checkpoint.config.algorithm.objective]
        self._graph, self._part = None, slice(None)
        if backend.name == "cupy":
            self._graph = Graph(backend.xp, why_no_capture(backend.xp) if as_graph else "--no-graph")
            self._finite = backend.xp.ones((), bool)

    @property
    def refusal(self) -> str | None:
        """Why steps are not launched as one, in a line; None where they are, or on the host."""
        return None if self._graph is None else self._graph.refusal

    def __call__(self, dataset: Dataset, share: float = 1.0) -> Metrics | Packed:
        """Take the step number state.step with this share of the learning rates; the caller counts it."""
        config, _, _, _, state = self._checkpoint
        drawn, rates = draws(dataset, state.step, config, self._part), rates_at(config.algorithm, state.step, share)
        if self._graph is None:
            return self._step(self._upload(*chain(*drawn), dtype=config.run.dtype), len(drawn), rates)
        *arrays, numbers = self._upload(*chain(*drawn), packed(rates), dtype=config.run.dtype)

        def on_device():
            take = lambda: self._step(arrays, len(drawn), unpacked(numbers, rates))
            self._packed = taken_in_place(state, self._finite, take)
            return self._packed.values

        values = self._graph(on_device)
        return self._packed._replace(values=values.copy())  # the next step leaves the copy alone

    def _step(self, arrays, updates, rates):
        config, space, G, D, state = self._checkpoint
        batches = batches_of(arrays, updates, config.run.dtype, space.shape)
        with np.errstate(all="ignore"):  # reported by name when it is read or saved
            return step(G, D, state, batches, config.algorithm, rates, self._gradients, self._workspace)


def taken_in_place(state: State, finite, take: Callable[[], Metrics]) -> Packed:
    """The metrics of a step as one array; `finite`, an array of shape (), stays in the place of state.finite."""
    state.finite = finite
    metrics = take().packed()
    finite[...] = state.finite
    return metrics


def draws(dataset: Dataset, step: int, config: Config, part: slice = slice(None)) -> list[list[np.ndarray]]:
    """The random draws of one step on the host, [z, y] or [z, y, noise_x, noise_y] for each update of D.

    z (n, latent), y as the data set stores it, noise (n, *shape), for the n samples of the batch that are in `part`.
    """
    seed, n = config.run.seed, config.algorithm.batch_size

    def draw(update):
        y = dataset.draw(rng_for(seed, "real", update), n, part=part)
        z = rng_for(seed, "latent", update).standard_normal((n, config.networks.latent))[part]
        if not config.algorithm.noise:
            return [z, y]
        return [z, y, *rng_for(seed, "noise", update).standard_normal((2, n, *dataset.shape))[:, part]]

    return [draw(step * config.algorithm.d_steps + k) for k in range(config.algorithm.d_steps)]


def batches_of(arrays: list, updates: int, dtype, shape: tuple[int, ...]) -> list[Batch]:
    """A batch for each update of D from the arrays of all; pixels and ids become numbers, samples of the shape."""
    remaining, each = iter(arrays), len(arrays) // updates
    batches = [Batch(*islice(remaining, each)) for _ in range(updates)]
    return [batch._replace(y=decode(batch.y, np.dtype(dtype), shape)) for batch in batches]


def draw_batches(dataset: Dataset, step: int, config: Config, upload: Upload) -> list[Batch]:
    """The batches of one step, one for each update of D; they are valid until the next step's are drawn."""
    drawn = draws(dataset, step, config)
    return batches_of(upload(*chain(*drawn), dtype=config.run.dtype), len(drawn), config.run.dtype, dataset.shape)
