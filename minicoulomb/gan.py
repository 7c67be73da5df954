"""Algorithm 1 of the Coulomb GAN: the discriminator regresses the potential, the generator climbs it.

    x   = G(z; theta)                                                   generated samples, z ~ N(0, I)
    L_D = 1/2 mean_i (D(x_i; w) - s Phi(x_i))^2 + 1/2 mean_j (D(y_j; w) - s Phi(y_j))^2 + l2/2 |kernels of D|^2
    L_G = -1/2 mean_i D(G(z_i; theta); w) + l2_g/2 |kernels of G|^2

With `field_share` f > 0, a step beyond the paper, G climbs a mixture of D and the mini-batch's potential:

    L_G = -1/2 mean_i ((1 - f) D + f s Phi)(G(z_i; theta)),        dL_G/dx_i = -1/(2 n_x) ((1 - f) grad D + f s E)(x_i)

D is smooth and lags behind; E = grad Phi of a mini-batch has no bias from D, but its variance. f = 0 is Algorithm 1.

Phi is a target: no gradient flows through it. Both gradients are computed at the current (theta, w) before either
vector changes. In the paper s = 1; here s = `potential_scale`, times eps^d with `relative_potential`, which keeps D's
target of order 1 at any eps. With noise > 0, D learns at x + noise eps N(0, I) and y + noise eps N(0, I), and the two
means in L_D run over these points; noise = 1 is the paper's smoothed density p(a), if its width eps is a deviation.

`gradients` computes the gradients, and `step` takes one step of Adam along them with the numbers of schedules.py. Other
objectives replace `gradients` (see baselines.py).

Source: Unterthiner et al., Coulomb GANs, ICLR 2018, Algorithm 1 and section 2.4.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minicoulomb import one_pass
from minicoulomb.arguments import check_draws, check_state
from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.rng import rng_for
from minicoulomb.arrays.vectors import concatenate
from minicoulomb.arrays.workspace import NoWorkspace
from minicoulomb.config import Algorithm
from minicoulomb.coulomb import field, potential, potentials
from minicoulomb.coulomb.arguments import checked_kernel
from minicoulomb.diagnostics import Metrics, finite_checks, regression_loss
from minicoulomb.errors import UserError
from minicoulomb.network import Network
from minicoulomb.optim import adam, update_average
from minicoulomb.schedules import Rates


class Batch(NamedTuple):
    """The random draws of one update.

    Parameters
    ----------
    z : array (n_x, latent)
        Draws from N(0, I).
    y : array (n_y, ...)
        Real samples, in the dtype of theta.
    noise_x, noise_y : array (n_x, ...) and array (n_y, ...), or None
        Draws from N(0, I), needed if `algorithm.noise` > 0.
    """

    z: Any
    y: Any
    noise_x: Any = None
    noise_y: Any = None


class Gradients(NamedTuple):
    """Gradients of L_G and L_D at one (theta, w), the losses, and what `diagnostics` needs.

    Attributes
    ----------
    dtheta : array (G.size,), or None
        dL_G/dtheta; None with train_g=False.
    dw : array (D.size,), or None
        dL_D/dw; None if the objective has no D.
    loss_d, loss_g : number on the device
        L_D and L_G without their penalties; no L_D if the objective has no D.
    phi_x, phi_y : array (n_x,) and array (n_y,)
        The potential at generated and real samples.
    fit : tuple of two arrays (n_x + n_y,), or None
        D and s Phi at the points where D learns; None if D regresses nothing.
    residuals_z
        Residuals of G's forward pass, for the running statistics.
    """

    dtheta: Any
    dw: Any
    loss_d: Any
    loss_g: Any
    phi_x: Any
    phi_y: Any
    fit: Any
    residuals_z: Any


def potential_unit(algorithm: Algorithm, eps: float) -> float:
    """Factor of the potential that makes it dimensionless: eps^d with `relative_potential`, else 1."""
    return eps**algorithm.d if algorithm.relative_potential else 1.0


def target_scale(algorithm: Algorithm, eps: float) -> float:
    """Factor s of L_D: D regresses s Phi."""
    return algorithm.potential_scale * potential_unit(algorithm, eps)


def gradients(
    G: Network,
    D: Network,
    theta: Any,
    w: Any,
    batch: Batch,
    algorithm: Algorithm,
    eps: float,
    train_g: bool = True,
    workspace=NoWorkspace,
) -> Gradients:
    r"""Both gradients of Algorithm 1 at (theta, w).

        dL_D/dw     = mean_i (D(x_i) - s Phi(x_i)) dD(x_i)/dw + mean_j (D(y_j) - s Phi(y_j)) dD(y_j)/dw + l2 kernels
        dL_G/dtheta = -1/2 mean_i (dx_i/dtheta)^T dD(x_i)/dx_i + l2_g kernels

    Parameters
    ----------
    G, D : Network
        (n, latent) -> (n, ...) and (n, ...) -> (n,): D ends with Linear(c, 1), Reshape(()).
    theta : array (G.size,)
    w : array (D.size,)
        Their parameters.
    batch : Batch
        The draws.
    algorithm : Algorithm
        All that a gradient depends on, but for `eps` and `objective`: `d`, `field_share`, `noise`, `l2`, `l2_g` and
        the potential's scale.
    eps : float
        Width of the Plummer kernel, in the units of the data.
    train_g : bool
        Whether dtheta is needed.
    workspace : minicoulomb.arrays.workspace.Workspace, optional
        Memory for large temporary arrays; a step on images is a quarter faster if all calls get the same one.

    Returns
    -------
    Gradients

    Raises
    ------
    UserError
        If theta, w or the batch do not fit the networks, or `algorithm.noise` > 0 and the batch has no noise.

    Examples
    --------
    >>> import numpy as np
    >>> from minicoulomb.layers import Linear, Reshape
    >>> G, D = Network([Linear(2, 2)], (2,)), Network([Linear(2, 1), Reshape(())], (2,))
    >>> rng = np.random.default_rng(0)
    >>> batch = Batch(z=rng.standard_normal((8, 2)), y=rng.standard_normal((8, 2)))
    >>> theta, w = G.init(rng, np.float64), D.init(rng, np.float64)
    >>> result = gradients(G, D, theta, w, batch, Algorithm(), eps=1.0)
    >>> result.dtheta.shape, result.dw.shape
    ((6,), (3,))
    """
    xp, (_, eps) = check_draws(theta, batch, D.input_shape, algorithm), checked_kernel(algorithm.d, eps, theta.dtype)
    y, n_x = batch.y, len(batch.z)
    of_theta, of_w = G.prepare(theta, workspace, keep=False), D.prepare(w, workspace)  # theta and w, for several passes

    x, residuals_z = G.forward(of_theta, batch.z)  # (n_x, ...)
    phi_x, phi_y = potentials(x, y, algorithm.d, eps)  # (n_x,), (n_y,)
    is_noisy = batch.noise_x is not None
    if is_noisy:
        a_x, a_y = x + algorithm.noise * eps * batch.noise_x, y + algorithm.noise * eps * batch.noise_y
        phi = potential(concatenate((a_x, a_y)), y, x, algorithm.d, eps)  # (n_x + n_y,)
    else:
        a_x, a_y, phi = x, y, concatenate((phi_x, phi_y))
    s = target_scale(algorithm, eps)
    target = s * phi

    regress = _regress if D.statistics_size else one_pass.regress  # one pass is faster, where D treats samples apart
    d, dw, slopes = regress(D, of_w, a_x, a_y, target, train_g and not is_noisy)
    add_penalty(dw, D, w, algorithm.l2)
    d_x, error = d[:n_x], d - target
    loss_d = regression_loss(error, n_x)

    if is_noisy:  # G climbs D at its samples themselves
        d_x, residuals_x = D.forward(of_w, x)
        slopes = D.input_gradient(residuals_x, xp.ones_like(d_x)) if train_g else None
    share, climbed = algorithm.field_share, d_x.mean()
    if share:
        climbed = (1 - share) * climbed + share * s * phi_x.mean()
        if train_g:
            slopes = (1 - share) * slopes + share * s * field(x, y, x, algorithm.d, eps).reshape(x.shape)
    dtheta = G.param_gradient(residuals_z, slopes / (-2 * n_x)) if train_g else None
    add_penalty(dtheta, G, theta, algorithm.l2_g)
    return Gradients(dtheta, dw, loss_d, climbed / -2, phi_x, phi_y, (d, target), residuals_z)


def _regress(D, w, x, y, target, slopes):
    """(D, dL_D/dw, dD/dx at x or None) at the points x and y, with a pass for each, as batch normalization requires."""
    xp, n_x, n_y = array_module(x), len(x), len(y)
    d_y, residuals_y = D.forward(w, y)
    dw = D.param_gradient(residuals_y, (d_y - target[n_x:]) / n_y)
    del residuals_y  # only one pass at a time is in memory
    d_x, residuals_x = D.forward(w, x)
    dw += D.param_gradient(residuals_x, (d_x - target[:n_x]) / n_x)
    dx = D.input_gradient(residuals_x, xp.ones_like(d_x)) if slopes else None
    return concatenate((d_x, d_y)), dw, dx


def add_penalty(gradient: Any, network: Network, theta: Any, l2: float) -> None:
    """gradient += l2 kernels, in place: the gradient of l2/2 |kernels of the network|^2; nothing for None."""
    if l2 and gradient is not None:
        for kernel in network.kernels:
            gradient[kernel] += l2 * theta[kernel]


@dataclass
class State:
    """All that changes in training; `step` updates the arrays in place.

    Attributes
    ----------
    step : int
        Number of steps that led here. The caller counts them.
    theta, w : array (G.size,) and array (D.size,)
        Parameters of G and D.
    moments_g, moments_d : array (2, G.size) and array (2, D.size)
        Adam's.
    statistics : array (G.statistics_size,)
        Running statistics of G's batch normalization.
    average : array (G.size,), or None
        Exponential average of theta; None without averaging.
    average_statistics : array (G.statistics_size,), or None
        Running statistics of G with the averaged weights; None without averaging.
    finite : bool, or a boolean on the device
        Whether all losses and gradients so far were finite. Once it is false, steps change nothing.
    """

    step: int
    theta: Any
    w: Any
    moments_g: Any
    moments_d: Any
    statistics: Any
    average: Any = None
    average_statistics: Any = None
    finite: Any = True


def initial_state(G: Network, D: Network, seed: int = 0, dtype: Any = np.float32, average=False, xp=np) -> State:
    """State before the first step: parameters drawn from the seed, moments of Adam 0.

    Parameters
    ----------
    G : Network
        (n, latent) -> (n, ...).
    D : Network
        (n, ...) -> (n,): it takes the output of G and ends with Linear(c, 1), Reshape(()).
    seed : int
        Equal seeds give equal parameters.
    dtype : {np.float32, np.float64}
        Of all arrays of the state.
    average : bool
        Whether to average theta over the steps, with the decay `algorithm.average`; `generate` then uses the averages.
    xp : module
        numpy, or cupy to keep the state on a GPU.

    Returns
    -------
    State

    Raises
    ------
    UserError
        If D does not take the output of G or does not return one number for each sample, or for another dtype.

    Examples
    --------
    >>> from minicoulomb.layers import Linear, Reshape
    >>> G, D = Network([Linear(3, 2)], (3,)), Network([Linear(2, 1), Reshape(())], (2,))
    >>> state = initial_state(G, D, seed=1, average=True)
    >>> state.theta.shape, state.w.shape, state.average.shape
    ((8,), (3,), (8,))
    """
    if D.input_shape != G.output_shape or D.output_shape != ():
        pair = f"G gives {G.output_shape}, and D turns {D.input_shape} into {D.output_shape}"
        raise UserError(f"{pair}: D must turn G's output into one number, (); end D with Linear(c, 1), Reshape(())")
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise UserError(f"dtype {np.dtype(dtype)}: must be float32 or float64; others lose Adam's epsilon")
    theta = xp.asarray(G.init(rng_for(seed, "init", 0), dtype))
    w = xp.asarray(D.init(rng_for(seed, "init", 1), dtype))
    statistics = xp.asarray(G.init_statistics(dtype))
    moments = [xp.zeros((2, len(vector)), theta.dtype) for vector in (theta, w)]
    averages = (theta.copy(), statistics.copy()) if average else (None, None)
    return State(0, theta, w, moments[0], moments[1], statistics, *averages)


def step(
    G: Network,
    D: Network,
    state: State,
    batches: list[Batch],
    algorithm: Algorithm,
    rates: Rates,
    gradients: Callable[..., Gradients] = gradients,
    workspace=NoWorkspace,
) -> Metrics:
    """One step of Algorithm 1, or of another objective with its function `gradients`, in place.

    There is an update of D for each batch; the last one is simultaneous with the update of G. If anything is not
    finite, the arrays of the state stay as they are, and reading the result raises Diverged. A GPU may still be at work
    when this returns. The caller counts the steps.

    Parameters
    ----------
    G, D : Network
        Generator and discriminator.
    state : State
        From `initial_state`; its arrays change in place.
    batches : list of Batch
        One for each update of D: `algorithm.d_steps` of them.
    algorithm : Algorithm
        Settings of `gradients`.
    rates : Rates
        The numbers of this step: `rates_at(algorithm, number)` with number = 0, 1, ...
    gradients : function
        `gradients` for Algorithm 1; `gan_gradients` or `field_gradients` of minicoulomb.baselines to compare it with.
        `algorithm.objective` does not choose it.
    workspace : minicoulomb.arrays.workspace.Workspace, optional
        Memory for large temporary arrays; a step on images is a quarter faster if all steps get the same one.

    Returns
    -------
    Metrics
        `read()` gives loss_d, loss_g, r2 and mmd2, as far as the objective has them, or raises Diverged.

    Raises
    ------
    UserError
        If there are more or fewer batches than updates of D, or `gradients` raises it.

    Examples
    --------
    >>> import numpy as np
    >>> from minicoulomb.layers import Linear, Reshape
    >>> from minicoulomb.schedules import rates_at
    >>> G, D = Network([Linear(2, 2)], (2,)), Network([Linear(2, 1), Reshape(())], (2,))
    >>> algorithm, state, rng = Algorithm(steps=3), initial_state(G, D), np.random.default_rng(0)
    >>> for number in range(3):
    ...     z, y = rng.standard_normal((2, 8, 2), np.float32)
    ...     metrics = step(G, D, state, [Batch(z, y)], algorithm, rates_at(algorithm, number))
    >>> sorted(metrics.read())
    ['loss_d', 'loss_g', 'mmd2', 'r2']
    """
    if len(batches) != len(rates.adam_d):
        raise UserError(f"{len(batches)} batches: must be a list of {len(rates.adam_d)}, one for each update of D")
    check_state(state)
    w, moments_d, finite = state.w, state.moments_d, state.finite
    if len(batches) > 1:  # so that a later batch that diverges leaves the state as it was
        w, moments_d = w.copy(), moments_d.copy()
    for number, (batch, adam_d) in enumerate(zip(batches, rates.adam_d), 1):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # reported by name when it is read
            is_last = number == len(batches)
            result = gradients(G, D, state.theta, w, batch, algorithm, rates.eps, is_last, workspace)
            checks = finite_checks(result, finite)
            finite = checks["all"]
        if result.dw is not None:
            adam(w, result.dw, moments_d, adam_d, finite)
    adam(state.theta, result.dtheta, state.moments_g, rates.adam_g, finite)
    if len(batches) > 1:
        update_average(state.w, w, 0.0, finite)
        update_average(state.moments_d, moments_d, 0.0, finite)
    _update_averages(G, state, batches[-1].z, result.residuals_z, rates, finite)
    state.finite = finite
    result = result._replace(dtheta=None, dw=None, residuals_z=None)
    return Metrics(result, potential_unit(algorithm, rates.eps), checks)


def _update_averages(G, state, z, residuals_z, rates, finite):
    """Average theta, and batch normalization's statistics of this pass; those of the averaged weights take a pass."""
    if G.statistics_size:
        G.update_statistics(state.statistics, residuals_z, rates.statistics, finite)
    if state.average is not None:
        update_average(state.average, state.theta, rates.average, finite)
        if G.statistics_size:
            _, residuals = G.forward(state.average, z)
            G.update_statistics(state.average_statistics, residuals, rates.statistics, finite)


def generate(G: Network, state: State, z: Any, batch_statistics: bool = False) -> Any:
    """Samples x = G(z) from the averaged weights, or from theta if the state has no averages.

    Parameters
    ----------
    G : Network
    state : State
    z : array (n, latent)
        Draws from N(0, I).
    batch_statistics : bool
        Whether batch normalization uses the statistics of this batch, as in the official code, and not the running
        ones, with which a sample depends on its own z alone.

    Returns
    -------
    x : array (n, *G.output_shape)

    Raises
    ------
    UserError
        If z has another shape.

    Examples
    --------
    >>> from minicoulomb.layers import Linear, Reshape
    >>> G, D = Network([Linear(3, 2)], (3,)), Network([Linear(2, 1), Reshape(())], (2,))
    >>> z = np.random.default_rng(0).standard_normal((5, 3), np.float32)
    >>> generate(G, initial_state(G, D), z).shape
    (5, 2)
    """
    theta, statistics = state.average, state.average_statistics
    if theta is None:
        theta, statistics = state.theta, state.statistics
    return G.forward(theta, z, None if batch_statistics else statistics)[0]
