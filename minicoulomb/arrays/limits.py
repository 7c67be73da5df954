"""What no machine can finish is refused before it begins: more memory than is free, or a time that nobody waits for.

check_memory(what, wanted, remedy)          `wanted` is a lower bound in bytes
check_time(what, operations, remedy)        `operations` is a lower bound
check_pairs(what, pairs, m, remedy)         the same for sums over so many pairs of points of m coordinates
"""

import os
from contextlib import suppress
from math import inf
from pathlib import Path

import numpy as np

from minicoulomb.arrays.threads import available_cores
from minicoulomb.errors import UserError

# Seconds in the longest computation that begins although nothing of it is saved before its end: a day.
LONGEST = 86400
# Operations in a second: more than a core or a GPU reaches.
CORE_RATE, GPU_RATE = 10**11, 10**15
# Larger numbers are not shown.
MOST = 10**18
# Where Linux keeps the memory's limit of a container.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def free_memory(xp=np) -> float:
    """Bytes that are free for arrays of `xp`; infinity where the system does not say."""
    if xp is not np:
        return xp.cuda.Device().mem_info[0]
    known = [inf]
    with suppress(OSError, ValueError, AttributeError):  # the whole memory, where no other file is
        known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, ValueError):
        rows = map(str.split, Path("/proc/meminfo").read_text().splitlines())
        known.append(1024 * sum(int(row[1]) for row in rows if row[0] in ("MemAvailable:", "SwapFree:")))
    for path in LIMITS:
        with suppress(OSError, ValueError):  # without a limit it says "max"
            known.append(int(Path(path).read_text()))
    return min(known)


def check_memory(what: str, wanted: int, remedy: str, xp=np) -> None:
    """UserError if `what` needs more bytes than are free."""
    if wanted > (free := free_memory(xp)):
        needs, has = (f"{min(size, MOST) / 10**9:,.1f} GB" for size in (wanted, free))
        place = "this machine" if xp is np else "the GPU"
        raise UserError(f"{what}: would need at least {needs}, {place} has {has} free; {remedy}")


def check_time(what: str, operations: int, remedy: str, xp=np) -> None:
    """UserError if so many floating-point operations take longer than anybody waits."""
    rate = CORE_RATE * available_cores() if xp is np else GPU_RATE
    if (seconds := min(operations // rate, MOST)) > LONGEST:
        raise UserError(f"{what}: would take at least {seconds // 3600:,} hours; {remedy}")


def check_pairs(what: str, pairs: int, m: int, remedy: str, xp=np) -> None:
    """UserError if the kernel of so many pairs of points of m coordinates takes longer than anybody waits."""
    check_time(what, pairs * (100 + 3 * m), remedy, xp)
