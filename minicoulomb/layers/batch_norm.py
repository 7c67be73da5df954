"""Batch normalization (Ioffe and Szegedy, 2015), and an activation f after it.

    xhat = (x - mean) / sqrt(variance + epsilon),     y = f(scale xhat + shift)

Mean and variance are those of each channel over all other axes of the batch. With dz = f' dy, n rows and
std = sqrt(variance + epsilon),

    dscale = sum dz xhat,   dshift = sum dz
    dx     = scale / std (dz - dshift / n - xhat dscale / n)

The last two terms come from mean and variance, which depend on x; with given statistics they are absent.

Images are rows x (n, c) here. The four functions of rows below are the formulas; batch_norm_cuda.py has the same on
a GPU.
"""

from dataclasses import dataclass
from typing import NamedTuple

import minicoulomb.layers.batch_norm_cuda as cuda
from minicoulomb.arrays.backend import Array, floats, on_gpu
from minicoulomb.arrays.blocks import column_sums, map_rows
from minicoulomb.errors import UserError
from minicoulomb.layers.activations import Activation
from minicoulomb.layers.activations_cuda import applies, mixes
from minicoulomb.layers.layer import Layer, Parameter, ones, zeros

EPSILON = 1e-5


def mean_and_variance(x):
    """Mean and variance of each column of x (n, c), in two passes to avoid cancellation when the mean is large."""
    if on_gpu(x):
        return cuda.mean_and_variance(x)
    (total,) = column_sums(lambda x: (x,), x)
    mean = total / len(x)
    (total,) = column_sums(lambda x, mean: ((x - mean) ** 2,), x, columns=(mean,))
    return mean, total / len(x)


def normalize(x, mean, inverse_std, scale, shift, activation):
    """y = f((x - mean) scale / std + shift), (n, c)."""
    if applies(x, activation):
        return cuda.normalize(x, mean, inverse_std, scale, shift, activation)

    def formula(x, mean, factor, shift):
        z = (x - mean) * factor + shift
        return activation.f(z) if activation else z

    return map_rows(formula, x, columns=(mean, inverse_std * scale, shift), apart=mixes(activation))


def gradient_sums(x, y, dy, mean, inverse_std, activation):
    """(dscale, dshift) = (sum dz (x - mean) / std, sum dz), (c,) each."""
    if applies(x, activation):
        return cuda.gradient_sums(x, y, dy, mean, inverse_std, activation)

    def formula(x, y, dy, mean):
        dz = activation.df(y, dy) if activation else dy
        return (x - mean) * dz, dz

    dscale, dshift = column_sums(formula, x, y, dy, columns=(mean,), apart=mixes(activation))
    return dscale * inverse_std, dshift


def differentiate(x, y, dy, mean, inverse_std, scale, dscale, dshift, activation):
    """dx = scale / std (dz - dshift / n - (x - mean) dscale / (std n)), (n, c)."""
    if applies(x, activation):
        return cuda.differentiate(x, y, dy, mean, inverse_std, scale, dscale, dshift, activation)

    def formula(x, y, dy, mean, slope, offset, factor):
        dz = activation.df(y, dy) if activation else dy
        return ((x - mean) * slope + dz - offset) * factor

    columns = mean, inverse_std * dscale / -len(x), dshift / len(x), scale * inverse_std
    return map_rows(formula, x, y, dy, columns=columns, apart=mixes(activation))


class BatchNormResiduals(NamedTuple):
    """What the gradients need; `variance` is None where mean and inverse_std were given."""

    x: Array  # (n, ..., c)
    y: Array  # (n, ..., c), or None without activation
    mean: Array  # (c,)
    inverse_std: Array  # (c,)
    scale: Array  # (c,)
    variance: Array  # (c,)
    activation: Activation | None


def batch_norm(
    x: Array,
    scale: Array,
    shift: Array,
    epsilon: float = EPSILON,
    statistics: tuple[Array, Array] | None = None,
    activation: Activation | None = None,
) -> tuple[Array, BatchNormResiduals]:
    """y = f(scale (x - mean) / sqrt(variance + epsilon) + shift).

    Parameters
    ----------
    x : array (n, ..., c)
    scale, shift : array (c,)
    epsilon : float
    statistics : (mean, variance), array (c,) each, optional
        By default those of x; the variance is the biased one, the mean of (x - mean)^2.
    activation : Activation, optional
        f, by default the identity.

    Returns
    -------
    y : array (n, ..., c)
    residuals : BatchNormResiduals
        What the gradients need.

    Raises
    ------
    UserError
        If the batch is empty.

    Examples
    --------
    >>> import numpy as np
    >>> y, residuals = batch_norm(np.array([[1.0], [3.0]]), np.array([2.0]), np.array([5.0]), epsilon=0.0)
    >>> y.ravel(), residuals.mean, residuals.variance
    (array([3., 7.]), array([2.]), array([1.]))
    """
    xp = floats(x, scale, shift, *(statistics or ()))
    if x.size == 0:
        raise UserError(f"array of shape {x.shape}: the batch is empty; pass at least one sample")
    rows = x.reshape(-1, x.shape[-1])
    mean, variance = mean_and_variance(rows) if statistics is None else statistics
    inverse_std = cuda.inverse_std(variance, float(epsilon)) if on_gpu(x) else 1 / xp.sqrt(variance + float(epsilon))
    y = normalize(rows, mean, inverse_std, scale, shift, activation).reshape(x.shape)
    measured = variance if statistics is None else None
    return y, BatchNormResiduals(x, y if activation else None, mean, inverse_std, scale, measured, activation)


def batch_norm_param_gradient(residuals: BatchNormResiduals, dy: Array) -> tuple[Array, Array]:
    """(dscale, dshift) = (sum dz xhat, sum dz), dz = f' dy.

    Parameters
    ----------
    residuals : BatchNormResiduals
        Of `batch_norm`.
    dy : array (n, ..., c)

    Returns
    -------
    dscale, dshift : array (c,)

    Examples
    --------
    >>> import numpy as np
    >>> _, residuals = batch_norm(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1), epsilon=0.0)
    >>> batch_norm_param_gradient(residuals, np.array([[1.0], [4.0]]))
    (array([3.]), array([5.]))
    """
    x, y, dy = _rows(residuals, dy)
    return gradient_sums(x, y, dy, residuals.mean, residuals.inverse_std, residuals.activation)


def batch_norm_input_gradient(residuals: BatchNormResiduals, dy: Array, param_gradient=None) -> Array:
    """dx = scale / std (dz - mean(dz) - xhat mean(dz xhat)), dz = f' dy; with given statistics dx = scale / std dz.

    Parameters
    ----------
    residuals : BatchNormResiduals
        Of `batch_norm`.
    dy : array (n, ..., c)
    param_gradient : (dscale, dshift), optional
        n times the two means; pass it where it is known.

    Returns
    -------
    dx : array (n, ..., c)

    Examples
    --------
    >>> import numpy as np
    >>> x, dy = np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [0.0], [0.0]])
    >>> _, residuals = batch_norm(x, np.ones(1), np.zeros(1), statistics=(np.zeros(1), np.ones(1)), epsilon=0.0)
    >>> batch_norm_input_gradient(residuals, dy).ravel()
    array([1., 0., 0.])
    """
    x, y, dy_rows = _rows(residuals, dy)
    if residuals.variance is None:
        dscale = dshift = 0 * residuals.mean
    else:
        dscale, dshift = param_gradient or batch_norm_param_gradient(residuals, dy)
    columns = residuals.mean, residuals.inverse_std, residuals.scale, dscale, dshift
    dx = differentiate(x, y, dy_rows, *columns, residuals.activation)
    return dx.reshape(dy.shape)


def _rows(residuals, dy):
    """x, y and dy as rows (n, c); without activation, dy takes the place of y."""
    floats(dy)
    y = dy if residuals.y is None else residuals.y
    return [array.reshape(-1, dy.shape[-1]) for array in (residuals.x, y, dy)]


@dataclass(frozen=True)
class BatchNorm(Layer):
    """BatchNorm(channels, activation): y = f(scale xhat + shift), (n, ..., channels) -> (n, ..., channels).

    Parameters
    ----------
    channels : int
    activation : Activation, optional
        f, by default the identity.
    epsilon : float

    Notes
    -----
    Without statistics it normalizes by those of the batch, in training as in the official code. Training keeps running
    statistics outside the parameters; with them a sample does not depend on the rest of its batch.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"scale": np.ones(1), "shift": np.zeros(1)}
    >>> BatchNorm(1, epsilon=0.0).forward(params, np.array([[1.0], [3.0]]))[0].ravel()
    array([-1.,  1.])
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
        pair = None if statistics is None else (statistics["mean"], statistics["variance"])
        return batch_norm(x, params["scale"], params["shift"], self.epsilon, pair, self.activation)

    def input_gradient(self, residuals, dy):
        return batch_norm_input_gradient(residuals, dy)

    def param_gradient(self, residuals, dy):
        dscale, dshift = batch_norm_param_gradient(residuals, dy)
        return {"scale": dscale, "shift": dshift}

    def gradients(self, residuals, dy, weights=None):
        if weights is not None:
            return super().gradients(residuals, dy, weights)
        dparams = self.param_gradient(residuals, dy)
        return batch_norm_input_gradient(residuals, dy, (dparams["scale"], dparams["shift"])), dparams

    def batch_statistics(self, residuals):
        return {"mean": residuals.mean, "variance": residuals.variance}
