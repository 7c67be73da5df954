"""A network of this package as PyTorch's modules; imported only where PyTorch is used.

                               here                       PyTorch
    images                     (n, h, w, c)               (n, c, h, w)
    kernel, convolution        (kh, kw, c_in, c_out)      (c_out, c_in, kh, kw)
    kernel, transposed         (kh, kw, c_out, c_in)      (c_in, c_out, kh, kw)
    kernel, linear             (c_in, c_out)              (c_out, c_in)

Two differences need care:

Flattening    PyTorch flattens (c, h, w), this package (h, w, c). A linear layer next to an image has its rows or
              columns in PyTorch's order, so that nothing is rearranged in a pass. Any other reshape rearranges.
Padding       PyTorch pads both ends of an axis alike. Of a stride s > 1 the last windows leave out up to s - 1 zeros,
              so Conv2d(padding=2) of a 5x5 kernel with stride 2 is (2, 1), and ConvTranspose2d needs output_padding=1.
              Any other padding, such as (1, 2), is a pass of zeros of its own.
"""

from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from minicoulomb import layers
from minicoulomb.conv.geometry import normalize_geometry
from minicoulomb.network import Network

# Layers whose output no gradient needs, so that an activation may overwrite it.
_OVERWRITABLE = layers.Linear, layers.Conv, layers.ConvTranspose, layers.BatchNorm


class TorchNetwork(nn.Module):
    """The module that `minicoulomb.verify.to_torch` returns; its parameters are in the order of the network's."""

    def __init__(self, network: Network, theta, statistics=None, device="cpu", channels_last: bool = False):
        super().__init__()
        self.device = device
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._layouts = []  # of each parameter: its shape here, and the order of these axes in PyTorch
        with torch.device(device):
            self.layers = self._chain(network.root.children, network.input_shape)
        self.to(dtype=torch.as_tensor(theta).dtype, memory_format=self._memory_format)
        self.load(theta, statistics)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """y (n, c, ...) of x (n, c, ...), both in PyTorch's layout."""
        return self.layers(x)

    def load(self, theta: np.ndarray, statistics: np.ndarray | None = None) -> None:
        """Copy a flat vector (size,) into the parameters; with `statistics`, batch normalization uses these."""
        tensors = self.tensors(*(None if a is None else torch.as_tensor(a) for a in (theta, statistics)))
        self.load_state_dict(tensors, strict=False)
        self.train(statistics is None)

    def flat(self, tensors) -> np.ndarray:
        """Tensors shaped as the parameters (these, or their gradients) as one flat vector of this package, (size,)."""
        parts = []
        for tensor, (shape, axes) in zip(tensors, self._layouts, strict=True):
            array = tensor.detach().cpu().numpy().reshape([shape[axis] for axis in axes])
            parts.append(array.transpose(np.argsort(axes)).ravel())
        return np.concatenate(parts) if parts else np.empty(0)

    def to_tensor(self, x: np.ndarray) -> torch.Tensor:
        """A copy of x (n, ..., c) as a tensor (n, c, ...) on the parameters' device."""
        return self._first(torch.tensor(x, device=self.device))

    def to_array(self, x: torch.Tensor) -> np.ndarray:
        """The inverse of to_tensor."""
        return channels_last(x.detach()).cpu().numpy()

    def tensors(self, theta: torch.Tensor, statistics: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """The parameters (and buffers) by name, as differentiable functions of the flat vectors."""
        parts = theta.split([prod(shape) for shape, _ in self._layouts])
        tensors = {
            name: part.reshape(shape).permute(axes).reshape(parameter.shape).contiguous()
            for (name, parameter), part, (shape, axes) in zip(
                self.named_parameters(), parts, self._layouts, strict=True
            )
        }
        if statistics is not None:
            running = {name: buffer for name, buffer in self.named_buffers() if "running" in name}
            tensors |= zip(running, statistics.split([len(buffer) for buffer in running.values()]), strict=True)
        return tensors

    def _chain(self, chain, shape):
        """The modules of layers one after the other, for an input of `shape`."""
        modules = []
        image = None  # the image whose numbers, channels first, a flat vector holds
        for i, layer in enumerate(chain):
            elementwise = layers.Activation | layers.Scale
            later = next((later for later in chain[i + 1 :] if not isinstance(later, elementwise)), None)
            match layer:
                case layers.Linear():
                    made = later.shape if isinstance(later, layers.Reshape) and len(later.shape) == 3 else None
                    module, image = self._linear(layer, image or (layer.c_in,), made or (layer.c_out,)), made
                case layers.Conv() | layers.ConvTranspose():
                    module = self._convolution(layer, shape)
                case layers.BatchNorm():
                    module = _kind("BatchNorm", max(1, len(shape) - 1))(layer.channels, layer.epsilon)
                    self._layouts += [((layer.channels,), (0,))] * 2
                    if layer.activation:
                        module = nn.Sequential(module, _activation(layer.activation, inplace=True))
                case layers.Activation():
                    module = _activation(layer, inplace=i > 0 and isinstance(chain[i - 1], _OVERWRITABLE))
                case layers.Scale():
                    module = _scale(layer.factor)
                case layers.Residual():
                    branch, shortcut = (self._chain([child], shape) for child in layer.children)
                    module = _Sum([nn.Sequential(branch, _scale(layer.scale)), shortcut])
                case layers.Sequential():
                    module = self._chain(layer.children, shape)
                case layers.Identity():
                    module = nn.Identity()
                case layers.Upsample():
                    module = nn.Upsample(scale_factor=2)
                case layers.AveragePool():
                    module = nn.AvgPool2d(2)
                case layers.Reshape() if len(shape) == 3 and isinstance(later, layers.Linear):
                    module, image = nn.Flatten(), shape
                case layers.Reshape() if image and layer.shape == image:
                    module, image = nn.Unflatten(1, (image[2], *image[:2])), None
                case layers.Reshape():
                    module = _Function(lambda x, new=layer.shape: self._first(channels_last(x).reshape(len(x), *new)))
                case _:
                    raise NotImplementedError(f"{layer}: has no module in torch_network.py; add it there")
            modules.append(module)
            shape = layer.output_shape(shape)
        return nn.Sequential(*modules)

    def _linear(self, layer, rows, columns):
        """The kernel (*rows, *columns), each a number of features or an image, as (c_out, c_in)."""
        order = [[len(shape) - 1, *range(len(shape) - 1)] for shape in (rows, columns)]  # channels first
        kernel_axes = [len(rows) + axis for axis in order[1]] + order[0]
        self._layouts += [(rows + columns, kernel_axes), (columns, order[1])]
        return nn.Linear(layer.c_in, layer.c_out)

    def _convolution(self, layer, shape):
        """A Conv or ConvTranspose, with a pass of zeros before or a cut after where PyTorch has no such padding."""
        kernel, is_transposed = layer.parameters()["kernel"].shape, isinstance(layer, layers.ConvTranspose)
        *taps, _, _ = kernel
        self._layouts.append((kernel, [len(taps) + 1, len(taps), *range(len(taps))]))
        if layer.bias:
            self._layouts.append(((layer.c_out,), [0]))
        stride, ends = normalize_geometry(len(taps), layer.stride, layer.padding)
        small, large = (layer.output_shape(shape), shape)[:: -1 if is_transposed else 1]
        # Zeros before, and zeros that the last window reaches after; negative where it leaves out numbers of the image.
        before = [first for first, _ in ends]
        after = [s * (u - 1) + k - h - b for s, u, k, h, b in zip(stride, small, taps, large, before)]
        excess = [b - a for b, a in zip(before, after)]
        kind, settings = _kind("ConvTranspose" if is_transposed else "Conv", len(taps)), {}
        is_native = all(0 <= e < s for e, s in zip(excess, stride))
        if is_native:
            settings = {"padding": before} | ({"output_padding": excess} if is_transposed else {})
        convolution = kind(layer.c_in, layer.c_out, taps, stride, bias=layer.bias, **settings)
        if is_native:
            return convolution
        zeros = [n for pair in reversed(list(zip(before, after))) for n in pair]  # from the last axis to the first
        if is_transposed:
            return nn.Sequential(convolution, _Function(lambda y: F.pad(y, [-n for n in zeros])))
        return nn.Sequential(_Function(lambda x: F.pad(x, zeros)), convolution)

    def _first(self, x):
        """x (n, ..., c) as (n, c, ...), in the memory format."""
        x = channels_first(x)
        return x.contiguous(memory_format=self._memory_format) if x.ndim == 4 else x.contiguous()


class _Function(nn.Module):
    """A module without parameters."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


class _Sum(nn.ModuleList):
    """f_1(x) + f_2(x)."""

    def forward(self, x):
        return self[0](x) + self[1](x)


def channels_first(x: torch.Tensor) -> torch.Tensor:
    """(n, ..., c) -> (n, c, ...), a view."""
    return x.movedim(-1, 1) if x.ndim > 2 else x


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """(n, c, ...) -> (n, ..., c), a view."""
    return x.movedim(1, -1) if x.ndim > 2 else x


def _kind(name, axes):
    return getattr(nn, f"{name}{axes}d")


def _scale(factor):
    return nn.Identity() if factor == 1 else _Function(lambda x: factor * x)


def _activation(layer, inplace):
    if layer.function is layers.tanh:
        amplitude, slope = layer.arguments
        return nn.Sequential(_scale(slope), nn.Tanh(), _scale(amplitude))
    if layer.function is layers.softmax:
        return nn.Softmax(1)
    kinds = {layers.relu: nn.ReLU, layers.leaky_relu: nn.LeakyReLU, layers.elu: nn.ELU}
    return kinds[layer.function](*layer.arguments, inplace=inplace)
