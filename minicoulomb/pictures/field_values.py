"""The exact field and D's approximation of it in numbers, in units in which eps is 1.

    potential     eps^d Phi(a)                eps^d D(a; w) / s               (n,)        the kernel's centre is 1
    force         eps^(d+1) grad Phi(a)       eps^(d+1) grad_a D(a; w) / s    (n, ...)    shaped as a

s = gan.target_scale: D regresses s Phi. Charges are those of training: x comes from theta, not from the averaged
weights, with batch statistics; y is drawn as `train` draws it for its pictures. With batch normalization
D(a_i) depends on the whole batch a, as it does in training.
"""

from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.limits import check_pairs
from minicoulomb.arrays.rng import rng_for
from minicoulomb.coulomb import field, potential, potentials
from minicoulomb.data.dataset import Dataset, decode
from minicoulomb.gan import target_scale
from minicoulomb.schedules import eps_at
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.sampling import samples

# Points that pass through D at a time; with 128 hidden units a layer needs 2 MB.
BLOCK = 4096


class Charges(NamedTuple):
    """Generated x (n, ...) and real y (n, ...) on the checkpoint's device, and the d and eps of their kernel."""

    x: Any
    y: Any
    d: float
    eps: float


def charges(checkpoint: Checkpoint, dataset: Dataset, n: int, seed: int = 0) -> Charges:
    """n generated and n real charges, and the kernel of the checkpoint's step.

    Raises UserError where the data have another shape than the run's samples.
    """
    config, space, G, _, state = checkpoint
    dataset = dataset.in_space(space)
    among, remedy = (2 * n) ** 2, "use a smaller -n"
    check_pairs(f"the field of {n:,} charges of each kind", among, prod(space.shape), remedy, array_module(state.w))
    current = replace(state, average=None, average_statistics=None)
    x = samples(G, current, n, seed, batch_statistics=True)
    y = decode(dataset.draw(rng_for(seed, "picture"), n), np.dtype(config.run.dtype))
    xp = array_module(state.w)
    return Charges(
        xp.asarray(x),
        xp.asarray(y),
        config.algorithm.d,
        eps_at(config.algorithm, min(state.step, config.algorithm.steps)),
    )


def regresses(checkpoint: Checkpoint) -> bool:
    """Whether D regresses the potential, as in Algorithm 1, unlike in the baselines."""
    return checkpoint.config.algorithm.objective == "coulomb"


def exact_potential(a, charges: Charges):
    """eps^d Phi(a), (n,)."""
    x, y, d, eps = charges
    return eps**d * potential(a, y, x, d, eps)


def exact_force(a, charges: Charges):
    """eps^(d+1) grad Phi(a), shaped as a."""
    x, y, d, eps = charges
    return (eps ** (d + 1) * field(a, y, x, d, eps)).reshape(a.shape)


def learned_potential(a, checkpoint: Checkpoint, eps: float):
    """eps^d D(a; w) / s, (n,)."""
    config, _, _, D, state = checkpoint
    unit = eps**config.algorithm.d / target_scale(config.algorithm, eps)
    return array_module(a).concatenate([unit * D.forward(state.w, block)[0] for block in _blocks(a, D)])


def learned_force(a, checkpoint: Checkpoint, eps: float):
    """eps^(d+1) grad_a sum_i D(a_i; w) / s, shaped as a: the force that G learns from D at a."""
    config, _, _, D, state = checkpoint
    xp, unit = array_module(a), eps ** (config.algorithm.d + 1) / target_scale(config.algorithm, eps)

    def slopes(block):
        values, residuals = D.forward(state.w, block)
        return unit * D.input_gradient(residuals, xp.ones_like(values))

    return xp.concatenate([slopes(block) for block in _blocks(a, D)])


def fit(charges: Charges, checkpoint: Checkpoint) -> float:
    """r2 = 1 - sum (D - Phi)^2 / sum (Phi - mean Phi)^2 over all charges, as training logs it for its batches."""
    x, y, d, eps = charges
    xp = array_module(x)
    phi = eps**d * xp.concatenate(potentials(x, y, d, eps))
    error = xp.concatenate([learned_potential(a, checkpoint, eps) for a in (x, y)]) - phi
    scatter = phi - phi.mean()
    return float(1 - (error @ error) / (scatter @ scatter))


def cosines(a, b):
    """Cosine of the angle between a_i and b_i, (n,); 0 where one of them is 0."""
    xp, a, b = array_module(a), a.reshape(len(a), -1), b.reshape(len(b), -1)
    lengths = xp.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return (a * b).sum(axis=1) / xp.where(lengths > 0, lengths, 1)


def _blocks(a, D):
    """Blocks of a: a single one where batch normalization makes each D(a_i) depend on all of a."""
    size = len(a) if D.statistics_size else BLOCK
    return [a[start : start + size] for start in range(0, len(a), size)]
