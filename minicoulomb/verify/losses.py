"""The losses of Algorithm 1 and of its baselines, written again as functions of one argument.

    L_D(w)     = 1/2 mean_i (D(x_i; w) - Phi(x_i))^2 + 1/2 mean_j (D(y_j; w) - Phi(y_j))^2,    x and Phi constants
    L_G(theta) = -1/2 mean_i ((1 - f) D + f Phi)(G(z_i; theta)),     f the field share
    Phi(a)     = 1/n_y sum_j (|a - y_j|^2 + eps^2)^(-d/2) - 1/n_x sum_i (|a - x_i|^2 + eps^2)^(-d/2)

The baselines are a GAN, and the field without a discriminator, whose charges y and x = G(z; theta) are constants:

    L_D(w)     = mean_j -log sigmoid(D(y_j; w)) + mean_i -log(1 - sigmoid(D(x_i; w))),                x constant
    L_G(theta) = mean_i -log sigmoid(D(G(z_i; theta); w))
    L_G(theta) = -1/2 mean_i Phi(G(z_i; theta))

Operators and methods that all array libraries share are used alone, and nothing of gan.py, baselines.py or coulomb/.
"""

from minicoulomb.config import Algorithm
from minicoulomb.gan import Batch


def penalties(kernels, algorithm: Algorithm):
    """The penalties of both networks, l2_g/2 |kernels|^2 of theta and l2/2 |kernels|^2 of w, as functions.

    kernels   slices of theta, and of w, that the penalties count
    """
    square = lambda vector, counted: sum((vector[kernel] ** 2).sum() for kernel in counted)
    of_g, of_d = kernels
    return lambda theta: algorithm.l2_g / 2 * square(theta, of_g), lambda w: algorithm.l2 / 2 * square(w, of_d)


def losses(networks, theta, w, batch: Batch, algorithm: Algorithm, eps: float, log_sigmoid):
    """(L_G, a function of theta; L_D, of w) at (theta, w), without penalties; None without a D.

    networks      (G, D): G(theta, z) is x (n_x, ...), D(w, x) is (n_x,)
    log_sigmoid   log(1 / (1 + e^-x)) in the library of the arrays
    """
    (G, D), z, y = networks, batch.z, batch.y
    x = G(theta, z)
    scale = algorithm.potential_scale * (eps**algorithm.d if algorithm.relative_potential else 1.0)
    target = lambda a: scale * potential(a, y, x, algorithm.d, eps)
    if algorithm.objective == "field":
        return lambda theta: -target(G(theta, z)).mean() / 2, None
    if algorithm.objective == "gan":
        return (
            lambda theta: -log_sigmoid(D(w, G(theta, z))).mean(),
            lambda w: -log_sigmoid(D(w, y)).mean() - log_sigmoid(-D(w, x)).mean(),
        )
    points = x, y
    if batch.noise_x is not None:
        points = x + algorithm.noise * eps * batch.noise_x, y + algorithm.noise * eps * batch.noise_y
    targets, share = [target(a) for a in points], algorithm.field_share
    climbed = lambda x: ((1 - share) * D(w, x) + share * target(x)).mean()
    return (
        lambda theta: climbed(G(theta, z)) / -2,
        lambda w: sum(((D(w, a) - phi) ** 2).mean() for a, phi in zip(points, targets)) / 2,
    )


def potential(a, y, x, d: float, eps: float):
    """Phi(a), (n_a,), from all differences of points."""
    a, y, x = (points.reshape((len(points), -1)) for points in (a, y, x))
    kernel = lambda b: (((a[:, None] - b[None]) ** 2).sum(-1) + eps**2) ** (-d / 2)
    return kernel(y).mean(1) - kernel(x).mean(1)
