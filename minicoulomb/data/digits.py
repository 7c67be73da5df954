"""The 1,797 handwritten digits of the UCI optical digits set, 8x8 greys, shipped with the package.

Attribution and licence (CC BY 4.0) are in DIGITS-LICENSE.md beside this file.
"""

from pathlib import Path

import numpy as np

from minicoulomb.data.dataset import ArrayDataset


def digits() -> ArrayDataset:
    """Images (1797, 8, 8, 1) float32 in [-1, 1], from ink 0..16, and labels (1797,) 0..9."""
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    return ArrayDataset("digits", (images[..., None] / 8 - 1).astype(np.float32), labels=labels)
