"""A trained generator in PyTorch, in its own layers. It imports nothing of minicoulomb: copy it and go on there.

    python examples/load_in_pytorch.py runs/00000-digits-conv/checkpoints/step-0003000.npz

`load` returns the module G: z (n, latent) -> images (n, channels, height, width) from -1 to 1, or points (n, m). It has
the generators `mlp`, `my` and `dcgan`; docs/elsewhere.md has the format of the file.

                               in the file                PyTorch
    kernel, linear             (c_in, c_out)              (c_out, c_in)
    kernel, convolution        (kh, kw, c_in, c_out)      (c_out, c_in, kh, kw)
    kernel, transposed         (kh, kw, c_out, c_in)      (c_in, c_out, kh, kw)

So each kernel has the axes (2, 3, 1, 0) of PyTorch's weight.
"""

import json
import os
import sys
from itertools import pairwise
from math import prod

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: its threads would wait for each other

import numpy as np
import torch
from torch import nn


def load(path):
    """(G, about): the generator of a checkpoint, and the description in it, with its settings and space."""
    with np.load(path) as file:
        about = json.loads(file["about"].tobytes())
        names = ("average", "average_statistics") if "average" in file else ("theta", "statistics")
        theta, statistics = (torch.from_numpy(file[name]) for name in names)
    config = about["config"]
    if config["generator"] not in GENERATORS:
        raise NotImplementedError(f"generator {config['generator']}: add its layers to GENERATORS")
    G = nn.Sequential(*GENERATORS[config["generator"]](config, about["space"])).to(theta.dtype)
    weights, buffers = list(G.parameters()), [b for name, b in G.named_buffers() if "running" in name]
    with torch.no_grad():
        for weight, numbers in zip(weights, theta.split([weight.numel() for weight in weights])):
            if weight.ndim > 1:
                c_out, c_in, *taps = weight.shape
                numbers = numbers.reshape(*taps, c_in, c_out).permute(-1, -2, *range(len(taps)))
            weight.copy_(numbers)
        for buffer, numbers in zip(buffers, statistics.split([len(buffer) for buffer in buffers])):
            buffer.copy_(numbers)
    return G.train(config["batch_statistics"]), about


class Image(nn.Module):
    """(n, h w c), the order of this package's numbers, -> (n, c, h, w)."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.reshape(-1, *self.shape).permute(0, 3, 1, 2)


class ScaledTanh(nn.Module):
    """a tanh(b x)."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x):
        return self.a * torch.tanh(self.b * x)


def mlp(config, space):
    widths, layers = [config["latent"]] + [config["g_width"] or 64] * config["g_depth"], []
    for c_in, c_out in pairwise(widths):
        layers += [nn.Linear(c_in, c_out), ACTIVATIONS[config["g_activation"]]()]
    layers += [nn.Linear(widths[-1], prod(space["shape"])), ScaledTanh(space["bound"], space["scale"] / space["bound"])]
    return layers + [Image(space["shape"])] * (len(space["shape"]) == 3)


def my(config, space):
    base, widths = sizes(config["g_width"] or 128, space)
    first = [nn.Linear(config["latent"], base**2 * widths[0]), nn.ReLU(), Image((base, base, widths[0]))]
    # 5x5 'same' drops one row and column in front and two at the end. PyTorch drops one at both, so one more goes.
    double = lambda c_in, c_out, bias: [nn.ConvTranspose2d(c_in, c_out, 5, 2, 1, bias=bias), nn.ZeroPad2d((0, -1) * 2)]
    return [*first, *doubling(config, space, widths, double), ScaledTanh(1.7159, 2 / 3)]


def dcgan(config, space):
    base, widths = sizes(config["g_width"] or 64, space)
    first = [Image((1, 1, config["latent"])), nn.ConvTranspose2d(config["latent"], widths[0], base, bias=False)]
    double = lambda c_in, c_out, bias: [nn.ConvTranspose2d(c_in, c_out, 4, 2, 1, bias=bias)]
    return [*first, *norm(widths[0]), *doubling(config, space, widths, double), nn.Tanh()]


def sizes(c, space):
    """The side of the smallest image, from 4 to 7, and the channels before each doubling: ..., 4 c, 2 c, c."""
    k = space["shape"][0].bit_length() - 3
    return space["shape"][0] >> k, [c << i for i in reversed(range(k))]


def doubling(config, space, widths, double):
    """The layers from the smallest image to samples; `double` makes one that doubles the side."""
    layers, c = [], widths[0]
    for _ in range(config["extra_layers"]):
        layers += [nn.Conv2d(c, c, 3, padding=1, bias=False), *norm(c)]
    for c_in, c_out in pairwise(widths):
        layers += [*double(c_in, c_out, False), *norm(c_out)]
    return [*layers, *double(widths[-1], space["shape"][2], True)]


def norm(c):
    return [nn.BatchNorm2d(c), nn.ReLU()]


GENERATORS = {"mlp": mlp, "my": my, "dcgan": dcgan}
ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU, "tanh": nn.Tanh, "leaky_relu": lambda: nn.LeakyReLU(0.2)}


def main(path):
    G, about = load(path)
    print(G)
    with torch.no_grad():
        x = G(torch.randn(64, about["config"]["latent"], dtype=next(G.parameters()).dtype))
    print(f"64 samples {tuple(x.shape)} from {x.min():.3f} to {x.max():.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
