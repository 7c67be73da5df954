"""Algorithm 1 on images, written out: convolutions, batch normalization, both gradients and Adam in plain NumPy.

    python examples/algorithm_1_images.py                 1,000 steps, half a minute; writes algorithm_1_images.png

The potential of real images y and generated images x = G(z; theta) is the target of D, and G climbs D:

    k(a, b)    = (|a - b|^2 + eps^2)^(-d/2)                                                the Plummer kernel
    Phi(a)     = mean_j k(a, y_j) - mean_i k(a, x_i)                                       the potential
    L_D(w)     = 1/2 mean_i (D(x_i; w) - s Phi(x_i))^2 + 1/2 mean_j (D(y_j; w) - s Phi(y_j))^2
    L_G(theta) = -1/2 mean_i D(G(z_i; theta); w)

In L_D, x and Phi are constants; the factor s makes its target a number of order 1. Every convolution of stride t,
forward or backward, is a partial derivative of one trilinear form:

    T(x, k, dy) = sum dy[n,u,v,o] k[i,j,c,o] xpad[n, t u + i, t v + j, c]                  over all indices

                              y                          dx                         dk
    convolution               correlate(x, k)            correlate_input(dy, k)     correlate_kernel(x, dy)
    transposed convolution    correlate_input(x, k)      correlate(dy, k)           correlate_kernel(dy, x)

    correlate = dT/d(dy)      correlate_input = dT/dx    correlate_kernel = dT/dk

Batch normalization, with means over all axes but the channels':

    xhat = (x - mean x) / std,    std = (mean (x - mean x)^2 + 1e-5)^(1/2),    y = scale xhat + shift
    dx   = scale / std (dy - mean dy - xhat mean(dy xhat)),    dscale = sum dy xhat,    dshift = sum dy

Expect the squared MMD of 1,000 real and 1,000 generated digits to fall from 0.1 to 0.004 (seeds 0 to 2); of two
sets of 1,000 real digits it is 0.0016. Most images of the picture are digits that one can name.
"""

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: its threads would wait for each other

import numpy as np

from minicoulomb.data.digits import digits
from minicoulomb.pictures import image_grid

d, eps, s = 1.0, 1.0, 30.0  # the kernel's exponent and width; D regresses s Phi
LATENT, C = 16, 32  # dimension of z; C channels at 8x8 and 2C at 4x4
PIXELS = (0, 1, 2)  # all axes but the channels'


def windows(x, size, stride, pad):
    """xpad[n, t u + i, t v + j, c] as a view (n, u, v, i, j, c)."""
    xpad = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    view = np.lib.stride_tricks.sliding_window_view(xpad, (size, size), axis=(1, 2))  # (n, u, v, c, i, j), stride 1
    return view[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)


def correlate(x, k, stride, pad):
    """y[n,u,v,o] = sum_{i,j,c} xpad[n, t u + i, t v + j, c] k[i,j,c,o]."""
    return np.tensordot(windows(x, len(k), stride, pad), k, axes=3)  # (n, u, v, o)


def correlate_input(dy, k, stride, pad):
    """dxpad[n, t u + i, t v + j, c] = sum dy[n,u,v,o] k[i,j,c,o] over all that fall on one pixel."""
    (n, u, v, _), (size, _, c, _) = dy.shape, k.shape
    terms = np.tensordot(dy, k, axes=(3, 3))  # (n, u, v, i, j, c)
    dxpad = np.zeros((n, stride * (u - 1) + size, stride * (v - 1) + size, c), dy.dtype)
    for i, j in np.ndindex(size, size):
        dxpad[:, i : i + stride * u : stride, j : j + stride * v : stride] += terms[:, :, :, i, j]
    return dxpad[:, pad:-pad, pad:-pad]  # (n, h, w, c)


def correlate_kernel(x, dy, size, stride, pad):
    """dk[i,j,c,o] = sum_{n,u,v} xpad[n, t u + i, t v + j, c] dy[n,u,v,o]."""
    return np.tensordot(windows(x, size, stride, pad), dy, axes=(PIXELS, PIXELS))  # (i, j, c, o)


def batch_norm(x, scale, shift):
    std = np.sqrt(x.var(PIXELS) + 1e-5)  # (c,)
    xhat = (x - x.mean(PIXELS)) / std  # (n, h, w, c)
    return scale * xhat + shift, (xhat, std)


def batch_norm_gradients(dy, scale, xhat, std):
    dx = scale / std * (dy - dy.mean(PIXELS) - xhat * (dy * xhat).mean(PIXELS))
    return dx, (dy * xhat).sum(PIXELS), dy.sum(PIXELS)


def generator(theta, z):
    """(x, residuals): images (n, 8, 8, 1) in (-1, 1), and what the gradient needs."""
    a0 = (z @ theta["k0"] + theta["bias0"]).reshape(-1, 4, 4, 2 * C)  # (n, 4, 4, 2C)
    b0, norm0 = batch_norm(a0, theta["scale0"], theta["shift0"])
    h0 = np.maximum(b0, 0)
    a1 = correlate_input(h0, theta["k1"], stride=2, pad=1)  # (n, 8, 8, C)
    b1, norm1 = batch_norm(a1, theta["scale1"], theta["shift1"])
    h1 = np.maximum(b1, 0)
    x = np.tanh(correlate(h1, theta["k2"], stride=1, pad=1) + theta["bias2"])  # (n, 8, 8, 1)
    return x, (z, norm0, h0, norm1, h1, x)


def generator_gradient(theta, residuals, dx):
    """dtheta for the cotangent dx = dL/dx (n, 8, 8, 1): the lines of `generator` from the last to the first."""
    z, norm0, h0, norm1, h1, x = residuals
    da2 = dx * (1 - x**2)  # (n, 8, 8, 1)
    dk2, dbias2 = correlate_kernel(h1, da2, 3, stride=1, pad=1), da2.sum(PIXELS)
    db1 = correlate_input(da2, theta["k2"], stride=1, pad=1) * (h1 > 0)  # (n, 8, 8, C)
    da1, dscale1, dshift1 = batch_norm_gradients(db1, theta["scale1"], *norm1)
    dk1 = correlate_kernel(da1, h0, 4, stride=2, pad=1)
    db0 = correlate(da1, theta["k1"], stride=2, pad=1) * (h0 > 0)  # (n, 4, 4, 2C)
    da0, dscale0, dshift0 = batch_norm_gradients(db0, theta["scale0"], *norm0)
    da0 = da0.reshape(len(z), -1)  # (n, 32C)
    dk0, dbias0 = z.T @ da0, da0.sum(0)
    return dict(zip(theta, (dk0, dbias0, dscale0, dshift0, dk1, dscale1, dshift1, dk2, dbias2), strict=True))


def leaky_relu(a):
    return np.maximum(a, 0.2 * a)


def leaky_relu_gradient(h, dh):
    return np.where(h > 0, dh, 0.2 * dh)


def discriminator(w, a):
    """(D(a; w), residuals): numbers (n,), and what the gradients need. Without batch norm, so that each is D(a_i)."""
    h0 = leaky_relu(correlate(a, w["k0"], stride=1, pad=1) + w["bias0"])  # (n, 8, 8, C)
    h1 = leaky_relu(correlate(h0, w["k1"], stride=2, pad=1) + w["bias1"])  # (n, 4, 4, 2C)
    return h1.reshape(len(a), -1) @ w["k2"] + w["bias2"], (a, h0, h1)


def discriminator_gradients(w, residuals, dd):
    """(da, dw) for the cotangent dd = dL/dD (n,)."""
    a, h0, h1 = residuals
    dk2, dbias2 = h1.reshape(len(a), -1).T @ dd, dd.sum()
    da1 = leaky_relu_gradient(h1, np.outer(dd, w["k2"]).reshape(h1.shape))  # (n, 4, 4, 2C)
    dk1, dbias1 = correlate_kernel(h0, da1, 4, stride=2, pad=1), da1.sum(PIXELS)
    da0 = leaky_relu_gradient(h0, correlate_input(da1, w["k1"], stride=2, pad=1))  # (n, 8, 8, C)
    dk0, dbias0 = correlate_kernel(a, da0, 3, stride=1, pad=1), da0.sum(PIXELS)
    dw = dict(zip(w, (dk0, dbias0, dk1, dbias1, dk2, dbias2), strict=True))
    return correlate_input(da0, w["k0"], stride=1, pad=1), dw


def potential(a, y, x):
    """Phi(a_i) of real charges y and generated charges x, (n_a,)."""
    a, y, x = (points.reshape(len(points), -1) for points in (a, y, x))  # (n, 64)
    r2 = lambda b: (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T  # (n_a, n_b), |a_i - b_j|^2
    mean_kernel = lambda b: ((np.maximum(r2(b), 0) + eps**2) ** (-d / 2)).mean(1)
    return mean_kernel(y) - mean_kernel(x)


def gradients(theta, w, z, y):
    """(dL_G/dtheta, dL_D/dw), both at (theta, w), for a batch z (n, LATENT), y (n, 8, 8, 1)."""
    x, residuals_z = generator(theta, z)
    d_x, residuals_x = discriminator(w, x)
    d_y, residuals_y = discriminator(w, y)
    _, dw_x = discriminator_gradients(w, residuals_x, (d_x - s * potential(x, y, x)) / len(x))
    _, dw_y = discriminator_gradients(w, residuals_y, (d_y - s * potential(y, y, x)) / len(y))
    dx, _ = discriminator_gradients(w, residuals_x, np.full_like(d_x, -1 / 2 / len(x)))
    return generator_gradient(theta, residuals_z, dx), {name: dw_x[name] + dw_y[name] for name in w}


def adam(theta, dtheta, moments, t, lr, beta1=0.0, beta2=0.99):
    """Step number t = 1, 2, ..., in place; moments is {} before the first."""
    for name, g in dtheta.items():
        m, v = moments.get(name, (0, 0))
        m, v = moments[name] = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        theta[name] -= lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + 1e-8)


def initial(rng, dtype=np.float32):
    """(theta, w), with kernels that keep the size of the signal (He et al., 2015): variance 2 / number of inputs."""
    kernel = lambda *shape, inputs: np.sqrt(2 / inputs) * rng.standard_normal(shape)
    theta = {"k0": kernel(LATENT, 32 * C, inputs=LATENT), "bias0": np.zeros(32 * C)}
    theta |= {"scale0": np.ones(2 * C), "shift0": np.zeros(2 * C), "k1": kernel(4, 4, C, 2 * C, inputs=8 * C)}
    theta |= {"scale1": np.ones(C), "shift1": np.zeros(C), "k2": kernel(3, 3, C, 1, inputs=9 * C), "bias2": np.zeros(1)}
    w = {"k0": kernel(3, 3, 1, C, inputs=9), "bias0": np.zeros(C), "k1": kernel(4, 4, C, 2 * C, inputs=16 * C)}
    w |= {"bias1": np.zeros(2 * C), "k2": kernel(32 * C, inputs=32 * C), "bias2": np.zeros(())}
    return tuple({name: np.asarray(array, dtype) for name, array in arrays.items()} for arrays in (theta, w))


def main(steps=1000, n=64, lr=2e-3, seed=0, picture="algorithm_1_images.png"):
    rng, images = np.random.default_rng(seed), digits().array  # (1797, 8, 8, 1) in [-1, 1]
    draw_z = lambda n: rng.standard_normal((n, LATENT)).astype(np.float32)
    draw_y = lambda n: images[rng.integers(len(images), size=n)]
    theta, w = initial(rng)
    moments_g, moments_d, test_z, test_y = {}, {}, draw_z(1000), draw_y(1000)

    def mmd2():
        """mean Phi(y) - mean Phi(x)."""
        x, _ = generator(theta, test_z)
        return float(potential(test_y, test_y, x).mean() - potential(x, test_y, x).mean())

    figures = [mmd2()]
    for step in range(1, steps + 1):
        dtheta, dw = gradients(theta, w, draw_z(n), draw_y(n))
        rate = lr * 0.02 ** (step / steps)
        adam(theta, dtheta, moments_g, step, rate)
        adam(w, dw, moments_d, step, rate)
        if step % max(1, steps // 10) == 0:
            figures.append(mmd2())
            print(f"step {step:5d}   squared MMD {figures[-1]:.4f}, at first {figures[0]:.4f}", flush=True)
    image_grid(generator(theta, test_z)[0][:100]).save(picture)
    return figures


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
