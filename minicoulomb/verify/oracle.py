"""What an oracle is: every layer and both losses of Algorithm 1 again, differentiated by a library.

    L_D(w)     = 1/2 mean_i (D(x_i; w) - Phi(x_i))^2 + 1/2 mean_j (D(y_j; w) - Phi(y_j))^2,    x and Phi constants
    L_G(theta) = -1/2 mean_i D(G(z_i; theta); w)
    Phi(a)     = 1/n_y sum_j (|a - y_j|^2 + eps^2)^(-d/2) - 1/n_x sum_i (|a - x_i|^2 + eps^2)^(-d/2)

and of its baselines, a GAN and the field without a discriminator, whose charges y and x = G(z; theta) are constants:

    L_D(w)     = mean_j -log sigmoid(D(y_j; w)) + mean_i -log(1 - sigmoid(D(x_i; w))),                x constant
    L_G(theta) = mean_i -log sigmoid(D(G(z_i; theta); w))
    L_G(theta) = -1/2 mean_i Phi(G(z_i; theta))

Nothing here calls a layer's own forward or gradient: a layer is only asked for its sizes and settings. A library
gives its operations on its own arrays, in this package's layouts (see conv.py), by the methods that raise below.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import repeat
from math import prod

import numpy as np

from minicoulomb.config import Algorithm
from minicoulomb.conv.correlation import normalize_geometry
from minicoulomb.gan import Batch, target_scale
from minicoulomb.layers import (
    Activation,
    AveragePool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Identity,
    Layer,
    LayerNorm,
    Linear,
    Reshape,
    Residual,
    Scale,
    Sequential,
    Upsample,
)
from minicoulomb.network import Network


class Oracle:
    """Methods without underscore take and return NumPy arrays, and compute in float64.

    activations   {function of layers/activations.py: the library's own}
    """

    activations: dict

    def forward(self, network: Network, theta, x, statistics=None) -> np.ndarray:
        """y (n, *output_shape) of `network` for theta (size,), x (n, *input_shape), statistics (statistics_size,)."""
        with self._float64():
            given = None if statistics is None else self._array(statistics)
            return np.asarray(self._network(network, self._array(theta), self._array(x), given))

    def gradients(self, network: Network, theta, x, dy, statistics=None) -> tuple[np.ndarray, np.ndarray]:
        """((dy/dx)^T dy, (dy/dtheta)^T dy), shaped as x and theta."""
        with self._float64():
            given = None if statistics is None else self._array(statistics)
            dy = self._array(dy)
            product = lambda x, theta: (self._network(network, theta, x, given) * dy).sum()
            _, gradients = self._differentiate(product, self._array(x), self._array(theta))
            return tuple(map(np.asarray, gradients))

    def field(self, a, y, x, d: float, eps: float) -> np.ndarray:
        """grad Phi(a), shaped as a."""
        with self._float64():
            a, y, x = map(self._array, (a, y, x))
            _, (force,) = self._differentiate(lambda a: self._potential(a, y, x, d, eps).sum(), a)
            return np.asarray(force)

    def algorithm_1(
        self, G: Network, D: Network, theta, w, batch: Batch, algorithm: Algorithm, eps: float
    ) -> tuple[np.ndarray, np.ndarray, float, float]:
        """(dtheta, dw, loss_d, loss_g) at (theta, w); the penalty l2 counts in dw and not in loss_d, as in gan.py."""
        scale = target_scale(algorithm, eps)
        with self._float64():
            theta, w, z, y = map(self._array, (theta, w, batch.z, batch.y))
            x = self._network(G, theta, z)
            a_x, a_y = x, y
            if batch.noise_x is not None:
                a_x, a_y = (a + algorithm.noise * eps * self._array(n) for a, n in zip((x, y), batch[2:], strict=True))
            target_x, target_y = (scale * self._potential(a, y, x, algorithm.d, eps) for a in (a_x, a_y))

            def loss_d(w):
                error_x, error_y = self._network(D, w, a_x) - target_x, self._network(D, w, a_y) - target_y
                return ((error_x**2).mean() + (error_y**2).mean()) / 2

            def loss_g(theta):
                return -self._network(D, w, self._network(G, theta, z)).mean() / 2

            return self._both(loss_g, loss_d, theta, w, D, algorithm)

    def gan(
        self, G: Network, D: Network, theta, w, batch: Batch, algorithm: Algorithm, eps: float
    ) -> tuple[np.ndarray, np.ndarray, float, float]:
        """The same of the non-saturating GAN, whatever eps."""
        with self._float64():
            theta, w, z, y = map(self._array, (theta, w, batch.z, batch.y))
            x = self._network(G, theta, z)

            def loss_d(w):
                d_x, d_y = self._network(D, w, x), self._network(D, w, y)
                return -self._log_sigmoid(d_y).mean() - self._log_sigmoid(-d_x).mean()

            def loss_g(theta):
                return -self._log_sigmoid(self._network(D, w, self._network(G, theta, z))).mean()

            return self._both(loss_g, loss_d, theta, w, D, algorithm)

    def field_alone(
        self, G: Network, D: Network, theta, w, batch: Batch, algorithm: Algorithm, eps: float
    ) -> tuple[np.ndarray, None, None, float]:
        """(dtheta, None, None, loss_g) of the generator that follows the field, whatever D and w."""
        scale = target_scale(algorithm, eps)
        with self._float64():
            theta, z, y = map(self._array, (theta, batch.z, batch.y))
            x = self._network(G, theta, z)

            def loss_g(theta):
                return -scale * self._potential(self._network(G, theta, z), y, x, algorithm.d, eps).mean() / 2

            value_g, (dtheta,) = self._differentiate(loss_g, theta)
            return np.asarray(dtheta), None, None, float(value_g)

    def objective(self, *problem) -> tuple:
        """Whichever of these three the algorithm names; its arguments are theirs."""
        algorithm = problem[5]
        return {"coulomb": self.algorithm_1, "gan": self.gan, "field": self.field_alone}[algorithm.objective](*problem)

    def _both(self, loss_g, loss_d, theta, w, D, algorithm):
        """(dtheta, dw, loss_d, loss_g), with the penalty on D's kernels in dw."""
        penalty = lambda w: algorithm.l2 / 2 * sum((w[kernel] ** 2).sum() for kernel in D.kernels)
        value_d, (dw,) = self._differentiate(lambda w: loss_d(w) + penalty(w), w)
        value_g, (dtheta,) = self._differentiate(loss_g, theta)
        return np.asarray(dtheta), np.asarray(dw), float(value_d - penalty(w)), float(value_g)

    def _network(self, network, theta, x, statistics=None):
        leaves = list(_leaves(network.root))
        parameters = _split(leaves, "parameters", theta)
        given = repeat(None) if statistics is None else _split(leaves, "statistics", statistics)
        return self._apply(network.root, x, zip(parameters, given))

    def _apply(self, layer, x, arrays):
        """The layer's output; `arrays` yields (parameters, statistics) of the layers without children, in order."""
        if isinstance(layer, Sequential):
            for child in layer.children:
                x = self._apply(child, x, arrays)
            return x
        if isinstance(layer, Residual):
            branch, shortcut = (self._apply(child, x, arrays) for child in layer.children)
            return shortcut + layer.scale * branch
        parameters, statistics = next(arrays)
        match layer:
            case Linear():
                return x @ parameters["kernel"] + parameters["bias"]
            case Conv() | ConvTranspose():
                operation = self._conv if isinstance(layer, Conv) else self._conv_transpose
                geometry = normalize_geometry(x.ndim - 2, layer.stride, layer.padding)
                return operation(x, parameters["kernel"], *geometry) + parameters.get("bias", 0)
            case BatchNorm():
                y = self._batch_norm(x, **parameters, epsilon=layer.epsilon, statistics=statistics)
                return self._activation(layer.activation, y) if layer.activation else y
            case LayerNorm():
                return self._layer_norm(x, **parameters, epsilon=layer.epsilon)
            case Activation():
                return self._activation(layer, x)
            case Upsample():
                return self._upsample(x)
            case AveragePool():
                return self._average_pool(x)
            case Identity():
                return x
            case Scale():
                return layer.factor * x
            case Reshape():
                return x.reshape((len(x), *layer.shape))
        raise NotImplementedError(f"{layer}: no oracle knows this layer; add it to oracles/oracle.py")

    def _activation(self, layer, x):
        return self.activations[layer.function](x, *layer.arguments)

    def _potential(self, a, y, x, d, eps):
        a, y, x = (points.reshape((len(points), -1)) for points in (a, y, x))
        kernel = lambda b: (((a[:, None] - b[None]) ** 2).sum(-1) + eps**2) ** (-d / 2)
        return kernel(y).mean(1) - kernel(x).mean(1)

    def _float64(self) -> AbstractContextManager:
        """Where the library computes in float64."""
        return nullcontext()

    def _array(self, numbers):
        """The library's float64 array with these numbers."""
        raise NotImplementedError

    def _differentiate(self, function, *arguments):
        """(value, gradients): the number function(*arguments), and its gradient in each argument."""
        raise NotImplementedError

    def _log_sigmoid(self, x):
        """log(1 / (1 + e^-x))."""
        raise NotImplementedError

    def _conv(self, x, kernel, stride, padding):
        """x (n, ..., c_in), kernel (..., c_in, c_out), stride (s, ...), padding ((before, after), ...)."""
        raise NotImplementedError

    def _conv_transpose(self, x, kernel, stride, padding):
        """x (n, ..., c_in), kernel (..., c_out, c_in)."""
        raise NotImplementedError

    def _batch_norm(self, x, scale, shift, epsilon, statistics):
        """x (n, ..., c); scale, shift (c,); statistics {"mean": (c,), "variance": (c,)} or None."""
        raise NotImplementedError

    def _layer_norm(self, x, scale, shift, epsilon):
        """x (n, *shape); scale, shift of `shape`."""
        raise NotImplementedError

    def _upsample(self, x):
        """x (n, h, w, c) at twice its side, by the nearest pixel."""
        raise NotImplementedError

    def _average_pool(self, x):
        """x (n, h, w, c) at half its side, by the means of 2x2 blocks."""
        raise NotImplementedError


def _leaves(layer: Layer) -> Iterator[Layer]:
    """The layers without children, in order."""
    if not layer.children:
        yield layer
    for child in layer.children:
        yield from _leaves(child)


def _split(leaves, kind, vector) -> Iterator[dict]:
    """For each layer its arrays by name, cut from the flat vector one after the other."""
    start = 0
    for leaf in leaves:
        arrays = {}
        for name, parameter in getattr(leaf, kind)().items():
            stop = start + prod(parameter.shape)
            arrays[name] = vector[start:stop].reshape(parameter.shape)
            start = stop
        yield arrays
