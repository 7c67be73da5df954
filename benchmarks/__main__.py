"""`python -m benchmarks step`, from a checkout."""

import minicoulomb.__main__  # noqa: F401  isort: skip  (one thread for BLAS, and malloc keeps its memory)
from benchmarks.command import benchmark

benchmark(prog_name="python -m benchmarks")
