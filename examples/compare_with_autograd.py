"""Call a gradient on an array and compare it with an autodiff library: here HIPS autograd, by the defining sums.

    pip install autograd
    python examples/compare_with_autograd.py

Expect relative differences of about 1e-15: both compute in float64, in another order.
"""

import autograd.numpy as anp
import numpy as np
from autograd import grad

from minicoulomb.conv import correlate, correlate_input, correlate_kernel
from minicoulomb.coulomb import field
from minicoulomb.layers import batch_norm, batch_norm_input_gradient


def defining_correlation(x, w):
    """y[n,u,v] = sum_{i,j} w[i,j,c,o] x[n, 2 u + i, 2 v + j, c], stride 2, no padding, as a loop over taps."""
    kh, kw = w.shape[:2]
    u, v = (x.shape[1] - kh) // 2 + 1, (x.shape[2] - kw) // 2 + 1
    taps = [(i, j) for i in range(kh) for j in range(kw)]
    return sum(anp.dot(x[:, i : i + 2 * u - 1 : 2, j : j + 2 * v - 1 : 2], w[i, j]) for i, j in taps)


def defining_batch_norm(x, scale, shift):
    mean, variance = anp.mean(x, axis=0), anp.var(x, axis=0)
    return scale * (x - mean) / anp.sqrt(variance + 1e-5) + shift


def defining_potential(a, y, x, d, eps):
    mean_kernel = lambda b: anp.mean((anp.sum((a - b) ** 2, axis=1) + eps**2) ** (-d / 2))
    return mean_kernel(y) - mean_kernel(x)


def difference(ours, theirs):
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def main():
    draw = np.random.default_rng(0).standard_normal
    rows = {}

    x, w = draw((4, 11, 8, 3)), draw((5, 4, 3, 6))
    dy = draw(correlate(x, w, stride=2).shape)
    loss = lambda x, w: anp.sum(defining_correlation(x, w) * dy)
    rows["convolution, dx"] = difference(correlate_input(dy, w, 2, size=(11, 8)), grad(loss, 0)(x, w))
    rows["convolution, dw"] = difference(correlate_kernel(x, dy, (5, 4), 2), grad(loss, 1)(x, w))

    x, scale, shift, dy = draw((16, 5)), draw(5), draw(5), draw((16, 5))
    _, residuals = batch_norm(x, scale, shift)
    theirs = grad(lambda x: anp.sum(defining_batch_norm(x, scale, shift) * dy))(x)
    rows["batch normalization, dx"] = difference(batch_norm_input_gradient(residuals, dy), theirs)

    a, y, x = draw((1, 2)), draw((50, 2)), draw((40, 2))
    theirs = grad(lambda point: defining_potential(point, y, x, 2, 0.5))(a[0])
    rows["field = grad Phi"] = difference(field(a, y, x, 2, 0.5)[0], theirs)

    for name, error in rows.items():
        print(f"{name:<26}{error:.1e}")
    return rows


if __name__ == "__main__":
    main()
