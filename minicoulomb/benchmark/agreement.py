"""Both sides must compute the same before their times mean anything.

error = |ours - theirs| / |theirs|        norms over all numbers
"""

import numpy as np

from minicoulomb.errors import UserError

# In float64 only rounding is left. In float32 a ReLU whose input is nearly 0 may fall on either side of its kink, which
# moves a whole network's gradients by some thousandths, PyTorch's own against float64 as well.
FLOAT64 = 1e-10
FLOAT32 = 1e-4
FLOAT32_NETWORK = 2e-2


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
