"""`python -m minicoulomb` and the command `minicoulomb`: sets the process up for arrays, then hands over to cli.py.

BLAS reads how many threads it may use when NumPy is first imported. It gets one: small products gain nothing
from more and wait for them on a busy machine, and large ones are split over our own threads (threads.py).

Glibc hands freed memory back to the system at once, and every step then faults the same pages in again. Told to
keep what it has, a step of the small networks takes a sixth less, one of the large a tenth.
"""

import ctypes
import os
from contextlib import suppress

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(variable, "1")

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of malloc.h
with suppress(OSError, AttributeError, TypeError):  # another system has no mallopt, and does without
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, size in ((M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26), (M_MMAP_MAX, 0)):
        mallopt(parameter, size)

from minicoulomb.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
