"""D's part of Algorithm 1 in one pass, for a D without batch normalization: the numbers of gan._regress, sooner.

L_D and L_G pass backward through D at the same points x. The backward pass of 1 finds every sample's dD(x_i)/dx_i and
dD(x_i)/dw, and dL_D/dw is the sum of the latter times the errors.
"""

from minicoulomb.arrays.backend import array_module


def regress(D, w, points, targets, slopes):
    """(D(x), D(y), dL_D/dw, dD/dx at x or None) for points (x, y) and their targets."""
    xp, (n_x, n_y) = array_module(points[0]), map(len, points)
    d, residuals = D.forward(w, xp.concatenate(points))  # (n_x + n_y,)
    errors = d - xp.concatenate(targets)
    errors[:n_x] /= n_x
    errors[n_x:] /= n_y
    dx, dw = D.gradients(residuals, xp.ones_like(d), errors)
    return d[:n_x], d[n_x:], dw, dx[:n_x] if slopes else None
