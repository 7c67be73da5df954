"""Images a second through Inception, beside PyTorch: `python tests/measure_inception.py [images] [threads] [pairs]`.

Both sides take 64x64 pixels to features, with the same random weights, in turns; a ratio of times below 1 is in favour
of this project. On a busy machine the ratio of processor times says more. The other side is pytorch-fid's network
where that is installed, else the same blocks of torch's functions (inception_oracles.py), which run as fast. The
process is set up as the command `minicoulomb` sets up its own: one thread for BLAS, and malloc keeps what it has.
"""

import sys
from statistics import median
from time import perf_counter, process_time

import minicoulomb.__main__  # noqa: F401  isort: skip

import numpy as np
import pytest
import torch
from inception_cases import random_state
from inception_oracles import pytorch_fid, torch_features

from minicoulomb.arrays.threads import set_threads
from minicoulomb.fid.architecture import kernel_shapes
from minicoulomb.fid.network import SIDE, Inception
from minicoulomb.fid.weights import fold


def open_peer(state):
    """(name, a function from pixels to features) of PyTorch's side."""
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}

    def prepare(pixels):
        return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255

    try:
        package = pytorch_fid()
    except pytest.skip.Exception:
        resize = torch.nn.functional.interpolate

        def features(pixels):
            x = 2 * resize(prepare(pixels), size=(SIDE, SIDE), mode="bilinear", align_corners=False) - 1
            return torch_features(state, x.permute(0, 2, 3, 1).numpy())

        return "torch's functions", features
    package.inception.load_state_dict_from_url = lambda *args, **options: tensors
    network = package.inception.InceptionV3().eval()
    return "pytorch-fid", lambda pixels: network(prepare(pixels))[0][:, :, 0, 0].numpy()


def measure(images=64, threads=1, pairs=3):
    set_threads(threads)
    torch.set_num_threads(threads)
    state = random_state()
    network = Inception({name: fold(state, name) for name in kernel_shapes()})
    name, peer = open_peer(state)
    pixels = np.random.default_rng(0).integers(0, 256, (images, 64, 64, 3), np.uint8)

    def ours():
        return np.concatenate([network.features(part) for part in np.split(pixels, images // network.batch)])

    def theirs():
        with torch.no_grad():
            return np.concatenate([peer(part) for part in np.split(pixels, max(1, images // 50))])

    a, b = ours(), theirs()
    print(f"relative difference {np.linalg.norm(a - b) / np.linalg.norm(b):.1e}")
    times = []
    for _ in range(pairs):
        pair = []
        for side in (ours, theirs):
            began = np.array([perf_counter(), process_time()])
            side()
            pair.append(np.array([perf_counter(), process_time()]) - began)
        times.append(pair)
        (our_time, our_work), (their_time, their_work) = images / np.array(pair)
        print(f"images/s   minicoulomb {our_time:5.2f}   {name} {their_time:5.2f}", end="   ")
        print(f"for a second of processor time   {our_work:5.2f}   {their_work:5.2f}", flush=True)
    time, work = (median(ours[i] / theirs[i] for ours, theirs in times) for i in range(2))
    print(
        f"threads {threads}, batches of {network.batch}: median ratio of times {time:.2f}, of processor time {work:.2f}"
    )


if __name__ == "__main__":
    measure(*map(int, sys.argv[1:]))
