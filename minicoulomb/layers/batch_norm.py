"""Batch and layer normalization.

    xhat = (x - mean) / sqrt(variance + epsilon),     y = scale xhat + shift

Batch normalization (Ioffe and Szegedy, 2015) takes mean and variance per channel over all other axes of the
batch; layer normalization (Ba et al., 2016) over all axes of each sample. Where mean and variance come from x,

    dx     = scale / std (dy - mean(dy) - xhat mean(dy xhat))        means over the axes of the statistics
    dscale = sum dy xhat,   dshift = sum dy

(layer normalization takes these means of scale dy), and with given statistics dx = scale / std dy.

An activation behind batch normalization, y = f(scale xhat + shift), is taken along block by block while the numbers
are in the cache, or on a GPU in the same kernels; dy then stands for f' dy above.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import minicoulomb.layers.batch_norm_cuda as kernels
from minicoulomb.arrays.backend import array_module, on_gpu
from minicoulomb.arrays.threads import blocks, for_each
from minicoulomb.errors import UserError
from minicoulomb.layers.activations import Activation
from minicoulomb.layers.layer import Layer, Parameter, ones, zeros

EPSILON = 1e-5


# Numbers per block, 1 MB in float32: the passes over it stay in the processor's cache.
BLOCK = 2**18


class BatchNormResiduals(NamedTuple):
    """What the gradients need; `variance` is the batch's own, or None where mean and inverse_std were given."""

    x: Any  # (n, ..., c)
    y: Any  # (n, ..., c), or None without activation
    mean: Any  # (c,)
    inverse_std: Any  # (c,)
    scale: Any  # (c,)
    variance: Any  # (c,)
    activation: Activation | None


def batch_norm(x, scale, shift, epsilon=EPSILON, statistics=None, activation: Activation | None = None):
    """(y, residuals); x and y (n, ..., c), scale and shift (c,), statistics (mean, variance), (c,) each.

    The variance is the biased one, the mean of (x - mean)^2. Raises UserError for an empty batch, which has none.
    """
    if x.size == 0:
        raise UserError(f"array of shape {x.shape}: the batch is empty; pass at least one sample")
    xp, rows = array_module(x), x.reshape(-1, x.shape[-1])
    mean, variance = _mean_and_variance(rows) if statistics is None else statistics
    inverse_std = 1 / xp.sqrt(variance + epsilon)
    own = variance if statistics is None else None
    factor = inverse_std * scale
    if kernels.take(x, activation):
        y = kernels.normalize(rows, mean, factor, shift, activation).reshape(x.shape)
        return y, BatchNormResiduals(x, y if activation else None, mean, inverse_std, scale, own, activation)
    y = xp.empty_like(rows)

    def normalize(block):
        out = y[block]
        xp.subtract(rows[block], mean, out=out)
        out *= factor
        out += shift
        if activation:
            activation.function(out, *activation.arguments, out=out)

    for_each(normalize, _blocks(rows))
    y = y.reshape(x.shape)
    return y, BatchNormResiduals(x, y if activation else None, mean, inverse_std, scale, own, activation)


def batch_norm_param_gradient(residuals, dy):
    """(dscale, dshift) = (sum dy xhat, sum dy), (c,) each."""
    rows, y, drows = _rows(residuals, dy)
    if kernels.take(dy, residuals.activation):
        dscale, dshift = kernels.gradient_sums(rows, y, drows, residuals.mean, residuals.activation)
        return dscale * residuals.inverse_std, dshift
    behind = _gradient_behind(residuals.activation, y, drows)

    def sums(block, ones):
        dz = behind(block)
        product = rows[block] - residuals.mean
        product *= dz
        return ones @ product, ones @ dz

    dscale, dshift = _sum_over_blocks(sums, rows)
    return dscale * residuals.inverse_std, dshift


def batch_norm_input_gradient(residuals, dy, param_gradient=None):
    """dx = scale / std (dy - mean(dy) - xhat mean(dy xhat)), (n, ..., c).

    Both means are the parameter gradient over the batch's size: pass it where it is known.
    """
    xp, (rows, y, drows) = array_module(dy), _rows(residuals, dy)
    factor = residuals.scale * residuals.inverse_std
    if residuals.variance is not None:
        dscale, dshift = param_gradient or batch_norm_param_gradient(residuals, dy)
        slope, offset = residuals.inverse_std * dscale / -len(rows), dshift / len(rows)
    if kernels.take(dy, residuals.activation):
        if residuals.variance is None:
            dx = kernels.scale(y, drows, factor, residuals.activation)
        else:
            dx = kernels.differentiate(rows, y, drows, residuals.mean, slope, offset, factor, residuals.activation)
        return dx.reshape(dy.shape)
    behind, dx = _gradient_behind(residuals.activation, y, drows), xp.empty_like(rows)

    def differentiate(block):
        dz, out = behind(block), dx[block]
        if residuals.variance is None:
            xp.multiply(dz, factor, out=out)
        else:
            xp.subtract(rows[block], residuals.mean, out=out)
            out *= slope
            out += dz
            out -= offset
            out *= factor

    for_each(differentiate, _blocks(rows))
    return dx.reshape(dy.shape)


def _rows(residuals, dy):
    """x, y and dy as rows (n, c); in the place of y dy itself, where there is no activation."""
    y = dy if residuals.y is None else residuals.y
    return [array.reshape(-1, dy.shape[-1]) for array in (residuals.x, y, dy)]


def _gradient_behind(activation, y, dy):
    """The function block -> dy between normalization and activation, of that block of rows."""
    if not activation:
        return lambda block: dy[block]
    return lambda block: activation.gradient(y[block], dy[block], *activation.arguments)


def _mean_and_variance(rows):
    """Of each column of rows (n, c), in two passes, so that a large mean leaves the variance its digits."""
    if on_gpu(rows):
        return kernels.mean_and_variance(rows)
    (total,) = _sum_over_blocks(lambda block, ones: [ones @ rows[block]], rows)
    mean = total / len(rows)

    def squares(block, ones):
        offsets = rows[block] - mean
        offsets *= offsets
        return [ones @ offsets]

    (total,) = _sum_over_blocks(squares, rows)
    return mean, total / len(rows)


def _sum_over_blocks(function, rows):
    """The sum over blocks of the arrays function(block, ones), (c,) each; ones @ array is its sum over the block."""
    xp, parts = array_module(rows), _blocks(rows)
    ones = xp.ones(min(len(rows), parts[0].stop), rows.dtype)
    sums = [None] * len(parts)

    def add(number):
        block = parts[number]
        sums[number] = function(block, ones[: len(rows[block])])

    for_each(add, range(len(parts)))
    return [sum(terms[1:], terms[0]) for terms in zip(*sums)]


def _blocks(rows):
    return blocks(len(rows), BLOCK // rows.shape[1], rows)


def layer_norm(x, scale, shift, epsilon=EPSILON):
    """(y, (xhat, inverse_std, scale)); x (n, *shape), scale and shift of `shape`, inverse_std (n, 1, ...)."""
    axes = tuple(range(1, x.ndim))
    xhat = x - x.mean(axis=axes, keepdims=True)
    inverse_std = 1 / array_module(x).sqrt((xhat * xhat).mean(axis=axes, keepdims=True) + epsilon)
    xhat *= inverse_std
    return xhat * scale + shift, (xhat, inverse_std, scale)


def layer_norm_input_gradient(residuals, dy):
    """dx = 1 / std (g - mean(g) - xhat mean(g xhat)) with g = scale dy, (n, *shape)."""
    xhat, inverse_std, scale = residuals
    axes = tuple(range(1, dy.ndim))
    dxhat = dy * scale
    means = dxhat.mean(axis=axes, keepdims=True), (dxhat * xhat).mean(axis=axes, keepdims=True)
    return inverse_std * (dxhat - means[0] - xhat * means[1])


def layer_norm_param_gradient(residuals, dy):
    """(dscale, dshift) = (sum_n dy xhat, sum_n dy), of `shape` each."""
    xhat, _, _ = residuals
    return (dy * xhat).sum(axis=0), dy.sum(axis=0)


@dataclass(frozen=True)
class BatchNorm(Layer):
    """BatchNorm(channels, ReLU()): (n, ..., channels); residuals BatchNormResiduals.

    Without statistics it normalizes by the batch's own, in training as in the official code. Its running
    statistics, kept by the trainer outside the parameters, make a sample independent of its batch.
    """

    channels: int
    activation: Activation | None = None
    epsilon: float = EPSILON

    @property
    def name(self):
        return f"BatchNorm, {self.activation.name}" if self.activation else "BatchNorm"

    def parameters(self):
        return {"scale": Parameter((self.channels,), ones), "shift": Parameter((self.channels,), zeros)}

    def statistics(self):
        return {"mean": Parameter((self.channels,), zeros), "variance": Parameter((self.channels,), ones)}

    def output_shape(self, shape):
        if shape[-1] != self.channels:
            raise UserError(f"BatchNorm({self.channels}): takes {self.channels} channels, got shape {shape}")
        return shape

    def forward(self, params, x, statistics=None):
        given = None if statistics is None else (statistics["mean"], statistics["variance"])
        return batch_norm(x, params["scale"], params["shift"], self.epsilon, given, self.activation)

    def input_gradient(self, residuals, dy):
        return batch_norm_input_gradient(residuals, dy)

    def param_gradient(self, residuals, dy):
        return dict(zip(("scale", "shift"), batch_norm_param_gradient(residuals, dy), strict=True))

    def gradients(self, residuals, dy):
        dparams = batch_norm_param_gradient(residuals, dy)
        dx = batch_norm_input_gradient(residuals, dy, dparams)
        return dx, dict(zip(("scale", "shift"), dparams, strict=True))

    def batch_statistics(self, residuals):
        return {"mean": residuals.mean, "variance": residuals.variance}


@dataclass(frozen=True)
class LayerNorm(Layer):
    """LayerNorm(shape): (n, *shape), an int for (n, features); residuals (xhat, inverse_std, scale)."""

    shape: int | tuple[int, ...]
    epsilon: float = EPSILON

    @property
    def _shape(self) -> tuple[int, ...]:
        return (self.shape,) if isinstance(self.shape, int) else self.shape

    def parameters(self):
        return {"scale": Parameter(self._shape, ones), "shift": Parameter(self._shape, zeros)}

    def output_shape(self, shape):
        if shape != self._shape:
            raise UserError(f"LayerNorm({self.shape}): takes {self._shape}, got {shape}")
        return shape

    def forward(self, params, x, statistics=None):
        return layer_norm(x, params["scale"], params["shift"], self.epsilon)

    def input_gradient(self, residuals, dy):
        return layer_norm_input_gradient(residuals, dy)

    def param_gradient(self, residuals, dy):
        return dict(zip(("scale", "shift"), layer_norm_param_gradient(residuals, dy), strict=True))
