"""What an objective takes and gives: gan.py has Algorithm 1's, baselines.py those that it is compared with.

    gradients(G, D, theta, w, batch, config, eps, train_g, workspace) -> Gradients

What belongs to the configuration alone, the kernel's width and the units, is here too.
"""

from typing import Any, NamedTuple

from minicoulomb.config import Config
from minicoulomb.optim import exponential


class Batch(NamedTuple):
    """What chance gives one update: z (n_x, latent), y (n_y, ...), and N(0, I) noise shaped as x and y, or None."""

    z: Any
    y: Any
    noise_x: Any = None
    noise_y: Any = None


class Gradients(NamedTuple):
    """The gradients of L_G and L_D at one (theta, w), and what was seen on the way.

    dtheta is None where only D's was asked for, dw and loss_d where the objective has no D, r2 where D regresses
    nothing. loss_d (without the penalty), loss_g, r2 and mmd2 are numbers:
    r2     = 1 - sum (D - Phi)^2 / sum (Phi - mean Phi)^2, over all points where D learns: D's fit, at most 1
    mmd2   = mean Phi(y) - mean Phi(x) >= 0, the squared MMD of the two batches, the curve that must fall; like D's
             target it is in units of eps^-d where relative_potential says so, or it would grow as eps shrinks
    """

    dtheta: Any
    dw: Any
    loss_d: Any
    loss_g: Any
    r2: Any
    mmd2: Any
    residuals_z: Any


def eps_at(config: Config, step: int) -> float:
    """The kernel's width in the step `step`, exponentially from `eps` to `eps_end`."""
    return exponential(
        config.algorithm.eps,
        config.algorithm.eps if config.algorithm.eps_end is None else config.algorithm.eps_end,
        step / config.algorithm.steps,
    )


def potential_unit(config: Config, eps: float) -> float:
    """mmd2 is in units of 1 / this number: eps^-d with relative_potential, else 1."""
    return eps**config.algorithm.d if config.algorithm.relative_potential else 1.0


def target_scale(config: Config, eps: float) -> float:
    """D regresses this multiple of Phi."""
    return config.algorithm.potential_scale * potential_unit(config, eps)
