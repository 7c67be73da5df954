"""Layers and, for each, its functions on plain arrays: forward, input gradient, parameter gradient.

See layer.py for the protocol. `conv.py` has convolution's own functions: correlate and its two adjoints.
"""

from minicoulomb.layers.activations import (
    ELU,
    Activation,
    LeakyReLU,
    ReLU,
    ScaledTanh,
    Softmax,
    Tanh,
    elu,
    elu_gradient,
    leaky_relu,
    leaky_relu_gradient,
    relu,
    relu_gradient,
    softmax,
    softmax_gradient,
    tanh,
    tanh_gradient,
)
from minicoulomb.layers.batch_norm import (
    BatchNorm,
    LayerNorm,
    batch_norm,
    batch_norm_input_gradient,
    batch_norm_param_gradient,
    layer_norm,
    layer_norm_input_gradient,
    layer_norm_param_gradient,
)
from minicoulomb.layers.composite import Identity, Reshape, Residual, Scale, Sequential
from minicoulomb.layers.convolution import Conv, ConvTranspose, bias_gradient
from minicoulomb.layers.layer import Glorot, He, Layer, Parameter
from minicoulomb.layers.linear import Linear, linear, linear_input_gradient, linear_param_gradient
from minicoulomb.layers.resampling import AveragePool, Upsample, block_sum, repeat

__all__ = [
    "ELU",
    "Activation",
    "AveragePool",
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Glorot",
    "He",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Parameter",
    "ReLU",
    "Reshape",
    "Residual",
    "Scale",
    "ScaledTanh",
    "Sequential",
    "Softmax",
    "Tanh",
    "Upsample",
    "batch_norm",
    "batch_norm_input_gradient",
    "batch_norm_param_gradient",
    "bias_gradient",
    "block_sum",
    "elu",
    "elu_gradient",
    "layer_norm",
    "layer_norm_input_gradient",
    "layer_norm_param_gradient",
    "leaky_relu",
    "leaky_relu_gradient",
    "linear",
    "linear_input_gradient",
    "linear_param_gradient",
    "relu",
    "relu_gradient",
    "repeat",
    "softmax",
    "softmax_gradient",
    "tanh",
    "tanh_gradient",
]
