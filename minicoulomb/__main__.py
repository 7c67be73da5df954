"""`python -m minicoulomb` and the command `minicoulomb`: prepare the process for arrays, then call the command line.

BLAS reads the number of its threads when NumPy is first imported. It gets one: small products gain nothing from more,
and on a busy machine they wait for them; large products are split over minicoulomb's own threads (arrays/threads.py).

Glibc returns freed memory to the system at once, so that every step faults the same pages in again. If it keeps the
memory, a step of small networks takes a sixth less time, and one of large networks a tenth.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports ends the process without a traceback

for number, name in enumerate(("stdin", "stdout", "stderr")):
    if getattr(sys, name) is None:  # closed, as by >&-: no file may get its number, and writing must fail
        os.dup2(os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY), number)
        setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(variable, "1")

os.environ.pop("MPLBACKEND", None)  # figures become files here, and a notebook's backend stops matplotlib's import

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of malloc.h
with suppress(OSError, AttributeError, TypeError):  # other systems have no mallopt
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, size in ((M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26), (M_MMAP_MAX, 0)):
        mallopt(parameter, size)

from minicoulomb.cli.main import main  # noqa: E402

if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if __name__ == "__main__":
    main()
