"""Batch normalization by the statistics of the whole batch, of which each process has a share of equal size.

    mean     = mean_r mean_r(x)
    variance = mean_r (variance_r(x) + (mean_r(x) - mean)^2)         r runs over the processes

Both are sums of positive terms, so nothing cancels. One exchange gives every process the means and variances of all,
(N, c) each. The backward pass needs sums of dz and dz xhat over the whole batch; another exchange gives those of each
process.
"""

from collections.abc import Callable
from dataclasses import dataclass

from minicoulomb.layers import BatchNorm, Layer
from minicoulomb.layers.batch_norm import batch_norm_input_gradient, mean_and_variance
from minicoulomb.network import Network


@dataclass(frozen=True)
class WholeBatchNorm(BatchNorm):
    """BatchNorm whose batch is that of all processes; `gather` is World.gather."""

    gather: Callable[..., list] = lambda *arrays: list(arrays)

    def forward(self, params, x, statistics=None):
        if statistics is not None:
            return super().forward(params, x, statistics)
        means, variances = self._of_all(*mean_and_variance(x.reshape(-1, self.channels)))
        mean = means.mean(axis=0)
        variance = (variances + (means - mean) ** 2).mean(axis=0)
        y, residuals = super().forward(params, x, {"mean": mean, "variance": variance})
        return y, residuals._replace(variance=variance)

    def input_gradient(self, residuals, dy):
        return self._input_gradient(residuals, dy, self.param_gradient(residuals, dy))

    def gradients(self, residuals, dy, weights=None):
        if weights is not None:
            return super().gradients(residuals, dy, weights)
        dparams = self.param_gradient(residuals, dy)
        return self._input_gradient(residuals, dy, dparams), dparams

    def _input_gradient(self, residuals, dy, dparams):
        of_all = self._of_all(dparams["scale"], dparams["shift"])
        return batch_norm_input_gradient(residuals, dy, tuple(sums.mean(axis=0) for sums in of_all))

    def _of_all(self, *arrays):
        """The arrays (c,) of all processes, (N, c) each."""
        return [array.reshape(-1, self.channels) for array in self.gather(*arrays)]


def with_whole_batches(network: Network, gather: Callable[..., list]) -> Network:
    """The network with WholeBatchNorm in the place of each BatchNorm; parameters stay where they are."""

    def replaced(layer: Layer) -> Layer:
        if not isinstance(layer, BatchNorm):
            return layer
        return WholeBatchNorm(layer.channels, layer.activation, layer.epsilon, gather)

    return Network([layer.map(replaced) for layer in network.root.children], network.input_shape)
