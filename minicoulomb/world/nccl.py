"""Sums between the GPUs of several processes by NVIDIA's NCCL, in the current stream, so that a CUDA graph holds them.

CuPy binds NCCL where its library is installed (`pip install nvidia-nccl-cu12`). Elsewhere sums go through the host.
"""

from importlib import import_module
from typing import Any
from warnings import catch_warnings, simplefilter


class NCCL:
    """The sums and the rows of all processes' device arrays, each process with a GPU of its own."""

    def __init__(self, communicator: Any, nccl: Any, xp: Any, size: int):
        self._communicator, self._nccl, self._xp, self._size = communicator, nccl, xp, size

    @classmethod
    def of(cls, comm: Any, xp: Any) -> "NCCL | None":
        """All processes of an MPI communicator; None where one of them has no NCCL."""
        with catch_warnings():
            simplefilter("ignore")  # of a missing library; the caller says so
            nccl: Any = import_module(f"{xp.__name__}.cuda.nccl")
        if not all(comm.allgather(nccl.available)):
            return None
        identity = comm.bcast(nccl.get_unique_id() if comm.rank == 0 else None)
        return cls(nccl.NcclCommunicator(comm.size, identity, comm.rank), nccl, xp, comm.size)

    def add_up(self, array: Any) -> None:
        """array <- the sum of the processes' arrays, in one piece each."""
        at, sum_up = array.data.ptr, self._nccl.NCCL_SUM
        self._communicator.allReduce(at, at, array.size, self._type(array), sum_up, self._stream())

    def gather(self, row: Any) -> Any:
        """The rows (numbers,) of all processes: (size, numbers)."""
        rows = self._xp.empty((self._size, len(row)), row.dtype)
        self._communicator.allGather(row.data.ptr, rows.data.ptr, row.size, self._type(row), self._stream())
        return rows

    def _type(self, array):
        return self._nccl.NCCL_FLOAT64 if array.dtype == "float64" else self._nccl.NCCL_FLOAT32

    def _stream(self):
        return self._xp.cuda.get_current_stream().ptr
