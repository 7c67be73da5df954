"""Every gradient against finite differences, and against autograd, JAX and PyTorch; imports none of these by itself."""

from minicoulomb.verify.gradcheck import check, check_layer
from minicoulomb.verify.oracles import open_oracle, to_torch

__all__ = ["check", "check_layer", "open_oracle", "to_torch"]
