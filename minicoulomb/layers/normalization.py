"""Batch and layer normalization.

    xhat = (x - mean) / sqrt(variance + epsilon),     y = scale xhat + shift

Batch normalization (Ioffe and Szegedy, 2015) takes mean and variance per channel over all other axes of the
batch; layer normalization (Ba et al., 2016) over all axes of each sample. Where mean and variance come from x,

    dx     = scale / std (dy - mean(dy) - xhat mean(dy xhat))        means over the axes of the statistics
    dscale = sum dy xhat,   dshift = sum dy

(layer normalization takes these means of scale dy), and with given statistics dx = scale / std dy.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from minicoulomb.backend import array_module
from minicoulomb.errors import UserError
from minicoulomb.layers.layer import Layer, Parameter, ones, zeros

EPSILON = 1e-5


class BatchNormResiduals(NamedTuple):
    """mean and variance are the batch's own, or None where given statistics were used."""

    xhat: Any  # (n, ..., c)
    inverse_std: Any  # (c,)
    scale: Any  # (c,)
    mean: Any  # (c,)
    variance: Any  # (c,)


def batch_norm(x, scale, shift, epsilon=EPSILON, statistics=None):
    """(y, residuals); x and y (n, ..., c), scale and shift (c,), statistics (mean, variance), (c,) each.

    The variance is the biased one, the mean of (x - mean)^2. Raises UserError for an empty batch, which has none.
    """
    if x.size == 0:
        raise UserError(f"array of shape {x.shape}: the batch is empty; pass at least one sample")
    axes = tuple(range(x.ndim - 1))
    if statistics is None:
        mean = x.mean(axis=axes)
        xhat = x - mean
        variance = (xhat * xhat).mean(axis=axes)
    else:
        xhat, variance, mean = x - statistics[0], statistics[1], None
    inverse_std = 1 / array_module(x).sqrt(variance + epsilon)
    xhat *= inverse_std
    residuals = BatchNormResiduals(xhat, inverse_std, scale, mean, variance if statistics is None else None)
    return xhat * scale + shift, residuals


def batch_norm_param_gradient(residuals, dy):
    """(dscale, dshift) = (sum dy xhat, sum dy), (c,) each."""
    axes = tuple(range(dy.ndim - 1))
    return (dy * residuals.xhat).sum(axis=axes), dy.sum(axis=axes)


def batch_norm_input_gradient(residuals, dy, param_gradient=None):
    """dx = scale / std (dy - mean(dy) - xhat mean(dy xhat)), (n, ..., c).

    Both means are the parameter gradient over the batch's size: pass it where it is known.
    """
    if residuals.mean is None:
        return dy * (residuals.scale * residuals.inverse_std)
    n = dy.size // dy.shape[-1]
    dscale, dshift = param_gradient or batch_norm_param_gradient(residuals, dy)
    dx = residuals.xhat * (dscale / -n)
    dx += dy
    dx -= dshift / n
    dx *= residuals.scale * residuals.inverse_std
    return dx


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
    """BatchNorm(channels): (n, ..., channels); residuals BatchNormResiduals.

    Without statistics it normalizes by the batch's own, in training as in the official code. Its running
    statistics, kept by the trainer outside the parameters, make a sample independent of its batch.
    """

    channels: int
    epsilon: float = EPSILON

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
        return batch_norm(x, params["scale"], params["shift"], self.epsilon, given)

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
