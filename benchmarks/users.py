"""What a user waits for, in samples a second: training from a file, sampling, Inception's features of images."""

import json
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.agreement import agree, bounds
from benchmarks.device import synchronize, torch_device
from benchmarks.measure import Contest, quick_time
from benchmarks.report import Row
from benchmarks.steps import Pair
from benchmarks.workloads import Workload
from minicoulomb.arrays.backend import Backend, to_host
from minicoulomb.arrays.graph import own_stream
from minicoulomb.data.dataset import ArrayDataset
from minicoulomb.data.mixtures import grid
from minicoulomb.fid.architecture import kernel_shapes
from minicoulomb.fid.network import Inception
from minicoulomb.gan import generate, initial_state
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.loop import train
from minicoulomb.training.run import RunDirectory
from minicoulomb.training.signals import StopRequest
from minicoulomb.verify import to_torch

# Seconds that training is to take, and the fewest and most steps; the first part of them warms up.
SECONDS, FEWEST, MOST = 4.0, 10, 20_000
LINES = 10
SAMPLES = 4096


def train_rate(name: str, workload: Workload, backend: Backend) -> Row:
    """Samples a second of `train` from a .npy file, beside those of the step alone on a batch that is there."""
    n = workload.config.algorithm.batch_size
    with own_stream(backend):
        pair = Pair(workload, backend)
        step = pair.graph_step() if backend.name == "cupy" else pair.step
        seconds = quick_time(step, partial(synchronize, backend))
        del pair, step
    steps = int(min(MOST, max(FEWEST, SECONDS / seconds)))
    config = workload.config.replace(
        steps=steps, log_every=max(1, steps // LINES), sample_every=0, checkpoint_every=0, backend=backend.name
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "data.npy"
        np.save(path, _data(workload))
        dataset = ArrayDataset("data", np.load(path, mmap_mode="r"))
        checkpoint = checkpoints.initial(config, workload.space, backend.xp)
        run = RunDirectory.create(Path(folder), "run", checkpoint)
        train(run, checkpoint, dataset, backend, steps, StopRequest(), lambda *_: None, lambda path: {})
        logged = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    speeds = [line["samples_per_second"] for line in logged]
    speed, alone = median(speeds[len(speeds) // 3 :]), n / seconds
    note = f"{steps} steps of {n}; in the place of PyTorch the step alone, of which training has {speed / alone:.0%}"
    return Row(name, speed, alone, speed / alone, "samples/s", 1, note)


def _data(workload):
    """Real samples as a user's file holds them: points, or pixels."""
    rng, shape = np.random.default_rng(0), workload.space.shape
    if shape == (2,):
        return grid().draw(rng, 100_000).astype(np.float32)
    return rng.integers(0, 256, (SAMPLES, *shape), np.uint8)


def sample_contest(workload: Workload, backend: Backend) -> Contest:
    """A batch of G's samples on either side."""
    config, (G, D) = workload.config, workload.networks()
    state = initial_state(G, D, dtype=config.run.dtype, xp=backend.xp)
    z = workload.batch(np.random.default_rng(0), backend).z
    module = to_torch(G, to_host(state.theta), device=torch_device(backend))
    their_z = module.to_tensor(to_host(z))

    def theirs():
        with torch.no_grad():
            return module(their_z)

    ours = partial(generate, G, state, z, batch_statistics=True)
    agree(f"samples of {len(z)}", to_host(ours()), module.to_array(theirs()), bounds(backend).gradients)
    return Contest(ours, theirs, f"{len(z)} samples")


def features_rate(name: str, backend: Backend) -> Row:
    """Features a second of 64x64 images, by an Inception with random weights."""
    rng, weights = np.random.default_rng(0), {}
    for layer, (c_out, c_in, kh, kw) in kernel_shapes().items():
        kernel = rng.standard_normal((kh, kw, c_in, c_out), np.float32) * np.float32((2 / (c_in * kh * kw)) ** 0.5)
        weights[layer] = kernel, np.zeros(c_out, np.float32)
    network = Inception(weights, backend.xp)
    pixels = rng.integers(0, 256, (network.batch, 64, 64, 3), np.uint8)
    seconds = quick_time(partial(network.features, pixels), partial(synchronize, backend))
    return Row(name, network.batch / seconds, None, None, "images/s", 1, f"batches of {network.batch}, random weights")
