"""minicoulomb: Coulomb GANs without a framework, on NumPy or CuPy."""

__version__ = "0.1.0"
