"""Coulomb GANs (Unterthiner et al., ICLR 2018) without a framework, on NumPy or CuPy.

The study API: every equation of the paper as a function of plain arrays, and every gradient written by hand. Arrays
are float32 or float64, of NumPy or CuPy; results have the dtype and the library of the arguments.

Charges (minicoulomb.coulomb)
    plummer_kernel         k(a, b) = (|a - b|^2 + eps^2)^(-d/2) of all pairs
    potential, potentials  Phi(a) = mean k(a, y) - mean k(a, x): at any points; at the samples themselves
    field                  E(a) = grad Phi(a), the force on a generated sample
    energy                 F = 1/2 mean Phi(y) - 1/2 mean Phi(x)
    mmd2                   2 F, the squared maximum mean discrepancy

Convolution (minicoulomb.conv)
    correlate              the convolution of deep learning, in 1-D and 2-D
    correlate_input        its gradient in x: the transposed convolution
    correlate_kernel       its gradient in the kernel

Layers (minicoulomb.layers, which has their plain functions too)
    Linear, Conv, ConvTranspose, BatchNorm, Upsample, AveragePool
    ReLU, LeakyReLU, ELU, Tanh, ScaledTanh, Softmax
    Sequential, Residual, Reshape, Scale, Identity
    Layer                  the protocol: forward, input_gradient, param_gradient
    He                     random initial kernels

Networks (minicoulomb.network, minicoulomb.models)
    Network                layers with all parameters in one flat vector
    build                  the paper's generator and discriminator for a SampleSpace
    SampleSpace            shape and scale of the samples

Algorithm 1 (minicoulomb.gan, minicoulomb.schedules, minicoulomb.optim)
    gradients              the gradients of L_G and L_D, a Gradients, at a Batch of latent and real vectors
    step                   one step of training; changes a State and returns its Metrics
    initial_state          the State before the first step
    rates_at               the Rates of a step: eps, learning rates, decays of the averages
    generate               samples of a trained generator
    adam, adam_rates       one step of Adam on a flat vector; its AdamRates, with the bias corrections

A trained model (minicoulomb.trained)
    load                   the TrainedModel of a run directory or checkpoint
    TrainedModel           its networks and parameters; sample(n, seed) gives what the command gives

Settings and errors (minicoulomb.config, minicoulomb.errors)
    Config                 all settings of a run, in parts: Algorithm, Networks, ...
    UserError              a mistake in the input, with the value, the rule and the remedy
    Diverged               a loss or gradient that is not finite

The potential of two real points and a generated one, and the force on the generated one, which is its gradient:

>>> import numpy as np
>>> import minicoulomb as mc
>>> y, x = np.array([[0.0, 1.0], [0.0, -1.0]]), np.array([[2.0, 1.0]])
>>> mc.field(x, y, x, 2, 1.0).round(3)
array([[-0.105, -0.025]])
>>> right, left = (mc.potential(x + [h, 0], y, x, 2, 1.0) for h in (1e-6, -1e-6))
>>> ((right - left) / 2e-6).round(3)
array([-0.105])

A network has its parameters in one vector, and a pass backward gives the gradient in the same order:

>>> D = mc.Network([mc.Linear(2, 8), mc.ReLU(), mc.Linear(8, 1), mc.Reshape(())], input_shape=(2,))
>>> w = D.init(np.random.default_rng(0), np.float64)
>>> d, residuals = D.forward(w, y)
>>> D.param_gradient(residuals, np.ones_like(d)).shape == w.shape == (33,)
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from minicoulomb.config import Algorithm, Config, Networks
    from minicoulomb.conv import correlate, correlate_input, correlate_kernel
    from minicoulomb.coulomb import energy, field, mmd2, plummer_kernel, potential, potentials
    from minicoulomb.diagnostics import Diverged, Metrics
    from minicoulomb.errors import UserError
    from minicoulomb.gan import Batch, Gradients, State, generate, gradients, initial_state, step
    from minicoulomb.layers import (
        ELU,
        AveragePool,
        BatchNorm,
        Conv,
        ConvTranspose,
        He,
        Identity,
        Layer,
        LeakyReLU,
        Linear,
        ReLU,
        Reshape,
        Residual,
        Scale,
        ScaledTanh,
        Sequential,
        Softmax,
        Tanh,
        Upsample,
    )
    from minicoulomb.models import SampleSpace, build
    from minicoulomb.network import Network
    from minicoulomb.optim import AdamRates, adam, adam_rates
    from minicoulomb.schedules import Rates, rates_at
    from minicoulomb.trained import TrainedModel, load

__all__ = [
    "ELU", "AdamRates", "Algorithm", "AveragePool", "Batch", "BatchNorm", "Config", "Conv", "ConvTranspose",
    "Diverged", "Gradients", "He", "Identity", "Layer", "LeakyReLU", "Linear", "Metrics", "Network", "Networks",
    "Rates", "ReLU", "Reshape", "Residual", "SampleSpace", "Scale", "ScaledTanh", "Sequential", "Softmax", "State",
    "Tanh", "TrainedModel", "Upsample", "UserError", "adam", "adam_rates", "build", "correlate", "correlate_input",
    "correlate_kernel", "energy", "field", "generate", "gradients", "initial_state", "load", "mmd2", "plummer_kernel",
    "potential", "potentials", "rates_at", "step",
]  # fmt: skip

# The rooms that define these names. A room is imported when a name is first used, not here: the command sets BLAS's
# number of threads before NumPy is imported, and Python runs this file first.
_ROOMS = tuple("errors config conv coulomb optim schedules layers network models diagnostics gan trained".split())


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name in __all__:
        for room in map(__getattr__, _ROOMS):
            value = getattr(room, name, None)
            if getattr(value, "__module__", "").startswith(__name__):  # not dataclasses.field
                globals()[name] = value
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
