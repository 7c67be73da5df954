"""The oracle that computes with PyTorch. Images are (n, c, h, w) there, kernels (c_out, c_in, kh, kw)."""

import torch
import torch.nn.functional as F

from minicoulomb.layers import elu, leaky_relu, relu, softmax, tanh
from minicoulomb.verify.oracle import Oracle


class TorchOracle(Oracle):
    """torch.nn.functional's convolutions, normalizations and activations, differentiated by torch.autograd."""

    activations = {  # noqa: RUF012
        relu: F.relu,
        leaky_relu: F.leaky_relu,
        elu: F.elu,
        tanh: lambda x, amplitude, slope: amplitude * torch.tanh(slope * x),
        softmax: lambda x: F.softmax(x, dim=-1),
    }

    def _array(self, numbers):
        return torch.tensor(numbers, dtype=torch.float64)

    def _differentiate(self, function, *arguments):
        arguments = [argument.detach().requires_grad_() for argument in arguments]
        value = function(*arguments)
        return value.detach(), torch.autograd.grad(value, arguments, materialize_grads=True)

    def _log_sigmoid(self, x):
        return F.logsigmoid(x)

    def _conv(self, x, kernel, stride, padding):
        operation = F.conv1d if x.ndim == 3 else F.conv2d
        ends = [end for pair in reversed(padding) for end in pair]  # F.pad counts from the last axis
        y = operation(F.pad(x.movedim(-1, 1), ends), _torch_kernel(kernel), stride=stride)
        return y.movedim(1, -1)

    def _conv_transpose(self, x, kernel, stride, padding):
        operation = F.conv_transpose1d if x.ndim == 3 else F.conv_transpose2d
        y = operation(x.movedim(-1, 1), _torch_kernel(kernel), stride=stride)
        for axis, (before, after) in enumerate(padding, 2):
            y = y.narrow(axis, before, y.shape[axis] - before - after)
        return y.movedim(1, -1)

    def _batch_norm(self, x, scale, shift, epsilon, statistics):
        mean, variance = (None, None) if statistics is None else (statistics["mean"], statistics["variance"])
        y = F.batch_norm(x.movedim(-1, 1), mean, variance, scale, shift, training=statistics is None, eps=epsilon)
        return y.movedim(1, -1)

    def _upsample(self, x):
        return F.interpolate(x.movedim(-1, 1), scale_factor=2, mode="nearest").movedim(1, -1)

    def _average_pool(self, x):
        return F.avg_pool2d(x.movedim(-1, 1), 2).movedim(1, -1)


def _torch_kernel(kernel):
    """(..., c_in, c_out) -> (c_out, c_in, ...); without the copy, torch refuses some sizes in the gradient."""
    return kernel.movedim((-1, -2), (0, 1)).contiguous()
