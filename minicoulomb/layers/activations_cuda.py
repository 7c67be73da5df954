"""Activations on a GPU: each as one CUDA kernel, and their C++ for the kernels of other layers.

An activation's `code` has C++ of f(x) and of dx(y, dy), with {0}, {1}, ... for its arguments.
"""

from functools import lru_cache

from minicoulomb.arrays.backend import floats, on_gpu
from minicoulomb.arrays.cuda import ElementwiseKernel

# C++ that finds a thread's column; a division of 64-bit numbers takes longer than memory.
COLUMN = "const int column = i < 4294967296 ? unsigned(i) % columns : i % columns;"


def applies(array, activation) -> bool:
    """Whether the activation, or None, can be part of a kernel on this array."""
    return on_gpu(array) and not mixes(activation)


def mixes(activation) -> bool:
    """Whether a number of the activation's output may depend on several of its input; for None, not."""
    return activation is not None and not activation.code


def forward(activation, x):
    """y = f(x)."""
    floats(x)
    return _kernels(activation)[0](x)


def input_gradient(activation, y, dy):
    """dx = f' dy."""
    floats(dy)
    return _kernels(activation)[1](y, dy)


def add_bias(activation, y, bias):
    """f(y + bias), in the place of y, (n, ..., c), which is contiguous; bias (c,)."""
    floats(y, bias)
    return _kernels(activation)[2](bias.astype(y.dtype, copy=False), len(bias), y)


def preamble(activation) -> str:
    """C++ functions activation(x) and activation_gradient(y, dy); the identity for None."""
    arguments = [f"T({argument!r})" for argument in activation.arguments] if activation else []
    f, gradient = (code.format(*arguments) for code in (activation.code if activation else ("x", "dy")))
    return (
        f"template <typename T> __device__ T activation(T x) {{ return {f}; }}\n"
        f"template <typename T> __device__ T activation_gradient(T y, T dy) {{ return {gradient}; }}\n"
    )


@lru_cache
def _kernels(activation):
    code, name = preamble(activation), activation.gradient.__name__
    return (
        ElementwiseKernel("T x", "T y", "y = activation(x)", activation.name, code),
        ElementwiseKernel("T y, T dy", "T dx", "dx = activation_gradient(y, dy)", name, code),
        ElementwiseKernel(
            "raw T bias, uint32 columns",
            "T y",
            f"{COLUMN} y = activation(y + bias[column])",
            f"bias_{activation.name}",
            code,
        ),
    )
