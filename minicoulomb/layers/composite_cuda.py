"""A sequence's forward pass on a GPU: a bias and the activation behind it are one CUDA kernel."""

from minicoulomb.arrays.backend import floats
from minicoulomb.arrays.matmul import matmul
from minicoulomb.layers import activations_cuda
from minicoulomb.layers.activations import Activation
from minicoulomb.layers.convolution import Conv, ConvTranspose
from minicoulomb.layers.linear import Linear


def forward(layers, params, x, statistics):
    """(y, residuals) of the layers one after the other, as Sequential has them."""
    residuals, is_active = [], False
    for i, layer in enumerate(layers):
        if is_active:  # the layer before has applied it
            residuals.append(x)
            is_active = False
            continue
        product = _product_of(layer)
        is_active = product is not None and i + 1 < len(layers) and _is_fusible(layers[i + 1])
        if is_active:
            kernel, bias = params[i]["kernel"], params[i]["bias"]
            y = product(x, kernel)
            residuals.append((x, kernel))
            x = activations_cuda.add_bias(layers[i + 1], y, bias)
        else:
            x, residual = layer.forward(params[i], x, None if statistics is None else statistics[i])
            residuals.append(residual)
    return x, residuals


def _product_of(layer):
    """The function (x, kernel) -> y without the bias; None for a layer without kernel or bias."""
    if type(layer) is Linear:
        return _linear_product
    if type(layer) in (Conv, ConvTranspose) and layer.bias:
        return layer._correlate
    return None


def _linear_product(x, kernel):
    floats(x, kernel)
    return matmul(x, kernel)


def _is_fusible(layer) -> bool:
    return type(layer) is Activation and bool(layer.code)
