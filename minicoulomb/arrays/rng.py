"""Random numbers as a pure function of (seed, use, step).

    rng = rng_for(seed, "latent", step)          a numpy.random.Generator

Every use of random numbers has a generator at every step. So a resumed run needs no generator state, runs on NumPy and
CuPy have the same draws (made on the host), and one use never shifts the numbers of another.
"""

import numpy as np

from minicoulomb.errors import UserError

# The number of a use is part of every run's draws: append, never renumber.
USES = {
    name: number
    for number, name in enumerate(("init", "real", "latent", "noise", "sample", "evaluate", "picture", "data"))
}


def rng_for(seed: int, use: str, step: int = 0) -> np.random.Generator:
    """The generator of one use at one step; equal arguments give equal draws on every machine."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise UserError(f"seed {seed!r}: must be an int >= 0; use 0")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, USES[use], step))))
