"""An oracle computes every network and every loss again, and differentiates them by a library.

A layer's forward and gradients are never called: a layer is only asked for its sizes and settings. `xp` is the
library's NumPy. A library adds

    _differentiate(function, *arguments)           (value, gradients): the number, and its gradient in each argument
    _conv(x, kernel, stride, padding)              x (n, ..., c_in), kernel (..., c_in, c_out), stride (s, ...),
                                                   padding ((before, after), ...)
    _conv_transpose(x, kernel, stride, padding)    x (n, ..., c_in), kernel (..., c_out, c_in)

and PyTorch computes whole networks by its modules. The losses are in losses.py.
"""

from contextlib import nullcontext
from math import prod
from typing import Any

import numpy as np

from minicoulomb import layers
from minicoulomb.config import Algorithm
from minicoulomb.conv.geometry import normalize_geometry
from minicoulomb.gan import Batch
from minicoulomb.network import Network
from minicoulomb.verify.losses import losses, penalties, potential


class Oracle:
    """Public methods accept and return NumPy arrays, and compute in float64."""

    xp: Any
    _differentiate: Any
    _conv: Any
    _conv_transpose: Any

    def forward(self, network: Network, theta, x, statistics=None) -> np.ndarray:
        """y (n, *output_shape) of `network` for theta (size,), x (n, *input_shape), statistics (statistics_size,)."""
        with self._float64():
            return np.asarray(self._network(network, *self._arrays(theta, x, statistics)))

    def gradients(self, network: Network, theta, x, dy, statistics=None) -> tuple[np.ndarray, np.ndarray]:
        """((dy/dx)^T dy, (dy/dtheta)^T dy), shaped as x and theta."""
        with self._float64():
            theta, x, dy, statistics = self._arrays(theta, x, dy, statistics)
            product = lambda x, theta: (self._network(network, theta, x, statistics) * dy).sum()
            _, (dx, dtheta) = self._differentiate(product, x, theta)
            return np.asarray(dx), np.asarray(dtheta)

    def field(self, a, y, x, d: float, eps: float) -> np.ndarray:
        """grad Phi(a), shaped as a."""
        with self._float64():
            a, y, x = self._arrays(a, y, x)
            _, (force,) = self._differentiate(lambda a: potential(a, y, x, d, eps).sum(), a)
            return np.asarray(force)

    def objective(self, G: Network, D: Network, theta, w, batch: Batch, algorithm: Algorithm, eps: float) -> tuple:
        """(dtheta, dw, loss_d, loss_g) of the algorithm's objective at (theta, w); dw and loss_d None without a D.

        The penalties l2 and l2_g count in dw and dtheta and not in the losses, as in gan.py.
        """
        networks = [lambda vector, x, net=net: self._network(net, vector, x) for net in (G, D)]
        with self._float64():
            theta, w, *batch = self._arrays(theta, w, *batch)
            loss_g, loss_d = losses(networks, theta, w, Batch(*batch), algorithm, eps, self._log_sigmoid)
            of_g, of_d = penalties((G.kernels, D.kernels), algorithm)
            value_g, (dtheta,) = self._differentiate(lambda theta: loss_g(theta) + of_g(theta), theta)
            dtheta, value_g = np.asarray(dtheta), float(value_g - of_g(theta))
            if loss_d is None:
                return dtheta, None, None, value_g
            value_d, (dw,) = self._differentiate(lambda w: loss_d(w) + of_d(w), w)
            return dtheta, np.asarray(dw), float(value_d - of_d(w)), value_g

    def _arrays(self, *arrays):
        return [None if array is None else self._array(array) for array in arrays]

    def _network(self, network, theta, x, statistics=None):
        """y (n, *output_shape), differentiable."""
        read_statistics = _reader("statistics", statistics) if statistics is not None else lambda layer: None
        return self._apply(network.root, x, _reader("parameters", theta), read_statistics)

    def _apply(self, layer, x, *readers):
        """The layer's output; the readers return its parameters and statistics, by name."""
        if isinstance(layer, layers.Sequential):
            for child in layer.children:
                x = self._apply(child, x, *readers)
            return x
        if isinstance(layer, layers.Residual):
            branch, shortcut = (self._apply(child, x, *readers) for child in layer.children)
            return shortcut + layer.scale * branch
        xp, (parameters, statistics) = self.xp, (read(layer) for read in readers)
        match layer:
            case layers.Linear():
                return x @ parameters["kernel"] + parameters["bias"]
            case layers.Conv() | layers.ConvTranspose():
                operation = self._conv if isinstance(layer, layers.Conv) else self._conv_transpose
                geometry = normalize_geometry(x.ndim - 2, layer.stride, layer.padding)
                return operation(x, parameters["kernel"], *geometry) + parameters.get("bias", 0)
            case layers.BatchNorm():
                y = self._batch_norm(x, **parameters, epsilon=layer.epsilon, statistics=statistics)
                return self._apply(layer.activation, y, *readers) if layer.activation else y
            case layers.Activation():
                return ACTIVATIONS[layer.function](xp, x, *layer.arguments)
            case layers.Upsample():
                return xp.repeat(xp.repeat(x, 2, axis=1), 2, axis=2)
            case layers.AveragePool():
                n, h, w, c = x.shape
                return x.reshape((n, h // 2, 2, w // 2, 2, c)).mean(axis=(2, 4))
            case layers.Identity():
                return x
            case layers.Scale():
                return layer.factor * x
            case layers.Reshape():
                return x.reshape((len(x), *layer.shape))
        raise NotImplementedError(f"{layer}: no oracle computes this layer; add it to verify/oracle.py")

    def _batch_norm(self, x, scale, shift, epsilon, statistics):
        """x (n, ..., c); scale, shift (c,); statistics {"mean": (c,), "variance": (c,)} or None."""
        axes = tuple(range(x.ndim - 1))
        mean = x.mean(axis=axes) if statistics is None else statistics["mean"]
        variance = ((x - mean) ** 2).mean(axis=axes) if statistics is None else statistics["variance"]
        return (x - mean) / self.xp.sqrt(variance + epsilon) * scale + shift

    def _log_sigmoid(self, x):
        """log(1 / (1 + e^-x))."""
        return -self.xp.logaddexp(0, -x)

    def _float64(self):
        """The context in which the library computes in float64."""
        return nullcontext()

    def _array(self, numbers):
        """The library's float64 array with these numbers."""
        return self.xp.asarray(numbers, dtype=np.float64)


ACTIVATIONS = {
    layers.relu: lambda xp, x: xp.where(x > 0, x, 0),
    layers.leaky_relu: lambda xp, x, slope: xp.where(x > 0, x, slope * x),
    layers.elu: lambda xp, x: xp.where(x > 0, x, xp.exp(x) - 1),
    layers.tanh: lambda xp, x, amplitude, slope: amplitude * xp.tanh(slope * x),
    layers.softmax: lambda xp, x: xp.exp(x) / xp.exp(x).sum(axis=-1, keepdims=True),
}


def _reader(kind, vector):
    """A function of a layer: its parameters or statistics by name, cut from the flat vector one after the other."""
    start = 0

    def read(layer):
        nonlocal start
        arrays = {}
        for name, parameter in getattr(layer, kind)().items():
            stop = start + prod(parameter.shape)
            arrays[name] = vector[start:stop].reshape(parameter.shape)
            start = stop
        return arrays

    return read
