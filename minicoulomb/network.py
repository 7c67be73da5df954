"""A network: layers, one flat parameter vector, and named views into it.

    y, residuals = network.forward(theta, x)
    dx           = network.input_gradient(residuals, dy)         shaped as x
    dtheta       = network.param_gradient(residuals, dy)         flat, as theta

With all parameters in one vector, Adam is one loop, a checkpoint a few arrays, and the derivative along a
direction v is `dtheta @ v`. A second flat vector holds the running statistics of batch normalization.
"""

from math import prod
from typing import NamedTuple

import numpy as np

from minicoulomb.arguments import check_layers, check_samples, check_shape, check_vector
from minicoulomb.arrays.backend import Array, array_module, changing
from minicoulomb.arrays.limits import check_memory
from minicoulomb.arrays.vectors import concatenate
from minicoulomb.arrays.workspace import NoWorkspace
from minicoulomb.layers import Layer, Sequential
from minicoulomb.layers.layer import Shape
from minicoulomb.optim import update_average

# Training needs the parameters, their gradient and two moments.
COPIES = 4


class Slot(NamedTuple):
    """The place of an array in a flat vector."""

    start: int
    stop: int
    shape: Shape


class Prepared(list):
    """The parameters of a network as a tree, for several passes: the result of `Network.prepare`."""


class Network:
    """Layers one after the other, with all parameters in a flat vector theta.

    y = layers[-1](... layers[0](x))

    Parameters
    ----------
    layers : list of Layer
        Objects, such as ReLU(), in the order in which x passes them.
    input_shape : tuple of int
        Shape of one sample, (features,), (length, channels) or (height, width, channels).

    Attributes
    ----------
    output_shape : tuple of int
        Without the batch axis.
    size : int
        Length of theta.
    statistics_size : int
        Length of the statistics vector, 0 without batch normalization.
    kernels : list of slice
        The parts of theta that L2 penalizes: the kernels of convolutions, or of all layers where none is a convolution.

    Raises
    ------
    UserError
        If a layer cannot take the output of the one before it, or is no Layer, or `input_shape` is no tuple.

    Examples
    --------
    >>> from minicoulomb.layers import Linear, ReLU
    >>> network = Network([Linear(2, 3), ReLU(), Linear(3, 1)], (2,))
    >>> theta = network.init(np.random.default_rng(0))
    >>> y, residuals = network.forward(theta, np.ones((5, 2), np.float32))
    >>> dtheta = network.param_gradient(residuals, np.ones_like(y))
    >>> y.shape, dtheta.shape
    ((5, 1), (13,))
    """

    def __init__(self, layers: list[Layer], input_shape: Shape):
        self.root = Sequential(*check_layers(layers, Layer))
        self.input_shape = check_shape("input_shape", input_shape)
        self.output_shape = self.root.output_shape(self.input_shape)
        self._parameters, self.size = _lay_out(self.root, "parameters", 0)
        self._statistics, self.statistics_size = _lay_out(self.root, "statistics", 0)
        leaves = _leaves(self.root, self._parameters)
        kernels = [slots[k] for layer, slots in leaves for k in slots if layer.parameters()[k].is_kernel]
        of_convolutions = [slot for slot in kernels if len(slot.shape) > 2]  # as in the official code
        self.kernels = [slice(start, stop) for start, stop, _ in of_convolutions or kernels]

    def __repr__(self):
        layers = ", ".join(layer.name for layer in self.root.children)
        return f"Network({self.input_shape} -> {self.output_shape}, {self.size} parameters: {layers})"

    def init(self, rng: np.random.Generator, dtype=np.float32) -> np.ndarray:
        """Initial parameters theta (size,), drawn as each layer says."""
        return self._initial(self._parameters, "parameters", self.size, rng, dtype)

    def init_statistics(self, dtype=np.float32) -> np.ndarray:
        """Initial running statistics (statistics_size,): means 0, variances 1."""
        return self._initial(self._statistics, "statistics", self.statistics_size, None, dtype)

    def _initial(self, tree, kind, size, rng, dtype):
        wanted = COPIES * size * np.dtype(dtype).itemsize
        check_memory(f"a network of {size:,} parameters", wanted, "use smaller ones: --g-width, --d-width, --latent")
        vector = np.empty(size, dtype)
        for layer, slots in _leaves(self.root, tree):
            for name, slot in slots.items():
                vector[slot.start : slot.stop] = getattr(layer, kind)()[name].initial(rng, slot.shape).ravel()
        return vector

    def prepare(self, theta: Array, workspace=NoWorkspace, keep: bool = True) -> list:
        """Parameters for several passes, in the place of theta: for speed alone.

        The passes share work buffers and, with `keep`, the transforms of kernels. Valid while theta does not change.
        """
        return Prepared(_prepare(self.root, self._params(theta), workspace, keep))

    def forward(self, theta: Array, x: Array, statistics: Array | None = None):
        """y = network(x; theta).

        Parameters
        ----------
        theta : array (size,), or the result of `prepare`
        x : array (n, *input_shape)
        statistics : array (statistics_size,), optional
            For batch normalization, instead of the batch's statistics.

        Returns
        -------
        y : array (n, *output_shape)
        residuals
            What the gradients need.

        Raises
        ------
        UserError
            If x or theta has another shape, or x no samples.
        """
        check_samples("input", x, "takes", self.input_shape)
        params = theta if isinstance(theta, Prepared) else self._params(theta)
        return self.root.forward(params, x, None if statistics is None else self._running(statistics))

    def input_gradient(self, residuals, dy: Array) -> Array:
        """dx = (dy/dx)^T dy, (n, *input_shape)."""
        check_samples("dy", dy, "gives", self.output_shape)
        return self.root.input_gradient(residuals, dy)

    def param_gradient(self, residuals, dy: Array) -> Array:
        """dtheta = (dy/dtheta)^T dy, (size,)."""
        check_samples("dy", dy, "gives", self.output_shape)
        return self._flat(self.root.param_gradient(residuals, dy), dy)

    def gradients(self, residuals, dy: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """(input_gradient, param_gradient) for dy; with `weights` (n,), param_gradient for weights dy.

        Weights serve two losses in one pass, where no output depends on another sample: not with batch normalization.
        """
        check_samples("dy", dy, "gives", self.output_shape)
        dx, dparams = self.root.gradients(residuals, dy, weights)
        return dx, self._flat(dparams, dy)

    def _params(self, theta):
        """The views of theta, as a tree."""
        return _views(self._parameters, check_vector("parameters", theta, self.size))

    def _running(self, statistics):
        """The views of the running statistics, as a tree."""
        return _views(self._statistics, check_vector("statistics", statistics, self.statistics_size))

    def _flat(self, dparams, like):
        leaves = _leaves(self.root, self._parameters, dparams)
        flat = [gradients[name].reshape(-1) for _, slots, gradients in leaves for name in slots]
        return concatenate(flat) if flat else array_module(like).empty(0, like.dtype)

    def update_statistics(self, statistics: Array, residuals, momentum: float, where=True) -> None:
        """statistics <- momentum statistics + (1 - momentum) (those that this pass measured), in place."""
        changing(statistics)
        for layer, residual, view in _leaves(self.root, residuals, self._running(statistics)):
            for name, measured in layer.batch_statistics(residual).items():
                update_average(view[name], measured, momentum, where)

    def named_views(self, theta: Array) -> dict[str, Array]:
        """{"0.kernel": view, "0.bias": view, "1.scale": view, ...}: writing into a view writes into theta."""
        return dict(_named(self._params(theta), ""))

    def summary(self) -> list[tuple[str, Shape, int]]:
        """(layer, output shape, number of parameters) for each layer."""
        rows, shape = [], self.input_shape
        for layer in self.root.children:
            shape = layer.output_shape(shape)
            rows.append((layer.name, shape, _lay_out(layer, "parameters", 0)[1]))
        return rows


# A tree is a list where a layer has children, and elsewhere a dict with an entry for each of the layer's arrays.


def _lay_out(layer, kind, start):
    """The tree of slots of a layer's `kind`, "parameters" or "statistics", from `start` on, and its end."""
    if layer.children:
        trees = []
        for child in layer.children:
            tree, start = _lay_out(child, kind, start)
            trees.append(tree)
        return trees, start
    slots = {}
    for name, parameter in getattr(layer, kind)().items():
        shape = check_shape(f"{layer.name}, shape of its {name}", parameter.shape)
        slots[name] = Slot(start, start + prod(shape), shape)
        start = slots[name].stop
    return slots, start


def _views(tree, vector):
    """The arrays of a tree of slots, as views of the vector."""
    if isinstance(tree, list):
        return [_views(child, vector) for child in tree]
    return {name: vector[start:stop].reshape(shape) for name, (start, stop, shape) in tree.items()}


def _prepare(layer, params, workspace, keep):
    if layer.children:
        return [_prepare(child, part, workspace, keep) for child, part in zip(layer.children, params, strict=True)]
    return layer.prepare(params, workspace, keep)


def _leaves(layer, *trees):
    """(layer, entry of each tree) for every layer without children."""
    if layer.children:
        for child, *parts in zip(layer.children, *trees, strict=True):
            yield from _leaves(child, *parts)
    else:
        yield layer, *trees


def _named(tree, prefix):
    """(name, array) for every array of a tree; a name has the numbers of the layers on the way."""
    for key, value in enumerate(tree) if isinstance(tree, list) else tree.items():
        if isinstance(value, list | dict):
            yield from _named(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
