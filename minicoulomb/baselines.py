"""What Algorithm 1 is compared with, on the same networks and draws: a non-saturating GAN, and the field without a D.

gan     D is a logit of "real", and G makes its samples look real (Goodfellow et al., 2014):

    L_D = mean_j softplus(-D(y_j; w)) + mean_i softplus(D(x_i; w)),        x = G(z; theta)
    L_G = mean_i softplus(-D(G(z_i; theta); w))                            softplus(t) = log(1 + e^t)

field   no D: G follows the force of the mini-batch itself, Phi's charges held fixed where they are:

    L_G = -1/2 s mean_i Phi(G(z_i; theta))             dL_G/dx_i = -1/2 s grad Phi(x_i) / n_x

with s Phi what D would regress (potential_scale, relative_potential), and no 1/2 with half_factors off. w and its
moments stay as they are.

l2 penalizes the kernels of the GAN's D as that of Algorithm 1; d_steps, average and both learning rates are as there.
d, eps and relative_potential also say in what kernel and units mmd2 is measured, which tells the objectives apart.
"""

from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.workspace import NoWorkspace
from minicoulomb.config import Config
from minicoulomb.coulomb import field, potentials
from minicoulomb.network import Network
from minicoulomb.objective import Batch, Gradients, potential_unit, target_scale


def softplus(t):
    """log(1 + e^t), shaped as t, without overflow."""
    return array_module(t).logaddexp(t, 0)


def sigmoid(t):
    """d softplus / dt = 1 / (1 + e^-t), shaped as t, without overflow."""
    return array_module(t).exp(-softplus(-t))


def gan_gradients(
    G: Network, D: Network, theta, w, batch: Batch, config: Config, eps: float, train_g=True, workspace=NoWorkspace
) -> Gradients:
    """Both gradients of the non-saturating GAN at (theta, w); only D's with train_g=False. Its r2 is None.

    Generated and real samples pass D one after the other: batch normalization takes each batch by itself.
    """
    x, residuals_z = G.forward(G.prepare(theta, workspace, keep=False), batch.z)
    y, n_x, n_y = batch.y, len(batch.z), len(batch.y)
    prepared = D.prepare(w, workspace)

    d_y, residuals = D.forward(prepared, y)
    dw = D.param_gradient(residuals, sigmoid(-d_y) / -n_y)
    del residuals
    d_x, residuals = D.forward(prepared, x)
    dw += D.param_gradient(residuals, sigmoid(d_x) / n_x)
    if config.algorithm.l2 and not config.algorithm.decoupled_l2:
        for kernel in D.kernels:
            dw[kernel] += config.algorithm.l2 * w[kernel]
    dtheta = None
    if train_g:
        dx = D.input_gradient(residuals, sigmoid(-d_x) / -n_x)
        dtheta = G.param_gradient(residuals_z, dx)

    loss_d = softplus(-d_y).mean() + softplus(d_x).mean()
    loss_g = softplus(-d_x).mean()
    phi_x, phi_y = potentials(x, y, config.algorithm.d, eps)
    mmd2 = potential_unit(config, eps) * (phi_y.mean() - phi_x.mean())
    return Gradients(dtheta, dw, loss_d, loss_g, None, mmd2, residuals_z)


def field_gradients(
    G: Network, D: Network, theta, w, batch: Batch, config: Config, eps: float, train_g=True, workspace=NoWorkspace
) -> Gradients:
    """G's gradient along the field of the mini-batch at theta; D, w and train_g are not looked at.

    dw, loss_d and r2 are None.
    """
    half = 0.5 if config.algorithm.half_factors else 1.0
    scale = half * target_scale(config, eps)
    x, residuals_z = G.forward(G.prepare(theta, workspace, keep=False), batch.z)
    force = field(x, batch.y, x, config.algorithm.d, eps).reshape(x.shape)  # (n_x, ...)
    dtheta = G.param_gradient(residuals_z, force * (-scale / len(x)))

    phi_x, phi_y = potentials(x, batch.y, config.algorithm.d, eps)
    mmd2 = potential_unit(config, eps) * (phi_y.mean() - phi_x.mean())
    return Gradients(dtheta, None, None, -scale * phi_x.mean(), None, mmd2, residuals_z)
