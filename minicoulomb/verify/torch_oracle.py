"""The oracle that computes with PyTorch's modules, which torch.autograd differentiates."""

import torch
import torch.nn.functional as F
from torch.func import functional_call

from minicoulomb.verify.oracle import Oracle
from minicoulomb.verify.torch_network import TorchNetwork, channels_first, channels_last


class TorchOracle(Oracle):
    """The networks are those of `to_torch`, as functions of their flat vectors."""

    def _array(self, numbers):
        return torch.tensor(numbers, dtype=torch.float64)

    def _differentiate(self, function, *arguments):
        arguments = [argument.detach().requires_grad_() for argument in arguments]
        value = function(*arguments)
        return value.detach(), torch.autograd.grad(value, arguments, materialize_grads=True)

    def _log_sigmoid(self, x):
        return F.logsigmoid(x)

    def _network(self, network, theta, x, statistics=None):
        module = TorchNetwork(network, theta.detach(), None if statistics is None else statistics.detach())
        x = channels_first(x).contiguous()  # without the copy, PyTorch refuses some sizes in the gradient
        return channels_last(functional_call(module, module.tensors(theta, statistics), x))
