"""Inception's features of pixels: resize, scale to [-1, 1], apply the steps of architecture.py's table.

    x = 2 resize(pixels / 255) - 1                           (n, 299, 299, 3)
    y = max(0, correlate(x, kernel) + bias)                  a ConvNormRelu, with batch normalization folded in
    features = mean over the last positions                  (n, 2048)

The weights are NumPy or CuPy arrays, and so is everything here.
"""

import numpy as np

from minicoulomb.arrays.backend import array_module, to_host
from minicoulomb.arrays.blocks import for_each_block
from minicoulomb.arrays.workspace import Workspace
from minicoulomb.conv import correlate
from minicoulomb.conv.winograd import Kernel
from minicoulomb.fid.architecture import NETWORK, Branches, ConvNormRelu, Pool
from minicoulomb.fid.pooling import average_pool, max_pool
from minicoulomb.fid.resize import bilinear, resize

SIDE = 299
# Images computed at a time: the largest array of 16 is 85 MB. A GPU needs more work to be busy.
BATCH, GPU_BATCH = 16, 64


class Inception:
    """The network with its weights: name -> (kernel (kh, kw, c_in, c_out), bias (c_out,)) as weights.py loads them."""

    def __init__(self, weights: dict[str, tuple], xp=np):
        self.xp, workspace = xp, Workspace()
        self._layers = {name: (Kernel(xp.asarray(w), workspace), xp.asarray(b)) for name, (w, b) in weights.items()}
        self._matrices = {}
        self.batch = BATCH if xp is np else GPU_BATCH

    def __reduce__(self):
        """Another process gets the weights, from which it makes its own."""
        weights = {name: (kernel.w, bias) for name, (kernel, bias) in self._layers.items()}
        return _network_of, (weights,)

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Features (n, 2048) float32 of pixels (n, h, w, c) uint8, both on the host; one channel becomes three."""
        x = self.prepare(self.xp.asarray(pixels))
        return to_host(self.forward(x))

    def prepare(self, pixels):
        """Pixels (n, h, w, c) uint8 as the network's input, (n, 299, 299, 3) float32 in [-1, 1]."""
        xp, (n, h, w, c) = self.xp, pixels.shape
        x = pixels.astype(np.float32)
        x /= 255
        x = resize(x, self._matrix(h), self._matrix(w))  # (n, 299, 299, c)
        x *= 2
        x -= 1
        return x if c == 3 else xp.ascontiguousarray(xp.broadcast_to(x, (n, SIDE, SIDE, 3)))

    def forward(self, x):
        """The features of inputs (n, h, w, 3) in [-1, 1], at least 75x75: (n, 2048)."""
        return self._walk(NETWORK, x).mean(axis=(1, 2))

    def _walk(self, steps, x):
        apply = {ConvNormRelu: self._convolve, Branches: self._branch, Pool: _pool}
        for step in steps:
            x = apply[type(step)](step, x)
        return x

    def _convolve(self, step, x):
        kernel, bias = self._layers[step.name]
        y = correlate(x, kernel, step.stride, step.padding)

        def activate(image):
            image += bias
            array_module(image).maximum(image, 0, out=image)

        return _image_by_image(activate, y)

    def _branch(self, step, x):
        parts = [self._walk(branch, x) for branch in step.branches]
        y = array_module(x).empty((*parts[0].shape[:3], sum(part.shape[3] for part in parts)), x.dtype)
        return _image_by_image(lambda y, *parts: array_module(y).concatenate(parts, axis=3, out=y), y, *parts)

    def _matrix(self, side):
        if side not in self._matrices:
            self._matrices[side] = self.xp.asarray(bilinear(side, SIDE))
        return self._matrices[side]


def _network_of(weights):
    (_, bias), *_ = weights.values()
    return Inception(weights, array_module(bias))


def _pool(step, x):
    n, h, w, c = x.shape
    size = (h, w) if step.stride == 1 else ((h - 1) // 2, (w - 1) // 2)

    def pool(image, x):
        image[...] = max_pool(x, step.stride) if step.kind == "max" else average_pool(x)

    return _image_by_image(pool, array_module(x).empty((n, *size, c), x.dtype), x)


def _image_by_image(function, y, *arrays):
    """y, after function(y, *arrays) on one image of each at a time, which threads share; on a GPU on all at once."""
    for_each_block(function, y, *arrays, limit=1)
    return y
