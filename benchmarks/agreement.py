"""Both sides must compute the same before their times mean anything.

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


# A ReLU whose input is nearly 0 may fall on either side of its kink, which moves a whole network's gradients by some
# thousandths, PyTorch's own against float64 as well. Both of PyTorch's forms of r^2 cancel: 1e-7 (|a|^2 + |b|^2) is
# left of each, at any distance.
FLOAT32 = Bounds(1e-4, 1e-4, 2e-2, 5e-3)
# TF32 rounds factors at 2^-11. That is 4e-4 of a sum of products, 2e-3 through Winograd's transforms, up to 1e-2 of the
# losses and, the share of turned ReLUs growing with it, a tenth of a network's gradients; of PyTorch's potentials it is
# 1e-2. (Measured on the host with factors so rounded.)
TF32 = Bounds(2e-2, 5e-2, 0.4, 0.1)


def bounds(backend: Backend) -> Bounds:
    """What holds for both sides' float32 on the backend's device."""
    return TF32 if backend.tf32 else FLOAT32


class Disagreement(UserError):
    """The two sides of a case compute different numbers, so that comparing their times would mean nothing."""


def agree(what: str, ours, theirs, bound: float) -> None:
    """Raises Disagreement unless both, arrays of one shape, are finite and differ by at most `bound`, relatively."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        raise Disagreement(f"{what}: ours has shape {ours.shape}, PyTorch's {theirs.shape}; no times are taken")
    error = np.linalg.norm((ours - theirs).astype(np.float64)) / (np.linalg.norm(theirs.astype(np.float64)) or 1.0)
    if not error <= bound:
        raise Disagreement(f"{what}: differs from PyTorch's by {error:.1e}, at most {bound:.0e}; no times are taken")
