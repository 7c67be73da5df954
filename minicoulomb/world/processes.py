"""The processes of an MPI launcher: sums over all of them, and orders from process 0, the leader, to its followers.

    world.mean(array)             the mean of the processes' arrays, the same everywhere
    world.gather(array)           the rows of all processes' arrays, in the order of the ranks
    world.order(function, ...)    the followers call function(...)
    world.each(function, items)   function(item) for each item, in their order, computed in turns

Only the leader decides, so the followers ignore Ctrl-C and SIGTERM, which a launcher sends to all. A step, which all
processes take together, cannot go on without one of them. So an error of a follower, or of the leader within a step,
ends all processes, after its message. Any other error of the leader is as in a single process.
"""

import atexit
import os
import pickle
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import numpy as np

from minicoulomb.arrays.backend import Backend, array_module, on_gpu, open_backend, to_host
from minicoulomb.arrays.sharing import share_by
from minicoulomb.arrays.threads import available_cores, set_threads
from minicoulomb.config import Config
from minicoulomb.errors import UserError, printable
from minicoulomb.world.launch import current
from minicoulomb.world.nccl import NCCL

# Seconds for which a follower waits for an order without pause, and the longest pause after that.
EAGER, PAUSE = 0.005, 0.01
# Items of `each` that each process is asked for ahead.
AHEAD = 2
# Seconds that a launcher has to pass on a last message.
LAST_WORDS = 0.5


class _End:
    """Sent in the place of an item, when there are no more."""


class World:
    """All processes of the communicator `comm`; `rank` is this one's number, `size` how many there are."""

    def __init__(self, comm: Any):
        from mpi4py import MPI

        self.comm, self.rank, self.size = comm, comm.rank, comm.size
        on_this_machine = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = on_this_machine.rank, on_this_machine.size
        self.backend: Backend | None = None
        self._nccl: NCCL | None = None

    def begin(self) -> None:
        """The leader goes on, and its end is the followers' end; a follower follows until then."""
        if self.rank == 0:
            atexit.register(self.order, sys.exit, 0)
            share_by(self.each)
            return
        for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            signal.signal(number, signal.SIG_IGN)
        self._error_output = os.dup(2)
        for output in (1, 2):  # process 0 alone prints
            os.dup2(os.open(os.devnull, os.O_WRONLY), output)
        with self.together():
            while True:
                function, args = pickle.loads(self._received())
                function(*args)

    def order(self, function: Callable, *args: Any) -> None:
        """Let the followers call function(*args); the function must be found by its name in its module."""
        message = np.frombuffer(pickle.dumps((function, args)), np.uint8)
        self.comm.Ibcast(np.array([len(message)])).Wait()
        self.comm.Bcast(message)

    def _received(self):
        """The next order; a follower that waits long for it leaves its core to others."""
        length = np.zeros(1, int)
        request, since = self.comm.Ibcast(length), time.monotonic()
        while not request.Test():
            if (waited := time.monotonic() - since) > EAGER:
                time.sleep(min(waited / 10, PAUSE))
        message = np.empty(length[0], np.uint8)
        self.comm.Bcast(message)
        return message

    @contextmanager
    def together(self) -> Iterator[None]:
        """A context for what all processes do together: an error in it is printed, and ends all of them."""
        try:
            yield
        except (SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            expected = isinstance(error, UserError | MemoryError | OSError)
            text = f"Error: {error}" if expected else "".join(traceback.format_exception(error))
            line = f"process {self.rank} of {self.size}: {printable(text) if expected else text}\n"
            sys.stdout.flush()
            os.write(self._error_output if self.rank else 2, line.encode())
            time.sleep(LAST_WORDS)
            self.comm.Abort(1)

    def mean(self, array: Any) -> Any:
        """The mean over the processes of their arrays of one shape; its bits are the same everywhere."""
        if self._nccl:
            return self._nccl.mean(array)
        part = np.ascontiguousarray(to_host(array))
        total = np.empty_like(part)
        self.comm.Allreduce(part, total)
        total /= self.size
        return array_module(array).asarray(total) if on_gpu(array) else total

    def gather(self, array: Any) -> Any:
        """The arrays (n, ...) of all processes, one after the other: (size n, ...)."""
        if self._nccl:
            return self._nccl.gather(array)
        part = np.ascontiguousarray(to_host(array))
        whole = np.empty((self.size * len(part), *part.shape[1:]), part.dtype)
        self.comm.Allgather(part, whole)
        return array_module(array).asarray(whole) if on_gpu(array) else whole

    def charges(self, p: Any, q: Any) -> tuple[Any, Any]:
        """The charges of all processes, from this one's q at p, where each process divides by its own number."""
        return self.gather(p), self.gather(q) / self.size

    def each(self, function: Callable[[Any], Any], items: Iterable) -> Iterator:
        """function(item) of the items in their order; the processes take turns."""
        self.order(_answer, function)
        asked: deque[tuple[int, Any]] = deque()

        def answer():
            rank, item = asked.popleft()
            return self.comm.recv(source=rank) if rank else function(item)

        try:
            for rank, item in zip(cycle(range(self.size)), items):
                if rank:
                    self.comm.send(item, rank)
                asked.append((rank, None if rank else item))
                if len(asked) == AHEAD * self.size:
                    yield answer()
            while asked:
                yield answer()
        finally:  # the caller may need no more of them
            for rank, _ in asked:
                if rank:
                    self.comm.recv(source=rank)
            for rank in range(1, self.size):
                self.comm.send(_End(), rank)

    def open_backend(self, config: Config) -> Backend:
        """The backend of this process, and of the followers; GPUs are shared out by local rank."""
        settings = config.run
        set_threads(settings.threads or max(1, available_cores() // self.local_size))
        self.backend = open_backend(settings.backend, settings.device + self.local_rank, settings.tf32)
        if self.rank == 0:  # after its own, whose errors are those of a single process
            self.order(_open_backend, config)
        with self.together():
            self._nccl = NCCL.of(self.comm, self.backend.xp) if self.backend.name == "cupy" else None
        return self.backend

    @property
    def is_captured(self) -> bool:
        """Whether sums over processes can be part of a CUDA graph."""
        return self._nccl is not None


def _answer(function):
    """A follower's part of World.each."""
    world = current()
    while not isinstance(item := world.comm.recv(source=0), _End):
        world.comm.send(function(item), 0)


def _open_backend(config):
    current().open_backend(config)
