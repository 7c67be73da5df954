"""The Plummer kernel, and the potential, field and energy of charges; formulas.py has the equations."""

from minicoulomb.coulomb.formulas import (
    energy,
    field,
    mean_kernel,
    mean_self_kernel,
    plummer_kernel,
    potential,
    potentials,
)

__all__ = ["energy", "field", "mean_kernel", "mean_self_kernel", "plummer_kernel", "potential", "potentials"]
