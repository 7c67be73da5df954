"""What an algorithm of convolution costs on a GPU: a model of its time, for the choice that `auto` makes.

    seconds = multiplications / RATES + bytes / BANDWIDTH + kernels * KERNEL

    direct      im2col writes (n u v, kh kw c) numbers and the product reads them, or the product writes and col2im
                reads; two kernels
    winograd    V, M and U of winograd.py, written once and read once; three transforms, and a product for each band

What both move, x, y and w, is left out. Bytes count, for the products are large and the transforms have hardly any
arithmetic; a host's model (winograd_plan.py) counts the transforms' multiplications instead.

The rates are one card's, an H200's, and the same for all machines, so that a run chooses alike on each. They were
derived from its profiles of a step of `my-64` with 128 images, which has 815e9 multiplications by the direct algorithm
and 247e9 by Winograd's, and moves 7.7e9 bytes of gathered numbers, or 19.3e9 of V, M, U and what they are made of:

    TF32 products, direct              6.4 ms = 815e9 / RATE +  7.7e9 / BANDWIDTH
    TF32, Winograd with transforms     8.3 ms = 247e9 / RATE + 19.3e9 / BANDWIDTH
    float32 products, mostly Winograd 14.2 ms = 252e9 / RATE +  8.2e9 / BANDWIDTH

The first two give the bandwidth and the rate of TF32, the third that of float32. The profiles name the largest kernels
alone, so a tenth to a quarter of each time is an estimate. Not measured: a float64 product, for which an H200's units
have the peak of float32; and im2col and col2im as one kernel each, which are taken to reach the same bandwidth. The
smallest kernels of a captured step took 1.2 us and 0.4 us to the next one, rounded up here.
"""

import os
from math import prod

# Multiplications, each with an addition, in a second.
RATES = {"float32": 2.3e13, "float64": 2.3e13, "TF32": 2.3e14}
# Bytes in a second.
BANDWIDTH = 2.7e12
# Seconds that a kernel takes at least.
KERNEL = 2e-6


def winograd_pays(x, kernel_shape, size, plan) -> bool:
    """Whether Winograd's algorithm takes less time for images x, a kernel (kh, kw, c, o) and outputs of `size`."""
    return winograd_seconds(x, kernel_shape, size, plan) < direct_seconds(x, kernel_shape, size)


def direct_seconds(x, kernel_shape, size) -> float:
    """The time of im2col and one product, or of one product and col2im."""
    *taps, c_out = kernel_shape
    gathered = len(x) * prod(size) * prod(taps)
    return _seconds(x.dtype, gathered * c_out, 2 * gathered, kernels=2)


def winograd_seconds(x, kernel_shape, size, plan) -> float:
    """The time of three transforms and the products at the points."""
    *_, c_in, c_out = kernel_shape
    tiles, products = len(x) * prod(plan.tiles(size)), plan.multiplications
    moved = tiles * products * c_in + tiles * len(plan.points) * c_out + products * c_in * c_out
    return _seconds(x.dtype, tiles * products * c_in * c_out, 2 * moved, kernels=3 + len(plan.bands))


def _seconds(dtype, multiplications, numbers, kernels):
    is_tf32 = dtype.name == "float32" and os.environ.get("CUPY_TF32") == "1"  # as matmul.py
    rate = RATES["TF32" if is_tf32 else dtype.name]
    return multiplications / rate + numbers * dtype.itemsize / BANDWIDTH + kernels * KERNEL
