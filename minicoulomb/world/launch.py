"""Notices that an MPI launcher has started this process as one of several, and joins them.

    mpirun -n 4 minicoulomb train ...

Launchers tell a process its number, its rank, by environment variables: PMI_* is MPICH's, Intel MPI's and Slurm's,
OMPI_* Open MPI's, PMIX_RANK that of PMIx. MPI is imported only where one of them, or --mpi, says that there are several
processes.
"""

import os
from collections.abc import Mapping
from typing import Any

from minicoulomb.errors import UserError

# The variables of a process's rank, and of the number of processes; PMIx has none for that, but Slurm, which starts it.
VARIABLES = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
)
INSTALL = "pip install 'minicoulomb[mpi]'; where no MPI is installed, also mpich"

_world: Any = None

# The file descriptor for the last words of this process, where standard error is muted.
error_output = 2


def current() -> Any:
    """The World that this process has joined, or None."""
    return _world


def started(environ: Mapping[str, str] = os.environ) -> tuple[int, int | None] | None:
    """(rank, number of processes) as the launcher's variables have them; None without a launcher."""
    for rank, size in VARIABLES:
        if environ.get(rank, "").isdecimal():
            return int(environ[rank]), int(environ[size]) if environ.get(size, "").isdecimal() else None
    return None


def mute() -> None:
    """Send what this process prints nowhere, because process 0 alone prints."""
    global error_output
    if error_output == 2:
        error_output = os.dup(2)
        for output in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), output)


def join(insist: bool = False) -> None:
    """Join the launcher's processes, if it has started several; all but process 0 then follow orders until the end.

    insist   join although no variable is set: UserError if the launcher has started one process only
    """
    global _world
    rank, size = started() or (0, 1)
    if (_world and not rank) or (size == 1 and not insist):
        return
    if _world:
        raise SystemExit  # a follower's orders have ended
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py finds no MPI library
        if rank:
            raise SystemExit(1) from None  # process 0 says it
        raise UserError(f"several processes: need mpi4py and an MPI library ({error}); {INSTALL}") from None
    comm = MPI.COMM_WORLD
    if comm.size == 1 and (insist or (size or 1) > 1):
        if rank:
            raise SystemExit(1)
        what = f"the launcher started {size} processes" if size and size > 1 else "--mpi"
        remedy = "start with the mpirun, or srun --mpi, of the MPI library that mpi4py finds"
        raise UserError(f"{what}: mpi4py finds a single process, so each would train by itself; {remedy}")
    if comm.size > 1:
        from minicoulomb.world.processes import World

        _world = World(comm)
        _world.begin()
