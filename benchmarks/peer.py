"""A network of this package as PyTorch's own modules, on images (n, c, h, w), with the same parameters.

    peer = Peer(network)
    peer.load(theta)                         our flat vector into the modules' parameters
    y = peer.module(peer.to_torch(x))
    peer.flat(torch.autograd.grad(...))      gradients of the modules' parameters as one flat vector of ours

Nothing is rearranged between layers: where an image is flattened, or made from a flat vector, the linear layer next
to it has its kernel's rows or columns in PyTorch's order.

PyTorch's convolutions pad both ends alike: `padding=2` of a 5x5 kernel with stride 2 amounts to (2, 1), where
TensorFlow's 'same' is (1, 2). Zeros added in a pass of their own would cost PyTorch up to a third of the layer. But
(2, 1) is (1, 2) of the image turned by 180 degrees, so a network with such layers has a peer that works on turned
images, with turned kernels: Conv2d(padding=2) and ConvTranspose2d(padding=2, output_padding=1), as they would have
been written in PyTorch.

Images are (n, c, h, w) to PyTorch wherever their numbers lie. With `channels_last` those of a pixel lie side by side,
kernels' too, which is faster on some GPUs and for some shapes.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from minicoulomb.conv.correlation import normalize_geometry
from minicoulomb.layers import (
    Activation,
    AveragePool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Identity,
    Layer,
    Linear,
    Reshape,
    Residual,
    Scale,
    Sequential,
    Upsample,
    elu,
    leaky_relu,
    relu,
    tanh,
)
from minicoulomb.network import Network

# Layers whose output no gradient needs, so that an activation may overwrite it.
OVERWRITABLE = (Linear, Conv, ConvTranspose, BatchNorm)


class Slot(NamedTuple):
    """A parameter: our array, seen as one of `shape`, flipped along `flips`, with its axes in the order `axes`."""

    parameter: nn.Parameter
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    flips: tuple[int, ...]


class Peer:
    """`module` computes what `network` does; its parameters start as PyTorch's own until `load` is called.

    turned          images are turned by 180 degrees: by default where that saves padding. G and D need the same.
    device          where parameters and what `to_torch` makes are
    channels_last   how images and kernels lie in memory
    """

    def __init__(
        self,
        network: Network,
        dtype: torch.dtype = torch.float32,
        turned: bool | None = None,
        device: torch.device | str = "cpu",
        channels_last: bool = False,
    ):
        self.turned = better_turned(network) if turned is None else turned
        self.device = device
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.slots: list[Slot] = []
        with torch.device(device):
            module = self._chain(network.root.children, network.input_shape)
        self.module = module.to(dtype=dtype, memory_format=self.memory_format)
        self.parameters = [slot.parameter for slot in self.slots]

    def load(self, theta: np.ndarray) -> None:
        """Copy our flat vector (size,) into the parameters."""
        start = 0
        for parameter, shape, axes, flips in self.slots:
            stop = start + parameter.numel()
            array = np.ascontiguousarray(np.flip(theta[start:stop].reshape(shape), flips).transpose(axes))
            parameter.data.copy_(torch.from_numpy(array).reshape(parameter.shape))
            start = stop

    def flat(self, tensors) -> np.ndarray:
        """Tensors shaped as the parameters, as one flat vector of ours, (size,)."""
        parts = []
        for tensor, (_, shape, axes, flips) in zip(tensors, self.slots, strict=True):
            array = tensor.detach().cpu().numpy().reshape([shape[axis] for axis in axes])
            parts.append(np.flip(array.transpose(np.argsort(axes)), flips).ravel())
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def to_torch(self, x: np.ndarray) -> torch.Tensor:
        """Images (n, h, w, c) as (n, c, h, w), turned where the peer's are; other arrays as they are. A copy."""
        if x.ndim == 4:
            x = np.moveaxis(np.flip(x, (1, 2)) if self.turned else x, -1, 1)
        tensor = torch.from_numpy(x.copy("C")).to(self.device)
        return tensor.contiguous(memory_format=self.memory_format) if x.ndim == 4 else tensor

    def to_ours(self, x: torch.Tensor) -> np.ndarray:
        """The inverse of to_torch."""
        array = x.detach().cpu().numpy()
        if array.ndim == 4:
            array = np.moveaxis(array, 1, -1)
            array = np.flip(array, (1, 2)) if self.turned else array
        return array

    def _chain(self, layers, shape):
        """The modules of layers one after the other, for an input of `shape`."""
        modules = []
        image = None  # the one whose numbers, channels first, a flat vector holds
        for i, layer in enumerate(layers):
            match layer:
                case Linear():
                    made = _image_made_of(layers[i + 1 :])
                    module, image = self._linear(layer, image or (layer.c_in,), made or (layer.c_out,)), made
                case Conv() | ConvTranspose():
                    module = self._convolution(layer, shape)
                case BatchNorm():
                    module = (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(layer.channels, layer.epsilon)
                    self._add(module.weight, (layer.channels,), (0,))
                    self._add(module.bias, (layer.channels,), (0,))
                    if layer.activation:
                        module = nn.Sequential(module, _activation(layer.activation, inplace=True))
                case Activation():
                    module = _activation(layer, inplace=i > 0 and isinstance(layers[i - 1], OVERWRITABLE))
                case Scale():
                    module = Multiply(layer.factor)
                case Residual():
                    branch, shortcut = (self._chain([child], shape) for child in layer.children)
                    module = Sum(branch, layer.scale, shortcut)
                case Sequential():
                    module = self._chain(layer.children, shape)
                case Identity():
                    module = nn.Identity()
                case Upsample():
                    module = nn.Upsample(scale_factor=2)
                case AveragePool():
                    module = nn.AvgPool2d(2)
                case Reshape():
                    module = _reshape(shape, layer.shape, image)
                    image = shape if len(shape) == 3 else None
                case _:
                    raise _unknown(layer)
            modules.append(module)
            shape = layer.output_shape(shape)
        return nn.Sequential(*modules)

    def _add(self, parameter, shape, axes, flips=()):
        self.slots.append(Slot(parameter, shape, axes, flips))

    def _linear(self, layer, image_in, image_out):
        """The kernel (h, w, c, h', w', c') becomes (c', h', w', c, h, w); a flat end has one axis instead of three."""
        module = nn.Linear(layer.c_in, layer.c_out)
        behind = lambda axes: tuple(len(image_in) + axis for axis in axes)
        rows, columns = _channels_first(image_in), _channels_first(image_out)
        flips = self._flips(image_in) + behind(self._flips(image_out))
        self._add(module.weight, image_in + image_out, behind(columns) + rows, flips)
        self._add(module.bias, image_out, columns, self._flips(image_out))
        return module

    def _flips(self, shape):
        """The axes to flip in an array that begins with height and width, or is flat."""
        return (0, 1) if self.turned and len(shape) > 1 else ()

    def _convolution(self, layer, shape):
        """A Conv2d or ConvTranspose2d, with zeros or a cut of its own where PyTorch's padding cannot say it."""
        transposed = isinstance(layer, ConvTranspose)
        kernel = layer.parameters()["kernel"].shape
        if len(kernel) != 4:
            raise _unknown(layer)
        stride, ends = normalize_geometry(2, layer.stride, layer.padding)
        large, small = shape[:2], layer.output_shape(shape)[:2]
        if transposed:
            large, small = small, large
        # Behind, only what the last window reaches counts.
        in_front = tuple(before for before, _ in ends)
        behind = tuple(
            s * (u - 1) + k - h - before for s, u, k, h, before in zip(stride, small, kernel, large, in_front)
        )
        if self.turned:
            in_front, behind = behind, in_front
        excess = tuple(first - last for first, last in zip(in_front, behind))
        native = min(in_front) >= 0 and all(0 <= e < s for e, s in zip(excess, stride))
        zeros = (in_front[1], behind[1], in_front[0], behind[0])

        kind = nn.ConvTranspose2d if transposed else nn.Conv2d
        convolution = kind(layer.c_in, layer.c_out, kernel[:2], stride, in_front if native else 0, bias=layer.bias)
        # (c_out, c_in, kh, kw), and (c_in, c_out, kh, kw) of a transposed one
        self._add(convolution.weight, kernel, (3, 2, 0, 1), self._flips(kernel))
        if layer.bias:
            self._add(convolution.bias, (layer.c_out,), (0,))
        if native and transposed:
            convolution.output_padding = excess
        if native:
            return convolution
        return (
            nn.Sequential(convolution, Pad(*(-n for n in zeros)))
            if transposed
            else nn.Sequential(Pad(*zeros), convolution)
        )


class Pad(nn.Module):
    """Zeros at (left, right, top, bottom); a negative number is how much is cut off."""

    def __init__(self, *ends):
        super().__init__()
        self.ends = ends

    def forward(self, x):
        return F.pad(x, self.ends)


class Multiply(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


class Sum(nn.Module):
    """g(x) + scale f(x)."""

    def __init__(self, branch, scale, shortcut):
        super().__init__()
        self.branch, self.scale, self.shortcut = branch, scale, shortcut

    def forward(self, x):
        return torch.add(self.shortcut(x), self.branch(x), alpha=self.scale)


def better_turned(*networks: Network) -> bool:
    """Whether a convolution of these pads more behind than in front, which PyTorch can only say of turned images."""
    return any(_pads_behind(layer) for network in networks for layer in network.root.children)


def _pads_behind(layer: Layer) -> bool:
    if not isinstance(layer, Conv | ConvTranspose):
        return any(_pads_behind(child) for child in layer.children)
    axes = len(layer.parameters()["kernel"].shape) - 2
    return any(last > first for first, last in normalize_geometry(axes, layer.stride, layer.padding)[1])


def _image_made_of(layers):
    """The image (h, w, c) that the layers behind a linear one make of its output, or None."""
    for layer in layers:
        if isinstance(layer, Reshape):
            return layer.shape if len(layer.shape) == 3 else None
        if not isinstance(layer, Activation | Scale):
            return None
    return None


def _channels_first(shape):
    return (2, 0, 1) if len(shape) == 3 else (0,)


def _activation(layer, inplace):
    if layer.function is relu:
        return nn.ReLU(inplace)
    if layer.function is leaky_relu:
        return nn.LeakyReLU(*layer.arguments, inplace)
    if layer.function is elu:
        return nn.ELU(inplace=inplace)
    if layer.function is tanh:
        amplitude, slope = layer.arguments
        before, after = ([Multiply(factor)] if factor != 1 else [] for factor in (slope, amplitude))
        return nn.Sequential(*before, nn.Tanh(), *after)
    raise _unknown(layer)


def _reshape(old, new, image):
    """Flat to image, or image to flat, in PyTorch's order."""
    if len(new) == 3 and len(old) == 1 and (image == new or new[0] * new[1] == 1):
        h, w, c = new
        return nn.Unflatten(1, (c, h, w))
    if len(new) <= 1:
        return nn.Flatten(1) if new else nn.Flatten(0)
    raise _unknown(Reshape(new))


def _unknown(layer):
    return NotImplementedError(f"{layer}: has no module in benchmark/peer.py, or not where it stands; add it there")
