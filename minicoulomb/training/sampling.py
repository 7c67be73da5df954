"""Samples of a trained generator, in blocks, so that any number of them needs the memory of one block.

The i-th sample depends on the seed and on i alone: latent vectors come from one stream for each block of
BLOCK samples, and every block is computed whole, whatever part of it is asked for.

Between two latent vectors an interpolation goes along

    z(t) = cos(pi/2 t) z_0 + sin(pi/2 t) z_1,      0 <= t <= 1

If z_0 and z_1 are independent draws from N(0, I), then so is each z(t), for cos^2 + sin^2 = 1: G sees nothing that it
was not trained on. Halfway along the straight line z has half the variance, and a length that in 16 dimensions one draw
in 20 falls short of, in 100 dimensions seven in a million. (In many dimensions two draws are nearly orthogonal and of
nearly equal length, and the curve is the arc between them: spherical interpolation.)
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import prod

import numpy as np

from minicoulomb.arrays.backend import array_module, to_host
from minicoulomb.arrays.limits import check_memory
from minicoulomb.arrays.rng import rng_for
from minicoulomb.arrays.sharing import each
from minicoulomb.gan import State, generate
from minicoulomb.network import Network

# Part of every sample's identity: another number would give other samples for the same seed.
BLOCK = 64

Progress = Callable[[int, int], object] | None


def latents(G: Network, n: int, seed: int) -> Iterator[np.ndarray]:
    """The latent vectors of the samples 0, 1, ... in whole blocks (BLOCK, latent), at least n of them."""
    return (_latents(G, seed, block) for block in range(-(-n // BLOCK)))


def _latents(G, seed, block):
    return rng_for(seed, "sample", block).standard_normal((BLOCK, *G.input_shape))


def sample_blocks(
    G: Network, state: State, n: int, seed: int, batch_statistics=False, progress: Progress = None
) -> Iterator[np.ndarray]:
    """The samples 0 .. n - 1 as host arrays (at most BLOCK, *shape), from G's averaged weights.

    With `batch_statistics`, batch normalization uses each block's own, as the official code does. Calls progress(done,
    n) after each block.
    """
    state, done = replace(state, w=None, moments_g=None, moments_d=None), 0  # what other processes need of it
    for x in each(partial(_block, G, state, n, seed, batch_statistics), range(-(-n // BLOCK))):
        done += len(x)
        yield x
        if progress:
            progress(done, n)


def _block(G, state, n, seed, batch_statistics, number):
    return _images(G, state, _latents(G, seed, number), batch_statistics)[: n - number * BLOCK]


def samples(
    G: Network, state: State, n: int, seed: int, batch_statistics=False, progress: Progress = None
) -> np.ndarray:
    """The samples 0 .. n - 1, (n, *shape), in memory; as G makes them, without the location of a run's SampleSpace.

    UserError if they do not fit.
    """
    # The blocks and all of them in one array.
    check_memory(f"{n:,} samples", 2 * n * prod(G.output_shape) * state.theta.itemsize, "use a smaller -n")
    return np.concatenate(list(sample_blocks(G, state, n, seed, batch_statistics, progress)))


def interpolations(G: Network, state: State, n: int, steps: int, seed: int, batch_statistics=False) -> np.ndarray:
    """n rows of `steps` samples, (n, steps, *shape): row i leads from the sample i to the sample i + 1."""
    ends = np.concatenate(list(latents(G, n + 1, seed)))[: n + 1]
    z = arcs(ends[:-1], ends[1:], steps).reshape(-1, *G.input_shape)
    blocks = [_images(G, state, z[i : i + BLOCK], batch_statistics) for i in range(0, len(z), BLOCK)]
    return np.concatenate(blocks).reshape(n, steps, *G.output_shape)


def arcs(z_0, z_1, steps: int):
    """z(t) from z_0 to z_1, (n, latent) each, at `steps` values of t from 0 to 1: (n, steps, latent)."""
    angles = np.linspace(0, np.pi / 2, steps)[:, None]
    return np.cos(angles) * z_0[:, None] + np.sin(angles) * z_1[:, None]


def _images(G, state, z, batch_statistics):
    z = array_module(state.theta).asarray(z, state.theta.dtype)
    return to_host(generate(G, state, z, batch_statistics))
