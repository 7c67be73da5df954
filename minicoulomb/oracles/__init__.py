"""Other libraries as witnesses: PyTorch and JAX compute the same functions by their own operations.

    oracle = open_oracle("jax")
    dx, dtheta = oracle.gradients(network, theta, x, dy)         to be compared with network.gradients

See oracle.py for what each of them offers. Neither is needed for anything but comparison.
"""

from minicoulomb.errors import UserError
from minicoulomb.oracles.oracle import Oracle


def open_oracle(name: str) -> Oracle:
    """The oracle that computes with "torch" or "jax"; UserError where that library is not installed."""
    try:
        if name == "torch":
            from minicoulomb.oracles.torch_oracle import TorchOracle

            return TorchOracle()
        if name == "jax":
            from minicoulomb.oracles.jax_oracle import JaxOracle

            return JaxOracle()
    except ImportError as error:
        raise UserError(
            f"oracle {name}: {name} does not import ({error}); pip install {name}, or leave it out"
        ) from None
    raise UserError(f"oracle {name!r}: must be torch or jax")


__all__ = ["Oracle", "open_oracle"]
