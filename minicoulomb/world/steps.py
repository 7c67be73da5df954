"""Steps of Algorithm 1 that several processes take together: N processes compute what one computes.

Every process draws the random numbers of the whole batch, which depend on the step alone, and takes those of its share:
it reads these real samples alone. What crosses a batch crosses the processes:

    the potential       each process has the charges of all, and evaluates Phi at its own points: n^2 / N kernels each
    batch normalization its statistics are those of the whole batch, unless --local-batch-norm
    losses, gradients   means over the samples are means over the processes of their means

The rest, from Adam to the running statistics, every process computes from the same numbers. So all have the same state,
which is compared every VERIFY steps.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from zlib import crc32

from minicoulomb.arrays.backend import Backend, to_host
from minicoulomb.arrays.graph import own_stream
from minicoulomb.arrays.workspace import NoWorkspace
from minicoulomb.config import Config
from minicoulomb.coulomb.pairs import with_charges_of
from minicoulomb.data.dataset import Dataset
from minicoulomb.errors import UserError
from minicoulomb.gan import Gradients, State
from minicoulomb.models import build
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.steps import Steps
from minicoulomb.world.batch_norm import with_whole_batches
from minicoulomb.world.launch import current
from minicoulomb.world.processes import World

# Steps between comparisons of the processes' states.
VERIFY = 1000

# A follower's steps and data set, while the leader trains.
_following: Any = None


class SharedSteps(Steps):
    """Steps of a checkpoint's run, in place, by all processes of a World."""

    def __init__(self, world: World, checkpoint: Checkpoint, backend: Backend, as_graph: bool = True):
        self._world = world
        if not checkpoint.config.run.local_batch_norm:
            G, D = (with_whole_batches(network, world.gather) for network in (checkpoint.G, checkpoint.D))
            checkpoint = checkpoint._replace(G=G, D=D)
        super().__init__(checkpoint, backend, as_graph)
        if self._graph is not None and not world.is_captured:
            self._graph.refusal = "sums over processes go through the host; pip install nvidia-nccl-cu12"
        self._gradients = _of_all(world, self._gradients)
        self._part = share_of(checkpoint.config, world.rank, world.size)

    def __call__(self, dataset, share=1.0):
        with self._world.together():
            if self._world.rank == 0:
                self._world.order(_take, share)
            if self._checkpoint.state.step % VERIFY == 0:
                self._verify()
            return super().__call__(dataset, share)

    def _verify(self):
        """UserError unless all processes have the same parameters, to the last bit."""
        state = self._checkpoint.state
        sums = self._world.comm.allgather([crc32(to_host(vector)) for vector in (state.theta, state.w)])
        if others := [rank for rank, found in enumerate(sums) if found != sums[0]]:
            what = f"step {state.step}: process {others[0]} has other parameters than process 0"
            raise UserError(f"{what}; use machines of one kind, with the same versions of Python and NumPy")


def shared(world: World, config: Config, open_data: Callable[..., Dataset]) -> Callable[..., SharedSteps]:
    """The leader's class of steps: a SharedSteps, with which the followers make theirs.

    open_data   opens the data set of the run, open_data(space=space); found by its name in its module
    UserError if the batch has no equal shares.
    """
    share_of(config, world.rank, world.size)

    def steps_of(checkpoint, backend, as_graph):
        config, space, *_, state = checkpoint
        arrays = {name: getattr(state, name) for name in vars(state) if name != "finite"}
        arrays = {name: to_host(value) if hasattr(value, "shape") else value for name, value in arrays.items()}
        world.order(_begin, config, space, arrays, as_graph, open_data)
        return SharedSteps(world, checkpoint, backend, as_graph)

    return steps_of


def share_of(config: Config, rank: int, size: int) -> slice:
    """The samples of a batch that the process `rank` of `size` takes; UserError if there are no equal shares."""
    n, left = divmod(config.algorithm.batch_size, size)
    if left or not n:
        remedy = f"use --batch-size {max(n, 1) * size}, or another number of processes"
        raise UserError(f"batch_size {config.algorithm.batch_size}: must be a multiple of {size}, the number of "
                        f"processes; {remedy}")  # fmt: skip
    return slice(rank * n, (rank + 1) * n)


def _of_all(world, gradients):
    """The function `gradients` of the whole batch, from the same function of each process's share."""

    def of_all(G, D, theta, w, batch, algorithm, eps, train_g=True, workspace=NoWorkspace) -> Gradients:
        with with_charges_of(world.charges):
            result = gradients(G, D, theta, w, batch, algorithm, eps, train_g, workspace)
        for gradient in (result.dtheta, result.dw):
            if gradient is not None:
                world.average(gradient)
        losses = {name: getattr(result, name) for name in ("loss_d", "loss_g") if getattr(result, name) is not None}
        numbers = [loss.reshape(1) for loss in losses.values()]
        phi_x, phi_y, *rest = world.gather(result.phi_x, result.phi_y, *numbers, *(result.fit or ()))
        losses = {name: loss_of_each.mean() for name, loss_of_each in zip(losses, rest)}
        # The points' order is not the batch's, which the diagnostics do not need.
        fit = tuple(rest[len(losses) :]) or None
        return result._replace(phi_x=phi_x, phi_y=phi_y, fit=fit, **losses)

    return of_all


def _begin(config, space, arrays, as_graph, open_data):
    """Make a follower ready to take the leader's steps."""
    global _following
    world, (G, D) = current(), build(config.networks, space)
    checkpoint = Checkpoint(config, space, G, D, State(**arrays)).to(world.backend.xp)
    stream = ExitStack()
    stream.enter_context(own_stream(world.backend))  # until the process ends
    dataset = open_data(space=space)
    _following = SharedSteps(world, checkpoint, world.backend, as_graph), dataset, checkpoint.state, stream


def _take(share):
    """A follower's part of a step."""
    steps, dataset, state, _ = _following
    steps(dataset, share)
    state.step += 1
