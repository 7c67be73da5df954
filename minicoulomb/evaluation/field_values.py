"""The exact field and D's approximation of it in numbers, in units in which eps is 1.

    potential     eps^d Phi(a)                eps^d D(a; w) / s               (n,)        the kernel's centre is 1
    force         eps^(d+1) grad Phi(a)       eps^(d+1) grad_a D(a; w) / s    (n, ...)    shaped as a

s = gan.target_scale: D regresses s Phi. Charges are those of training: x comes from theta, not from the averaged
weights, with batch statistics; y is drawn as `train` draws it for its pictures. With batch normalization
D(a_i) depends on the whole batch a, as it does in training.

`follows` says how well D follows the potential of many charges. A charge's own kernel, the self-term, is left out at
its place, where it shifts Phi by eps^-d / n. What is left of Phi is partly chance, for the charges are a sample: they
are split into G groups, each with a potential Phi_g, and

    share of chance   c = mean_i var_g(Phi_g(a_i) - mean_i Phi_g) / G / var_i(Phi(a_i)),      Phi = mean_g Phi_g

A D that knows the expected potential exactly has the correlation (1 - c)^(1/2) with Phi, and R^2 = 1 - c.
"""

from dataclasses import replace
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

from minicoulomb.arrays.backend import array_module, to_host
from minicoulomb.arrays.limits import check_pairs
from minicoulomb.arrays.rng import rng_for
from minicoulomb.coulomb import field, potential
from minicoulomb.coulomb.formulas import kernel_sums
from minicoulomb.data.dataset import Dataset, decode
from minicoulomb.gan import target_scale
from minicoulomb.schedules import eps_at
from minicoulomb.training.checkpoint import Checkpoint
from minicoulomb.training.sampling import samples

# Points that pass through D at a time; with 128 hidden units a layer needs 2 MB.
BLOCK = 4096
# Groups of charges whose potentials are compared.
GROUPS = 10
# Standard deviations below are those of a constant, in units of eps^-d.
CONSTANT = 1e-7


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
    y = decode(dataset.draw(rng_for(seed, "picture"), n), np.dtype(config.run.dtype), dataset.shape)
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


def follows(charges: Charges, checkpoint: Checkpoint) -> dict[str, float]:
    """How well D follows the potential of the charges, without self-terms.

    d_correlation         of D and Phi at generated points; 0 where D is constant
    d_correlation_limit   that of a D that knows the expected potential: the rest of Phi is chance
    d_r2                  1 - mean (D - Phi)^2 / var Phi at generated points, at most d_correlation_limit^2
    d_correlation_real, d_r2_real   the same at real points

    Empty for fewer than 2 GROUPS charges of a kind, and where Phi is constant. Only for a D that regresses Phi.
    """
    found: dict[str, float] = {}
    if len(charges.x) < 2 * GROUPS:
        return found
    for a, suffix in ((charges.x, ""), (charges.y, "_real")):
        groups = to_host(group_potentials(a, charges)).astype(np.float64)  # (GROUPS, n)
        d = to_host(learned_potential(a, checkpoint, charges.eps)).astype(np.float64)
        phi = groups.mean(axis=0)
        groups -= groups.mean(axis=1, keepdims=True)
        scatter, width = phi.var(), d.std()
        if not scatter > CONSTANT**2:
            return {}
        covariance = ((d - d.mean()) * (phi - phi.mean())).mean()
        found[f"d_correlation{suffix}"] = float(covariance / width / scatter**0.5) if width > CONSTANT else 0.0
        if not suffix:
            chance = groups.var(axis=0, ddof=1).mean() / GROUPS / scatter
            found["d_correlation_limit"] = max(0.0, 1 - float(chance)) ** 0.5
        found[f"d_r2{suffix}"] = float(1 - ((d - phi) ** 2).mean() / scatter)
    return found


def in_words(fit: dict[str, float]) -> str:
    """The correlation and its limit for the title of a picture; nothing without a fit."""
    return ": correlation {d_correlation:.2f} of at most {d_correlation_limit:.2f}".format(**fit) if fit else ""


def group_potentials(a, charges: Charges):
    """eps^d Phi(a), (GROUPS, n), of each of equal groups of the charges, where a is charges.x or charges.y.

    A charge is left out of its group's potential at its place.
    """
    x, y, d, eps = charges
    xp, n = array_module(a), len(a)
    at, phi = a.reshape(n, -1), []
    for start, stop in pairwise(group * n // GROUPS for group in range(GROUPS + 1)):
        means = []
        for p in (x, y):
            ones = xp.ones(stop - start, a.dtype)
            sums = eps**d * kernel_sums(at, p[start:stop].reshape(stop - start, -1), ones, d, eps)
            counts = xp.full(n, stop - start, a.dtype)
            if p is a:
                sums[start:stop] -= 1
                counts[start:stop] -= 1
            means.append(sums / counts)
        phi.append(means[1] - means[0])
    return xp.stack(phi)


def cosines(a, b):
    """Cosine of the angle between a_i and b_i, (n,); 0 where one of them is 0."""
    xp, a, b = array_module(a), a.reshape(len(a), -1), b.reshape(len(b), -1)
    lengths = xp.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return (a * b).sum(axis=1) / xp.where(lengths > 0, lengths, 1)


def _blocks(a, D):
    """Blocks of a: a single one where batch normalization makes each D(a_i) depend on all of a."""
    size = len(a) if D.statistics_size else BLOCK
    return [a[start : start + size] for start in range(0, len(a), size)]
