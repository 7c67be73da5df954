"""A few steps on the stand-in for CuPy, shared by the processes of mpirun: main(folder, "nccl" or "").

Process 0 writes the arrays of each state to FOLDER/<number>.npz, and prints why steps were not one graph, if so.
"""

from pathlib import Path

import numpy as np
import strict_cupy
from strict_cupy import nccl
from test_device import MODELS, OPTIONS
from test_graph import STEPS, Draws, arrays_of, start

from minicoulomb.arrays.graph import own_stream
from minicoulomb.training.steps import Steps
from minicoulomb.world.launch import current, join
from minicoulomb.world.nccl import NCCL
from minicoulomb.world.steps import shared

CASES = [(MODELS[0], "all"), (MODELS[1], "paper"), (MODELS[2], "all"), (("text", "text"), "all")]
DEVICE = strict_cupy.backend()


def open_device(with_nccl):
    """What World.open_backend does on a GPU."""
    world = current()
    if world.rank == 0:
        world.order(open_device, with_nccl)
    world.backend = DEVICE
    if with_nccl:
        nccl.communicator, nccl.available = world.comm, True
    world._nccl = NCCL.of(world.comm, strict_cupy)


def draws(space):
    return Draws(space.shape)


def main(folder, with_nccl=""):
    join()
    if world := current():
        open_device(with_nccl == "nccl")
    for number, (models, options) in enumerate(CASES):
        checkpoint, data = start(models, OPTIONS[options], DEVICE)
        steps_of = shared(world, checkpoint.config, draws) if world else Steps
        with own_stream(DEVICE):
            steps, metrics = steps_of(checkpoint, DEVICE, True), []
            for _ in range(STEPS):
                metrics.append(steps(data))
                checkpoint.state.step += 1
            numbers = {f"metric {name}": [m.read()[name] for m in metrics] for name in metrics[0].read()}
        print(steps.refusal)
        np.savez(Path(folder) / f"{number}.npz", **arrays_of(checkpoint), **numbers)
