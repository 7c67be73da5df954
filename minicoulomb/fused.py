"""CUDA kernels that do in one pass over memory what plain array operations do in several.

    difference = Fused("T x, T y", "T z", "z = x - y", "difference")
    z = difference(x, y)                       arrays broadcast as in any operation; numbers take the arrays' dtype
    difference(x, y, out)                      the outputs may be given, and read as well

One thread computes one element of the broadcast shape, or the i-th of `size` where all arrays are "raw" (indexed in
the code, x[i], flat and in C order). The code is CUDA C++; T stands for the arrays' dtype. It is compiled when arrays
of a dtype first meet it, by CuPy (cupy.ElementwiseKernel, which has the grammar of the parameters).

Each kernel stands beside the plain NumPy operations that it replaces on a GPU, and a test compares the two.
"""

from functools import cache

from minicoulomb.backend import array_module


class Fused:
    """A kernel; its arguments are arrays of one GPU library, and numbers."""

    def __init__(self, inputs: str, outputs: str, operation: str, name: str, preamble: str = ""):
        self._definition = inputs, outputs, operation, name, preamble

    def __call__(self, *arguments, size: int | None = None):
        """The outputs, new arrays or those given behind the inputs."""
        like = next(argument for argument in arguments if hasattr(argument, "dtype"))
        kernel = _compiled(array_module(like), *self._definition)
        return kernel(*arguments) if size is None else kernel(*arguments, size=size)


@cache
def _compiled(xp, inputs, outputs, operation, name, preamble):
    # A name of its own: CUDA has functions called tanh, and the like.
    return xp.ElementwiseKernel(inputs, outputs, operation, f"minicoulomb_{name}", preamble=preamble)
