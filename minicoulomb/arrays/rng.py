"""Random numbers as a pure function of (seed, stream, step).

    draws = rng_for(seed, "latent", step)          a numpy.random.Generator of its own

Every use of chance has its own stream and every step its own generator, so a resumed run needs no generator
state, NumPy and CuPy runs see the same draws (they are made on the host and copied over), and one use never
shifts the numbers of another.
"""

import numpy as np

# A stream's number is part of every run's draws: append, never renumber.
USES = {
    name: number for number, name in enumerate(("init", "real", "latent", "noise", "sample", "evaluate", "picture"))
}


def rng_for(seed: int, use: str, step: int = 0) -> np.random.Generator:
    """The generator of one stream at one step; equal arguments give equal draws on every machine."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, USES[use], step))))
