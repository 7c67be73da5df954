"""Samples of a trained generator, in blocks, so that any number of them needs the memory of one block.

The i-th sample depends on the seed and on i alone: latent vectors come from one stream for each block of
BLOCK samples, and every block is computed whole, whatever part of it is asked for.
"""

from collections.abc import Iterator

import numpy as np

from minicoulomb.backend import array_module, to_host
from minicoulomb.gan import State, generate
from minicoulomb.network import Network
from minicoulomb.streams import stream

# Part of every sample's identity: another number would give other samples for the same seed.
BLOCK = 64


def sample_blocks(G: Network, state: State, n: int, seed: int, batch_statistics=False) -> Iterator[np.ndarray]:
    """The samples 0 .. n - 1 as host arrays (at most BLOCK, *shape), from G's averaged weights.

    With `batch_statistics`, batch normalization uses each block's own, as the official code does.
    """
    xp = array_module(state.average)
    for block in range(-(-n // BLOCK)):
        z = stream(seed, "sample", block).standard_normal((BLOCK, *G.input_shape))
        x = generate(G, state, xp.asarray(z, state.average.dtype), batch_statistics)
        yield to_host(x)[: n - block * BLOCK]


def samples(G: Network, state: State, n: int, seed: int, batch_statistics=False) -> np.ndarray:
    """The samples 0 .. n - 1, (n, *shape), in memory."""
    return np.concatenate(list(sample_blocks(G, state, n, seed, batch_statistics)))
