"""`python -m minicoulomb` and the command `minicoulomb`.

BLAS reads how many threads it may use when NumPy is first imported. It gets one: small products gain nothing
from more and wait for them on a busy machine, and large ones are split over our own threads (threads.py).
"""

import os

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(variable, "1")

from minicoulomb.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
