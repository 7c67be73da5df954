"""Images at twice and at half their side: the two halves of one bilinear form.

    S(x, y) = sum_{n,u,v,c} x[n,u,v,c] sum_{i,j} y[n, 2u+i, 2v+j, c]                     i, j in {0, 1}

It is the trilinear form T of conv/correlation.py for each channel alone, with stride 2 and a 2x2 kernel of ones.

    repeat(x)     = dS/dy     (n, h, w, c) -> (n, 2h, 2w, c)       each number four times
    block_sum(y)  = dS/dx     (n, 2h, 2w, c) -> (n, h, w, c)       the sum of each 2x2 block

    Upsample       y = repeat(x)                dx = block_sum(dy)
    AveragePool    y = 1/4 block_sum(x)         dx = 1/4 repeat(dy)

So each is the other's gradient up to the factor 4, and AveragePool undoes Upsample.
"""

from dataclasses import dataclass

from minicoulomb.arguments import check_images
from minicoulomb.arrays.backend import Array, array_module
from minicoulomb.arrays.blocks import map_blocks
from minicoulomb.errors import UserError
from minicoulomb.layers.layer import Layer


def repeat(x: Array, factor: float = 1.0) -> Array:
    """y[n, 2u+i, 2v+j, c] = factor x[n,u,v,c], (n, 2h, 2w, c) for x (n, h, w, c).

    >>> import numpy as np
    >>> repeat(np.array([1.0, 2.0]).reshape(1, 1, 2, 1))[0, :, :, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.]])
    """
    n, h, w, c = check_images(x)
    formula = lambda x: array_module(x).broadcast_to(factor * x[:, :, None, :, None], (len(x), h, 2, w, 2, c))
    return map_blocks(formula, x, shape=(h, 2, w, 2, c)).reshape(n, 2 * h, 2 * w, c)


def block_sum(y: Array, factor: float = 1.0) -> Array:
    """x[n,u,v,c] = factor sum_{i,j} y[n, 2u+i, 2v+j, c], (n, h, w, c) for y (n, 2h, 2w, c).

    >>> import numpy as np
    >>> block_sum(np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)).item()
    10.0
    """
    _, h, w, c = check_images(y, halves=True)
    formula = lambda y: factor * (y[:, ::2, ::2] + y[:, ::2, 1::2] + y[:, 1::2, ::2] + y[:, 1::2, 1::2])
    return map_blocks(formula, y, shape=(h // 2, w // 2, c))


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
