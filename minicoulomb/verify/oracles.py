"""Other libraries as witnesses: autograd, JAX and PyTorch compute the same functions by their own operations.

    oracle = open_oracle("jax")
    dx, dtheta = oracle.gradients(network, theta, x, dy)         to be compared with network.gradients

See oracle.py for what each of them offers. None is needed for anything but comparison.
"""

from importlib import import_module

from minicoulomb.errors import UserError
from minicoulomb.verify.oracle import Oracle

# Each library's file and class here; autograd is the one that installs in a second.
ORACLES = {
    "autograd": ("autograd_oracle", "AutogradOracle"),
    "jax": ("jax_oracle", "JaxOracle"),
    "torch": ("torch_oracle", "TorchOracle"),
}


def open_oracle(name: str) -> Oracle:
    """The oracle that computes with one of ORACLES; UserError where that library is not installed."""
    if name not in ORACLES:
        raise UserError(f"oracle {name!r}: must be one of {', '.join(ORACLES)}")
    module, oracle = ORACLES[name]
    try:
        return getattr(import_module(f"minicoulomb.verify.{module}"), oracle)()
    except ImportError as error:
        raise UserError(
            f"oracle {name}: {name} does not import ({error}); pip install {name}, or leave it out"
        ) from None


__all__ = ["ORACLES", "Oracle", "open_oracle"]
