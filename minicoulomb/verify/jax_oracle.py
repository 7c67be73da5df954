"""The oracle that computes with JAX, in float64 without changing the process's own setting."""

import jax
import jax.numpy as jnp

from minicoulomb.layers import elu, leaky_relu, relu, softmax, tanh
from minicoulomb.verify.oracle import Oracle


class JaxOracle(Oracle):
    """jax.lax's convolutions, jax.nn's standardization and activations, differentiated by jax.grad."""

    activations = {  # noqa: RUF012
        relu: jax.nn.relu,
        leaky_relu: jax.nn.leaky_relu,
        elu: jax.nn.elu,
        tanh: lambda x, amplitude, slope: amplitude * jnp.tanh(slope * x),
        softmax: jax.nn.softmax,
    }

    def _float64(self):
        return jax.enable_x64(True)

    def _array(self, numbers):
        return jnp.asarray(numbers, dtype=jnp.float64)

    def _differentiate(self, function, *arguments):
        both = jax.value_and_grad(function, argnums=tuple(range(len(arguments))))
        return jax.jit(both)(*arguments)

    def _log_sigmoid(self, x):
        return jax.nn.log_sigmoid(x)

    def _conv(self, x, kernel, stride, padding):
        return jax.lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=_layout(x))

    def _conv_transpose(self, x, kernel, stride, padding):
        # JAX pads the input, spread out by the stride; the whole output is k - 1 on each side.
        ends = [(k - 1 - before, k - 1 - after) for k, (before, after) in zip(kernel.shape, padding)]
        return jax.lax.conv_transpose(x, kernel, stride, ends, dimension_numbers=_layout(x), transpose_kernel=True)

    def _batch_norm(self, x, scale, shift, epsilon, statistics):
        axes = tuple(range(x.ndim - 1))
        return jax.nn.standardize(x, axes, epsilon=epsilon, **(statistics or {})) * scale + shift

    def _upsample(self, x):
        n, h, w, c = x.shape
        return jax.image.resize(x, (n, 2 * h, 2 * w, c), "nearest")

    def _average_pool(self, x):
        window = (1, 2, 2, 1)
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, window, "VALID") / 4


def _layout(x):
    return ("NWC", "WIO", "NWC") if x.ndim == 3 else ("NHWC", "HWIO", "NHWC")
