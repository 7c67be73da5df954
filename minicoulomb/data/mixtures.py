"""Mixtures of Gaussians in the plane, drawn afresh for every batch: the paper's grid of 25 and the ring of 8.

y = mode + sigma N(0, I),   the mode uniform among (n_modes, 2)
"""

import numpy as np

from minicoulomb.data.dataset import Dataset


class Mixture(Dataset):
    """Equal, round Gaussians: `modes` (n_modes, 2) and the standard deviation `sigma` of each."""

    def __init__(self, name: str, modes: np.ndarray, sigma: float, bound: float):
        self.name, self.modes, self.sigma = name, modes, sigma
        self.shape, self.bound = (2,), bound
        # Over both coordinates: the variance between the modes and the variance within.
        self.scale = float(np.sqrt(modes.var(axis=0).mean() + sigma**2))

    def in_space(self, space):
        moved = super().in_space(space)
        moved.modes = self.modes + self.location - space.location
        return moved

    def draw(self, rng, n, held_out=False, part=slice(None)):
        """n fresh points (n, 2), float64; no point is drawn twice, so held-out points are no different."""
        modes = self.modes[rng.integers(0, len(self.modes), n)]
        return (modes + self.sigma * rng.standard_normal((n, 2)))[part]


def grid() -> Mixture:
    """25 Gaussians of variance 1, centred on a 5x5 grid over [-21, 21]^2 (the paper's)."""
    axis = np.linspace(-21, 21, 5)
    return Mixture("grid", np.array([(a, b) for a in axis for b in axis]), 1.0, bound=30.0)


def ring() -> Mixture:
    """8 Gaussians of standard deviation 0.2 on a circle of radius 2."""
    angles = 2 * np.pi * np.arange(8) / 8
    return Mixture("ring", 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.2, bound=4.0)
