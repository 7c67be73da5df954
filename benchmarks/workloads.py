"""Whole steps of Algorithm 1 to be measured: networks, data and settings, without PyTorch.

Each is plain Algorithm 1 on one batch that is drawn once: averages and schedules, which are no part of it, are off.

The paper's 5x5 layers pad as TensorFlow does, (1, 2). PyTorch's padding=2 with stride 2 amounts to (2, 1), and zeros in
a pass of their own would cost it up to a third of the layer. So both sides have (2, 1): the same work as (1, 2), on
images and kernels turned by 180 degrees.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minicoulomb.arrays.backend import Backend
from minicoulomb.config import Config
from minicoulomb.data.dataset import decode
from minicoulomb.data.mixtures import grid
from minicoulomb.gan import Batch
from minicoulomb.layers import Conv, ConvTranspose
from minicoulomb.models import SampleSpace, build
from minicoulomb.network import Network
from minicoulomb.presets import resolve


class Workload(NamedTuple):
    config: Config
    space: SampleSpace

    def networks(self) -> tuple[Network, Network]:
        """(G, D), with padding (2, 1) in the place of (1, 2)."""
        networks = build(self.config.networks, self.space)
        return tuple(Network([layer.map(_turned) for layer in net.root.children], net.input_shape) for net in networks)

    def batch(self, rng: np.random.Generator, backend: Backend) -> Batch:
        """z ~ N(0, I), and y from the 25 Gaussians, random pixels or characters: (batch_size, ...), in the dtype."""
        n, config = self.config.algorithm.batch_size, self.config
        z = rng.standard_normal((n, config.networks.latent))
        shape = self.space.shape
        if len(shape) == 2:
            y = decode(rng.integers(0, shape[1], (n, shape[0]), np.uint16), np.float32, shape)
        else:
            y = grid().draw(rng, n) if shape == (2,) else rng.uniform(-1, 1, (n, *shape))
        return Batch(*(backend.to_device(array, config.run.dtype) for array in (z, y)))

    def small(self, n: int) -> "Workload":
        """The workload with n samples, in float64."""
        return self._replace(config=self.config.replace(batch_size=n, dtype="float64"))


def _turned(layer):
    if not isinstance(layer, Conv | ConvTranspose) or isinstance(layer.padding, int):
        return layer
    return replace(layer, padding=tuple((after, before) for before, after in layer.padding))


def _images(generator, discriminator, size, n):
    config = Config.of(generator=generator, discriminator=discriminator, latent=16, d=1.0, eps=1.0, batch_size=n)
    return Workload(config, SampleSpace((size, size, 3)))


def _text(length, characters):
    return Workload(resolve("billion-word", data="lines.txt", l2=0.0), SampleSpace((length, characters)))


def _grid():
    config = resolve("grid", average=0.0, eps_end=None, lr_decay=1.0, batch_size=128)
    data = grid()
    return Workload(config, SampleSpace(data.shape, data.scale, data.bound))


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "grid": _grid,
    "dcgan-32-b128": lambda: _images("dcgan", "dcgan", 32, 128),
    "text": lambda: _text(32, 2048),
    "my-64-b64": lambda: _images("my", "my-big", 64, 64),
    "my-64-b128": lambda: _images("my", "my-big", 64, 128),
    "my-64-b512": lambda: _images("my", "my-big", 64, 512),
}
