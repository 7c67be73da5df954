"""A network: layers, one flat parameter vector, and named views into it.

    y, residuals = network.forward(theta, x)                     several passes share work: prepare(theta) for theta
    dx           = network.input_gradient(residuals, dy)         shaped as x
    dtheta       = network.param_gradient(residuals, dy)         flat, as theta

With all parameters in one vector, Adam is one loop, a checkpoint a few arrays, and the derivative along a
direction v is `dtheta @ v`. A second flat vector holds the running statistics of batch normalization.
"""

from math import prod
from typing import NamedTuple

import numpy as np

from minicoulomb.arrays.backend import array_module
from minicoulomb.arrays.workspace import NoWorkspace
from minicoulomb.errors import UserError
from minicoulomb.layers import Layer, Sequential
from minicoulomb.optim import update_average


class Slot(NamedTuple):
    """Where one array lies in a flat vector."""

    start: int
    stop: int
    shape: tuple[int, ...]


class Prepared(NamedTuple):
    """A parameter vector on its way through several passes of one step (see Network.prepare)."""

    params: list


class Network:
    """Network([layer, ...], input_shape): checks that the layers fit, and lays out their parameters.

    input_shape, output_shape   without the batch axis
    size                        length of theta
    statistics_size             length of the statistics vector, 0 without batch normalization
    """

    def __init__(self, layers: list[Layer], input_shape: tuple[int, ...]):
        self.root = Sequential(*layers)
        self.input_shape = tuple(input_shape)
        self.output_shape = self.root.output_shape(self.input_shape)
        self._parameters, self.size = _lay_out(self.root, Layer.parameters.__name__, 0)
        self._statistics, self.statistics_size = _lay_out(self.root, Layer.statistics.__name__, 0)
        self.kernels = [
            slice(slot.start, slot.stop)
            for layer, slots in _leaves(self.root, self._parameters)
            for name, slot in slots.items()
            if layer.parameters()[name].is_kernel
        ]

    def init(self, rng: np.random.Generator, dtype=np.float32) -> np.ndarray:
        """A fresh theta (size,), each parameter drawn as its layer says."""
        return self._initial(self._parameters, "parameters", self.size, rng, dtype)

    def init_statistics(self, dtype=np.float32) -> np.ndarray:
        """The statistics (statistics_size,) of no data at all: means 0, variances 1."""
        return self._initial(self._statistics, "statistics", self.statistics_size, None, dtype)

    def _initial(self, tree, kind, size, rng, dtype):
        vector = np.empty(size, dtype)
        for layer, slots in _leaves(self.root, tree):
            for name, slot in slots.items():
                vector[slot.start : slot.stop] = getattr(layer, kind)()[name].initial(rng, slot.shape).ravel()
        return vector

    def prepare(self, theta, workspace=NoWorkspace, keep: bool = True) -> "Prepared":
        """theta for several passes, in its place: they share the transforms of the kernels, unless `keep` is off, and
        work buffers. Valid while theta does not change.
        """
        return Prepared(_prepare(self.root, _views(self._parameters, theta), workspace, keep))

    def forward(self, theta, x, statistics=None):
        """(y, residuals) for x (n, *input_shape), theta (size,) or prepared.

        Batch normalization uses the batch's own statistics, or the given vector (statistics_size,).
        Raises UserError where x has another shape or no samples.
        """
        if x.shape[1:] != self.input_shape or len(x) == 0:
            raise UserError(f"input of shape {x.shape}: the network takes (n, {str(self.input_shape)[1:-1]}), n >= 1")
        given = None if statistics is None else _views(self._statistics, statistics)
        params = theta.params if isinstance(theta, Prepared) else _views(self._parameters, theta)
        return self.root.forward(params, x, given)

    def input_gradient(self, residuals, dy):
        """(dy/dx)^T dy, (n, *input_shape)."""
        return self.root.input_gradient(residuals, dy)

    def param_gradient(self, residuals, dy):
        """(dy/dtheta)^T dy, (size,)."""
        return self._flat(self.root.param_gradient(residuals, dy), dy)

    def gradients(self, residuals, dy):
        """(input_gradient, param_gradient)."""
        dx, dparams = self.root.gradients(residuals, dy)
        return dx, self._flat(dparams, dy)

    def weighted_gradients(self, residuals, dy, weights):
        """(input_gradient for dy, param_gradient for weights dy), weights (n,); not with batch normalization."""
        dx, dparams = self.root.weighted_gradients(residuals, dy, weights)
        return dx, self._flat(dparams, dy)

    def _flat(self, dparams, like):
        leaves = _leaves(self.root, self._parameters, dparams)
        flat = [gradients[name].reshape(-1) for _, slots, gradients in leaves for name in slots]
        return array_module(like).concatenate(flat) if flat else array_module(like).empty(0, like.dtype)

    def update_statistics(self, statistics, residuals, momentum: float, where=True) -> None:
        """statistics <- momentum statistics + (1 - momentum) (what this pass measured), in place."""
        views = _views(self._statistics, statistics)
        for layer, residual, view in _leaves(self.root, residuals, views):
            for name, measured in layer.batch_statistics(residual).items():
                update_average(view[name], measured, momentum, where)

    def named_views(self, theta) -> dict:
        """{"0.kernel": view, "0.bias": view, "1.scale": view, ...}: writing into a view writes into theta."""
        return dict(_named(self._parameters, theta, ""))

    def summary(self) -> list[tuple[str, tuple[int, ...], int]]:
        """(layer, output shape, number of parameters) for each layer."""
        rows, shape = [], self.input_shape
        for layer in self.root.children:
            shape = layer.output_shape(shape)
            rows.append((layer.name, shape, _lay_out(layer, "parameters", 0)[1]))
        return rows


# A tree has a list where a layer has children, and elsewhere a dict with an entry for each of the layer's arrays.


def _lay_out(layer, kind, start):
    """The tree of slots of a layer's `kind`, "parameters" or "statistics", from `start` on; and where it ends."""
    if layer.children:
        trees = []
        for child in layer.children:
            tree, start = _lay_out(child, kind, start)
            trees.append(tree)
        return trees, start
    slots = {}
    for name, parameter in getattr(layer, kind)().items():
        slots[name] = Slot(start, start + prod(parameter.shape), parameter.shape)
        start = slots[name].stop
    return slots, start


def _prepare(layer, tree, workspace, keep):
    if layer.children:
        return [_prepare(child, part, workspace, keep) for child, part in zip(layer.children, tree, strict=True)]
    return layer.prepare(tree, workspace, keep)


def _views(tree, vector):
    if isinstance(tree, list):
        return [_views(child, vector) for child in tree]
    return {name: vector[start:stop].reshape(shape) for name, (start, stop, shape) in tree.items()}


def _leaves(layer, *trees):
    """(layer, entry of each tree) for every layer without children."""
    if layer.children:
        for child, *parts in zip(layer.children, *trees, strict=True):
            yield from _leaves(child, *parts)
    else:
        yield layer, *trees


def _named(tree, vector, prefix):
    if isinstance(tree, list):
        for number, child in enumerate(tree):
            yield from _named(child, vector, f"{prefix}{number}.")
    else:
        for name, view in _views(tree, vector).items():
            yield prefix + name, view
