"""Layers and, for each, its functions on plain arrays: forward, input gradient, parameter gradient.

layer.py has the protocol. `minicoulomb.conv` has convolution's functions: correlate and its two adjoints.
"""

# ruff: noqa: I001
# fmt: off
from minicoulomb.layers.activations import ELU, Activation, LeakyReLU, ReLU, ScaledTanh, Softmax, Tanh
from minicoulomb.layers.activations import elu, elu_gradient, leaky_relu, leaky_relu_gradient, relu, relu_gradient
from minicoulomb.layers.activations import softmax, softmax_gradient, tanh, tanh_gradient
from minicoulomb.layers.batch_norm import BatchNorm, batch_norm, batch_norm_input_gradient, batch_norm_param_gradient
from minicoulomb.layers.composite import Identity, Reshape, Residual, Scale, Sequential
from minicoulomb.layers.convolution import Conv, ConvTranspose, bias_gradient
from minicoulomb.layers.layer import He, Layer, Parameter
from minicoulomb.layers.linear import Linear, linear, linear_input_gradient, linear_param_gradient
from minicoulomb.layers.resampling import AveragePool, Upsample, block_sum, repeat

__all__ = [
    "ELU", "Activation", "AveragePool", "BatchNorm", "Conv", "ConvTranspose", "He", "Identity", "Layer", "LeakyReLU",
    "Linear", "Parameter", "ReLU", "Reshape", "Residual", "Scale", "ScaledTanh", "Sequential", "Softmax", "Tanh",
    "Upsample", "batch_norm", "batch_norm_input_gradient", "batch_norm_param_gradient", "bias_gradient", "block_sum",
    "elu", "elu_gradient", "leaky_relu", "leaky_relu_gradient", "linear", "linear_input_gradient",
    "linear_param_gradient", "relu", "relu_gradient", "repeat", "softmax", "softmax_gradient", "tanh", "tanh_gradient",
]
