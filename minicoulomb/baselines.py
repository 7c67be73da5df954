"""Two objectives to compare Algorithm 1 with, on the same networks and draws.

gan     a non-saturating GAN (Goodfellow et al., 2014): D is a logit of "real", and G raises D at its samples:

    L_D = mean_j softplus(-D(y_j; w)) + mean_i softplus(D(x_i; w)) + l2/2 |kernels of D|^2,      x = G(z; theta)
    L_G = mean_i softplus(-D(G(z_i; theta); w)) + l2_g/2 |kernels of G|^2         softplus(t) = log(1 + e^t)

field   no D: G follows the force of the mini-batch, with Phi's charges fixed:

    L_G = -1/2 s mean_i Phi(G(z_i; theta)) + l2_g/2 |kernels of G|^2,       dL_G/dx_i = -1/2 s grad Phi(x_i) / n_x

with s as in gan.py. w and its moments do not change. The paper rejects this generator, whose field has a high variance
(section 2.4); docs/differences.md has measurements.

Both functions have the signature of gan.gradients, and `gan.step` takes one as `gradients`. The squared MMD is measured
in the same kernel and units for all objectives.
"""

from typing import Any

from minicoulomb.arguments import check_draws
from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.workspace import NoWorkspace
from minicoulomb.config import Algorithm
from minicoulomb.coulomb import field, potentials
from minicoulomb.coulomb.arguments import checked_kernel
from minicoulomb.gan import Batch, Gradients, add_penalty, gradients, target_scale
from minicoulomb.network import Network


def softplus(t: Any) -> Any:
    """log(1 + e^t), shaped as t, without overflow."""
    return array_module(t).logaddexp(t, 0)


def sigmoid(t: Any) -> Any:
    """d softplus / dt = 1 / (1 + e^-t), shaped as t, without overflow."""
    return array_module(t).exp(-softplus(-t))


def gan_gradients(
    G: Network,
    D: Network,
    theta,
    w,
    batch: Batch,
    algorithm: Algorithm,
    eps: float,
    train_g=True,
    workspace=NoWorkspace,
) -> Gradients:
    """Both gradients of the non-saturating GAN at (theta, w); only D's with train_g=False.

    Generated and real samples pass D one after the other: batch normalization normalizes each batch by itself.
    """
    check_draws(theta, batch, D.input_shape, algorithm)
    y, n_x, n_y = batch.y, len(batch.z), len(batch.y)
    of_theta, of_w = G.prepare(theta, workspace, keep=False), D.prepare(w, workspace)
    x, residuals_z = G.forward(of_theta, batch.z)
    d_y, residuals_y = D.forward(of_w, y)
    dw = D.param_gradient(residuals_y, sigmoid(-d_y) / -n_y)
    del residuals_y  # only one pass at a time is in memory
    d_x, residuals_x = D.forward(of_w, x)
    dw += D.param_gradient(residuals_x, sigmoid(d_x) / n_x)
    add_penalty(dw, D, w, algorithm.l2)
    dtheta = None
    if train_g:
        dtheta = G.param_gradient(residuals_z, D.input_gradient(residuals_x, sigmoid(-d_x) / -n_x))
    add_penalty(dtheta, G, theta, algorithm.l2_g)
    loss_d = softplus(-d_y).mean() + softplus(d_x).mean()
    phi_x, phi_y = potentials(x, y, algorithm.d, eps)
    return Gradients(dtheta, dw, loss_d, softplus(-d_x).mean(), phi_x, phi_y, None, residuals_z)


def field_gradients(
    G: Network,
    D: Network,
    theta,
    w,
    batch: Batch,
    algorithm: Algorithm,
    eps: float,
    train_g=True,
    workspace=NoWorkspace,
) -> Gradients:
    """G's gradient along the field of the mini-batch at theta; D, w and train_g are not used."""
    check_draws(theta, batch, D.input_shape, algorithm)
    _, eps = checked_kernel(algorithm.d, eps, theta.dtype)
    half_s = target_scale(algorithm, eps) / 2
    x, residuals_z = G.forward(G.prepare(theta, workspace, keep=False), batch.z)
    force = field(x, batch.y, x, algorithm.d, eps).reshape(x.shape)  # (n_x, ...)
    dtheta = G.param_gradient(residuals_z, force * (-half_s / len(x)))
    add_penalty(dtheta, G, theta, algorithm.l2_g)
    phi_x, phi_y = potentials(x, batch.y, algorithm.d, eps)
    return Gradients(dtheta, None, None, -half_s * phi_x.mean(), phi_x, phi_y, None, residuals_z)


OBJECTIVES = {"coulomb": gradients, "gan": gan_gradients, "field": field_gradients}
