"""Images at twice and at half their side: the two halves of one bilinear form.

    S(x, y) = sum_{n,u,v,c} x[n,u,v,c] sum_{i,j} y[n, 2u+i, 2v+j, c]                     i, j in {0, 1}

It is the trilinear form T of conv.py for each channel alone, with stride 2 and a 2x2 kernel of ones.

    repeat(x)     = dS/dy     (n, h, w, c) -> (n, 2h, 2w, c)       each number four times
    block_sum(y)  = dS/dx     (n, 2h, 2w, c) -> (n, h, w, c)       the sum of each 2x2 block

    Upsample       y = repeat(x)                dx = block_sum(dy)
    AveragePool    y = 1/4 block_sum(x)         dx = 1/4 repeat(dy)

So each is the other's gradient up to the factor 4, and AveragePool undoes Upsample.
"""

from dataclasses import dataclass

from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.threads import blocks, for_each
from minicoulomb.errors import UserError
from minicoulomb.layers.layer import Layer

# Numbers per block, 1 MB in float32: large enough to be worth a thread, small enough to stay in its cache.
BLOCK = 2**18


def repeat(x, factor=1.0):
    """y[n, 2u+i, 2v+j, c] = factor x[n,u,v,c]; x (n, h, w, c) -> (n, 2h, 2w, c)."""
    n, h, w, c = x.shape
    y = array_module(x).empty((n, h, 2, w, 2, c), x.dtype)

    def images(block):
        y[block] = (x[block] if factor == 1 else factor * x[block])[:, :, None, :, None]

    for_each(images, blocks(n, BLOCK // (4 * h * w * c), x))
    return y.reshape(n, 2 * h, 2 * w, c)


def block_sum(y, factor=1.0):
    """x[n,u,v,c] = factor sum_{i,j} y[n, 2u+i, 2v+j, c]; y (n, 2h, 2w, c) -> (n, h, w, c)."""
    n, h, w, c = y.shape[0], y.shape[1] // 2, y.shape[2] // 2, y.shape[3]
    x = array_module(y).empty((n, h, w, c), y.dtype)

    def images(block):
        whole, out = y[block], x[block]
        array_module(y).add(whole[:, ::2, ::2], whole[:, ::2, 1::2], out=out)
        out += whole[:, 1::2, ::2]
        out += whole[:, 1::2, 1::2]
        if factor != 1:
            out *= factor

    for_each(images, blocks(n, BLOCK // (4 * h * w * c), y))
    return x


@dataclass(frozen=True)
class Upsample(Layer):
    """Upsample(): (n, h, w, c) -> (n, 2h, 2w, c), the nearest pixel's numbers."""

    def output_shape(self, shape):
        if len(shape) != 3:
            raise UserError(f"Upsample: takes images (h, w, c), got shape {shape}; Reshape before it")
        h, w, c = shape
        return 2 * h, 2 * w, c

    def forward(self, params, x, statistics=None):
        return repeat(x), None

    def input_gradient(self, residuals, dy):
        return block_sum(dy)


@dataclass(frozen=True)
class AveragePool(Layer):
    """AveragePool(): (n, h, w, c) -> (n, h/2, w/2, c), the means of 2x2 blocks."""

    def output_shape(self, shape):
        if len(shape) != 3 or shape[0] % 2 or shape[1] % 2:
            raise UserError(f"AveragePool: takes images (h, w, c) of even sides, got shape {shape}; pad or resize them")
        h, w, c = shape
        return h // 2, w // 2, c

    def forward(self, params, x, statistics=None):
        return block_sum(x, 0.25), None

    def input_gradient(self, residuals, dy):
        return repeat(dy, 0.25)
