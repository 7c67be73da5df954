"""cupy.cuda.nccl on raw addresses, between processes of MPI: who starts them sets `communicator` and `available`.

As in NCCL, a call is work of its stream, which a graph repeats, and all ranks must make the same calls in one order.
"""

from typing import Any

import numpy as np

from strict_cupy import memory
from strict_cupy.streams import run, stream_at

NCCL_SUM = 0
NCCL_FLOAT32, NCCL_FLOAT64 = 7, 8
available = False
communicator: Any = None  # of mpi4py
_DTYPES = {NCCL_FLOAT32: np.float32, NCCL_FLOAT64: np.float64}


class NcclError(RuntimeError):
    """A result other than success."""


def get_unique_id() -> bytes:
    return b"unique".ljust(128, b"\0")


class NcclCommunicator:
    """One of `ndev` ranks, with a device of its own."""

    def __init__(self, ndev: int, commId: bytes, rank: int, config=None):
        if (ndev, rank, commId) != (communicator.size, communicator.rank, get_unique_id()):
            raise NcclError("NCCL_ERROR_INVALID_ARGUMENT: invalid argument")

    def allReduce(self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int) -> None:
        if op != NCCL_SUM:
            raise NcclError(f"operation {op}: the stand-in has sums alone")

        def sum_up(total, part):
            communicator.Allreduce(part.copy(), total)  # NCCL sums in place, too

        _work("ncclAllReduce", sum_up, (recvbuf, count), (sendbuf, count), datatype, stream)

    def allGather(self, sendbuf: int, recvbuf: int, count: int, datatype: int, stream: int) -> None:
        def gather(whole, part):
            communicator.Allgather(np.ascontiguousarray(part), whole)

        _work("ncclAllGather", gather, (recvbuf, count * communicator.size), (sendbuf, count), datatype, stream)


def _work(name, function, target, source, datatype, stream):
    dtype = _DTYPES[datatype]
    arrays = [memory.at(pointer, (n,), (np.dtype(dtype).itemsize,), dtype) for pointer, n in (target, source)]
    memory.check_target(arrays[0])
    memory.check_apart(*arrays, "the part")
    run(name, function, *arrays, stream=stream_at(stream))
