"""D's part of Algorithm 1 in one pass, for a D without batch normalization: the numbers of gan._regress, sooner.

L_D and L_G pass backward through D at the same points x. The backward pass of 1 finds every sample's dD(x_i)/dx_i and
dD(x_i)/dw, and dL_D/dw is the sum of the latter times the errors.
"""

from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.vectors import concatenate


def regress(D, w, x, y, target, slopes):
    """(D, dL_D/dw, dD/dx at x or None) at the points x and y, where D regresses `target` (n_x + n_y,)."""
    xp, n_x, n_y = array_module(x), len(x), len(y)
    d, residuals = D.forward(w, concatenate((x, y)))  # (n_x + n_y,)
    error = d - target
    for part, n in ((error[:n_x], n_x), (error[n_x:], n_y)):
        part /= n
    dx, dw = D.gradients(residuals, xp.ones_like(d), error)
    return d, dw, dx[:n_x] if slopes else None
