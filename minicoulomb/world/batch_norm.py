"""Batch normalization by the statistics of the whole batch, of which each process has a share of equal size.

    mean     = mean_r mean_r(x)
    variance = mean_r (variance_r(x) + (mean_r(x) - mean)^2)         r runs over the processes

Both are sums of positive terms, so nothing cancels. The backward pass needs the means of dz and dz xhat over the whole
batch: the means over the processes of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minicoulomb.arrays.vectors import concatenate
from minicoulomb.layers import BatchNorm, Layer
from minicoulomb.layers.batch_norm import batch_norm_input_gradient, mean_and_variance
from minicoulomb.network import Network


@dataclass(frozen=True)
class WholeBatchNorm(BatchNorm):
    """BatchNorm whose batch is that of all processes; `mean_of_all` is World.mean."""

    mean_of_all: Callable[[Any], Any] = lambda array: array

    def forward(self, params, x, statistics=None):
        if statistics is not None:
            return super().forward(params, x, statistics)
        mean, variance = mean_and_variance(x.reshape(-1, self.channels))
        mean_of_batch = self.mean_of_all(mean)
        variance = self.mean_of_all(variance + (mean - mean_of_batch) ** 2)
        y, residuals = super().forward(params, x, {"mean": mean_of_batch, "variance": variance})
        return y, residuals._replace(variance=variance)

    def input_gradient(self, residuals, dy):
        return self._input_gradient(residuals, dy, self.param_gradient(residuals, dy))

    def gradients(self, residuals, dy, weights=None):
        if weights is not None:
            return super().gradients(residuals, dy, weights)
        dparams = self.param_gradient(residuals, dy)
        return self._input_gradient(residuals, dy, dparams), dparams

    def _input_gradient(self, residuals, dy, dparams):
        dscale, dshift = dparams["scale"], dparams["shift"]
        means = self.mean_of_all(concatenate((dscale, dshift)))
        return batch_norm_input_gradient(residuals, dy, (means[: len(dscale)], means[len(dscale) :]))


def with_whole_batches(network: Network, mean_of_all: Callable[[Any], Any]) -> Network:
    """The network with WholeBatchNorm in the place of each BatchNorm; parameters stay where they are."""

    def replaced(layer: Layer) -> Layer:
        if not isinstance(layer, BatchNorm):
            return layer
        return WholeBatchNorm(layer.channels, layer.activation, layer.epsilon, mean_of_all)

    return Network([layer.map(replaced) for layer in network.root.children], network.input_shape)
