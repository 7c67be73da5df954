"""Times mean something only if both sides compute the same numbers.

error = |ours - theirs| / |theirs|        norms over all numbers
"""

from typing import NamedTuple

import numpy as np

from minicoulomb.arrays.backend import Backend
from minicoulomb.errors import UserError

# In float64 only rounding is left.
FLOAT64 = 1e-10


class Bounds(NamedTuple):
    """The largest errors that the rounding of float32 explains."""

    layer: float
    losses: float
    gradients: float  # of a network
    potentials: float


# A ReLU whose input is nearly 0 may fall on either side of its kink, which moves the gradients of a whole network by
# thousandths; PyTorch's in float32 and in float64 differ as much. Both of PyTorch's forms of r^2 cancel, and leave an
# error of 1e-7 (|a|^2 + |b|^2) at any distance.
FLOAT32 = Bounds(1e-4, 1e-4, 2e-2, 5e-3)
# TF32 rounds factors at 2^-11. The relative errors are 4e-4 for a sum of products, 2e-3 through Winograd's transforms,
# up to 1e-2 for the losses, 1e-2 for PyTorch's potentials, and a tenth for a network's gradients, since more ReLUs
# switch. (Measured on the host with factors rounded in this way.)
TF32 = Bounds(2e-2, 5e-2, 0.4, 0.1)


def bounds(backend: Backend) -> Bounds:
    """The bounds of float32 on the backend's device."""
    return TF32 if backend.tf32 else FLOAT32


class Disagreement(UserError):
    """The two sides of a case compute different numbers."""


def agree(what: str, ours, theirs, bound: float) -> None:
    """Raise Disagreement unless both are finite arrays of one shape with a relative difference of at most `bound`."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        raise Disagreement(f"{what}: ours has shape {ours.shape}, PyTorch's {theirs.shape}; not measured")
    error = np.linalg.norm((ours - theirs).astype(np.float64)) / (np.linalg.norm(theirs.astype(np.float64)) or 1.0)
    if not error <= bound:
        raise Disagreement(f"{what}: differs from PyTorch's by {error:.1e}, at most {bound:.0e}; not measured")
