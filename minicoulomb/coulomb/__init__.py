"""The Plummer kernel, and the potential, field and energy of charges: formulas.py has the equations.

pairs.py computes the same sums for many points in tiles, and pairs_cuda.py on a GPU.
"""

from minicoulomb.coulomb.formulas import (  # noqa: F401
    energy,
    field,
    mean_kernel,
    mean_self_kernel,
    mmd2,
    mmd2_of,
    plummer_kernel,
    potential,
    potentials,
)
