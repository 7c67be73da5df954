"""Algorithm 1 of the Coulomb GAN: the discriminator regresses the potential, the generator climbs it.

    x = G(z; theta)                                   generated samples, z ~ N(0, I)
    L_D = 1/2 mean_i (D(x_i; w) - Phi(x_i))^2 + 1/2 mean_j (D(y_j; w) - Phi(y_j))^2
    L_G = -1/2 mean_i D(G(z_i; theta); w)

Phi is a target: no gradient flows through it. Both gradients are taken at the current (theta, w) before either
changes. A step gives a GPU its work and does not wait for it: what the step saw stays there until somebody reads it,
and where something is not finite, the device itself leaves the state as it was. With `objective` gan or field, a step
takes its gradients from baselines.py and is the same for the rest.

Options add what the official code does and what training needs:

    noise > 0            D learns at x + noise eps N(0, I) and y + noise eps N(0, I): the paper's smoothed p(a)
    half_factors off     no 1/2 in either loss (official code)
    l2                   + l2/2 |kernels of D|^2 in L_D (official code, 1e-7)
    potential_scale s, relative_potential    D regresses s Phi, or s eps^d Phi, which is of order 1 at any eps
    d_steps k            k - 1 updates of D alone before the simultaneous one
    average b            samples come from  average <- b' average + (1 - b') theta,  b' = min(b, (1 + t) / (10 + t)),
                         so that the first of the steps t = 0, 1, ... do not linger; running statistics likewise

Source: Unterthiner et al., Coulomb GANs, ICLR 2018, Algorithm 1 and section 2.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from minicoulomb import baselines
from minicoulomb.arrays.backend import array_module, to_host
from minicoulomb.arrays.rng import rng_for
from minicoulomb.arrays.workspace import NoWorkspace
from minicoulomb.config import Config
from minicoulomb.coulomb import potential, potentials
from minicoulomb.errors import UserError
from minicoulomb.network import Network
from minicoulomb.objective import Batch, Gradients, eps_at, potential_unit, target_scale
from minicoulomb.optim import adam, exponential, update_average

# The running statistics of batch normalization remember about 100 batches.
STATISTICS_MOMENTUM = 0.99


@dataclass
class State:
    """All that changes in training; `step` updates it in place. Vectors are flat (see network.py).

    moments (2, size) are Adam's. statistics are the running ones of G's batch normalization. average and
    average_statistics follow theta with the decay `average`; without averaging they are theta and statistics.
    finite is one boolean, perhaps on a device: whether all losses and gradients so far were. Once it is false, steps
    change nothing but their count.
    """

    step: int
    theta: Any
    w: Any
    moments_g: Any
    moments_d: Any
    statistics: Any
    average: Any
    average_statistics: Any
    finite: Any = True


class Diverged(UserError):
    """A loss or gradient is no finite number; the arrays of the state are still those of the last good step, `step`."""

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


# The numbers that a step sees: losses, and what tells how well D and G do.
LOSSES = ("loss_d", "loss_g")
SEEN = (*LOSSES, "r2", "mmd2")


class Metrics(NamedTuple):
    """What one step saw before its last update, still on the device, and the eps and learning rates that it used."""

    step: int  # how many steps there were before
    names: tuple[str, ...]  # of the numbers: what the objective has of SEEN, then whether all was finite, and what was
    numbers: Any  # (len(names),), on the device
    eps: float
    lr_g: float
    lr_d: float | None

    def read(self) -> dict[str, float]:
        """All of them by name; waits for the device. Raises Diverged if anything was not finite, now or before."""
        numbers = dict(zip(self.names, to_host(self.numbers).tolist(), strict=True))
        seen = {name: numbers.pop(name) for name in SEEN if name in numbers}
        if not numbers.pop("finite"):
            checks = {name: isfinite(seen[name]) for name in LOSSES if name in seen} | numbers
            what = next((name for name, good in checks.items() if not good), "a loss or gradient")
            raise Diverged(
                f"{what} is not finite at step {self.step}; lower --lr-g or --lr-d, or use a larger --eps", self.step
            )
        rates = {"lr_g": self.lr_g} if self.lr_d is None else {"lr_g": self.lr_g, "lr_d": self.lr_d}
        return {**seen, "eps": self.eps, **rates}


def initial_state(G: Network, D: Network, config: Config, xp=np) -> State:
    """Step 0 for the networks: parameters drawn from the seed, in arrays of `xp` and of the configured dtype."""
    dtype = np.dtype(config.run.dtype)
    theta = xp.asarray(G.init(rng_for(config.run.seed, "init", 0), dtype))
    w = xp.asarray(D.init(rng_for(config.run.seed, "init", 1), dtype))
    statistics = xp.asarray(G.init_statistics(dtype))
    moments = [xp.zeros((2, len(vector)), dtype) for vector in (theta, w)]
    averages = (theta.copy(), statistics.copy()) if config.algorithm.average else (theta, statistics)
    return State(0, theta, w, *moments, statistics, *averages)


def gradients(
    G: Network,
    D: Network,
    theta,
    w,
    batch: Batch,
    config: Config,
    eps: float,
    train_g: bool = True,
    workspace=NoWorkspace,
) -> Gradients:
    """Both gradients of Algorithm 1 at (theta, w); only D's with train_g=False."""
    xp, d, n_x, n_y = array_module(theta), config.algorithm.d, len(batch.z), len(batch.y)
    half = 0.5 if config.algorithm.half_factors else 1.0
    unit, scale = potential_unit(config, eps), target_scale(config, eps)

    x, residuals_z = G.forward(G.prepare(theta, workspace, keep=False), batch.z)
    y = batch.y
    phi_x, phi_y = potentials(x, y, d, eps)
    mmd2 = unit * (phi_y.sum() / n_y - phi_x.sum() / n_x)
    a_x, a_y = x, y
    if batch.noise_x is not None:
        a_x, a_y = x + config.algorithm.noise * eps * batch.noise_x, y + config.algorithm.noise * eps * batch.noise_y
        phi_x, phi_y = potential(a_x, y, x, d, eps), potential(a_y, y, x, d, eps)

    prepared = D.prepare(w, workspace)
    regress = _regress_apart if D.statistics_size else _regress_together
    climbs_there = train_g and batch.noise_x is None
    targets = scale * phi_x, scale * phi_y
    d_x, d_y, dw, slopes = regress(D, prepared, (a_x, a_y), targets, 2 * half, climbs_there)
    if config.algorithm.l2 and not config.algorithm.decoupled_l2:
        for kernel in D.kernels:
            dw[kernel] += config.algorithm.l2 * w[kernel]
    error_x, error_y = d_x - targets[0], d_y - targets[1]
    loss_d = half * ((error_x @ error_x) / n_x + (error_y @ error_y) / n_y)
    r2 = 1 - (error_x @ error_x + error_y @ error_y) / (scale**2 * _scatter(phi_x, phi_y))

    if batch.noise_x is not None:  # G climbs D at its samples themselves
        d_x, residuals = D.forward(prepared, x)
        slopes = D.input_gradient(residuals, xp.ones_like(d_x)) if train_g else None
        del residuals
    del prepared
    loss_g = -half / n_x * d_x.sum()
    dtheta = G.param_gradient(residuals_z, slopes * (-half / n_x)) if train_g else None
    return Gradients(dtheta, dw, loss_d, loss_g, r2, mmd2, residuals_z)


# L_D and L_G pass backward through D at the same points x. Each of the two functions below returns D(x), D(y), the
# gradient dw of  factor/2 (mean_i (D(x_i) - target_i)^2 + mean_j (D(y_j) - target_j)^2), and dD/dx at x or None.


def _regress_together(D, w, points, targets, factor, slopes):
    """Where D(x_i) depends on x_i alone: one pass for all points, and one backward for both losses.

    The backward pass finds every sample's own dD(x_i)/dx_i and dD(x_i)/dw; L_D adds up the latter times its errors.
    """
    xp, n_x, n_y = array_module(points[0]), len(points[0]), len(points[1])
    d, residuals = D.forward(w, xp.concatenate(points))
    weights = d - xp.concatenate(targets)
    weights[:n_x] *= factor / n_x
    weights[n_x:] *= factor / n_y
    dx, dw = D.gradients(residuals, xp.ones_like(d), weights)
    return d[:n_x], d[n_x:], dw, dx[:n_x] if slopes else None


def _regress_apart(D, w, points, targets, factor, slopes):
    """Where batch normalization ties samples together: a pass for each batch, one of them in memory at a time."""
    (x, y), (target_x, target_y) = points, targets
    d_y, residuals = D.forward(w, y)
    dw = D.param_gradient(residuals, (d_y - target_y) * (factor / len(y)))
    del residuals
    d_x, residuals = D.forward(w, x)
    dw += D.param_gradient(residuals, (d_x - target_x) * (factor / len(x)))
    dx = D.input_gradient(residuals, array_module(x).ones_like(d_x)) if slopes else None
    return d_x, d_y, dw, dx


def step(G: Network, D: Network, state: State, batches: list[Batch], config: Config, workspace=NoWorkspace) -> Metrics:
    """One step of Algorithm 1, or of its baseline `config.algorithm.objective`, in place.

    An update of D for each batch, with the last of them one of G. Large temporary arrays come from `workspace`: pass
    the same Workspace to every step. If anything is not finite, the arrays of the state stay as they are, and reading
    the result raises Diverged.
    """
    eps, decay = (
        eps_at(config, state.step),
        exponential(1.0, config.algorithm.lr_decay, state.step / config.algorithm.steps),
    )
    lr_g, lr_d = config.algorithm.lr_g * decay, config.algorithm.lr_d * decay
    xp, w, moments_d, finite, finite_dw = array_module(state.theta), state.w, state.moments_d, state.finite, True
    objectives = {"coulomb": gradients, "gan": baselines.gan_gradients, "field": baselines.field_gradients}
    of_losses = objectives[config.algorithm.objective]
    if len(batches) > 1:  # so that a later batch that diverges leaves the state as it was
        w, moments_d = w.copy(), moments_d.copy()
    for number, batch in enumerate(batches, 1):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # told by name when it is read
            result = of_losses(G, D, state.theta, w, batch, config, eps, number == len(batches), workspace)
            losses = result.loss_g if result.loss_d is None else result.loss_d + result.loss_g
            finite_dw, finite_dtheta = _is_finite(result.dw) & finite_dw, _is_finite(result.dtheta)
            finite = xp.isfinite(losses) & finite_dw & finite_dtheta & finite
        if config.algorithm.l2 and config.algorithm.decoupled_l2:
            for kernel in D.kernels:
                update_average(w[kernel], 0.0, 1 - lr_d * config.algorithm.l2, finite)
        if result.dw is None:
            continue
        t = state.step * len(batches) + number
        adam(
            w,
            result.dw,
            moments_d,
            t,
            lr_d,
            config.algorithm.beta1_d,
            config.algorithm.beta2,
            config.algorithm.adam_epsilon,
            finite,
        )
    t = state.step + 1
    adam(
        state.theta,
        result.dtheta,
        state.moments_g,
        t,
        lr_g,
        config.algorithm.beta1_g,
        config.algorithm.beta2,
        config.algorithm.adam_epsilon,
        finite,
    )
    if len(batches) > 1:
        update_average(state.w, w, 0.0, finite)
        update_average(state.moments_d, moments_d, 0.0, finite)
    _update_averages(G, state, batches[-1], result.residuals_z, config, finite)
    seen = {name: getattr(result, name) for name in SEEN}
    has_d = result.dw is not None
    seen |= {"gradient dw": finite_dw if has_d else None, "gradient dtheta": finite_dtheta, "finite": finite}
    seen = {name: number for name, number in seen.items() if number is not None}
    metrics = Metrics(state.step, tuple(seen), xp.stack(list(seen.values())), eps, lr_g, lr_d if has_d else None)
    state.step, state.finite = state.step + 1, finite
    return metrics


def generate(G: Network, state: State, z, batch_statistics: bool = False):
    """x (n, *shape) for z (n, latent), from the averaged weights.

    Batch normalization uses the running statistics, so a sample depends on its own z alone, or with
    `batch_statistics` those of this batch, as the official code does.
    """
    return G.forward(state.average, z, None if batch_statistics else state.average_statistics)[0]


def _is_finite(gradient):
    """Whether all its numbers are, if there is one: a sum of squares is not finite, where one of them is not."""
    return gradient is None or array_module(gradient).isfinite(gradient @ gradient)


def _scatter(phi_x, phi_y):
    """sum (Phi - mean Phi)^2 over both."""
    mean = (phi_x.sum() + phi_y.sum()) / (len(phi_x) + len(phi_y))
    return ((phi_x - mean) ** 2).sum() + ((phi_y - mean) ** 2).sum()


def _update_averages(G, state, batch, residuals_z, config, finite):
    remembered = (1 + state.step) / (10 + state.step)
    momentum = min(STATISTICS_MOMENTUM, remembered)
    if G.statistics_size:
        G.update_statistics(state.statistics, residuals_z, momentum, finite)
    if not config.algorithm.average:
        return
    update_average(state.average, state.theta, min(config.algorithm.average, remembered), finite)
    if G.statistics_size:
        _, residuals = G.forward(state.average, batch.z)
        G.update_statistics(state.average_statistics, residuals, momentum, finite)
