"""The oracle that computes with JAX, in float64 without changing the process's setting."""

import jax
import jax.numpy as jnp

from minicoulomb.verify.oracle import Oracle


class JaxOracle(Oracle):
    """jax.lax's convolutions and jax.numpy for all else, differentiated by jax.grad."""

    xp = jnp

    def _float64(self):
        return jax.enable_x64(True)

    def _differentiate(self, function, *arguments):
        both = jax.value_and_grad(function, argnums=tuple(range(len(arguments))))
        return jax.jit(both)(*arguments)

    def _conv(self, x, kernel, stride, padding):
        return jax.lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=_layout(x))

    def _conv_transpose(self, x, kernel, stride, padding):
        # JAX pads the input, spread out by the stride; the whole output is k - 1 on each side.
        ends = [(k - 1 - before, k - 1 - after) for k, (before, after) in zip(kernel.shape, padding)]
        return jax.lax.conv_transpose(x, kernel, stride, ends, dimension_numbers=_layout(x), transpose_kernel=True)


def _layout(x):
    return ("NWC", "WIO", "NWC") if x.ndim == 3 else ("NHWC", "HWIO", "NHWC")
