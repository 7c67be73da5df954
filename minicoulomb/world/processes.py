"""The processes of an MPI launcher: sums over all of them, and orders from process 0, the leader, to its followers.

    world.average(array)          array <- the mean of the processes' arrays, the same everywhere
    world.gather(array, ...)      the rows of all processes' arrays, in the order of the ranks
    world.order(function, ...)    the followers call function(...)
    world.each(function, items)   function(item) for each item, in their order, each computed by one process

Only the leader decides, so the followers ignore Ctrl-C and SIGTERM, which a launcher sends to all. What all processes
do together cannot go on without one of them. So an error of a follower, or of the leader within an order, a step or
`each`, ends all processes, after its message. Any other error of the leader is as in a single process.
"""

import atexit
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import accumulate, count, islice, pairwise
from typing import Any

import numpy as np

from minicoulomb.arrays.backend import Backend, array_module, on_gpu, open_backend, to_host
from minicoulomb.arrays.sharing import share_by
from minicoulomb.arrays.threads import available_cores, set_threads
from minicoulomb.arrays.vectors import concatenate
from minicoulomb.config import Config
from minicoulomb.errors import UserError, printable
from minicoulomb.world import launch
from minicoulomb.world.nccl import NCCL

# Seconds for which a follower waits for an order without pause, and the longest pause after that.
EAGER, PAUSE = 0.005, 0.01
# Seconds that a launcher has to pass on a last message.
LAST_WORDS = 0.5


# The functions of `each` by number, in every process.
_functions: dict[int, Callable] = {}


class World:
    """All processes of the communicator `comm`; `rank` is this one's number, `size` how many there are."""

    def __init__(self, comm: Any):
        from mpi4py import MPI

        self.comm, self.rank, self.size = comm, comm.rank, comm.size
        self._in_place = MPI.IN_PLACE  # the sum of an array is written over it
        on_this_machine = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank = on_this_machine.rank
        own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(available_cores()))
        self._threads = threads_of(own, on_this_machine.allgather(own))
        self.backend: Backend | None = None
        self._nccl: NCCL | None = None
        self._numbers = count()
        self._status: int | None = None

    def begin(self) -> None:
        """Return at once in the leader, whose exit ends the followers; a follower calls what is ordered until then."""
        if self.rank == 0:
            atexit.register(self._end)
            share_by(self.each)
            return
        _ignore_signals()
        launch.mute()
        with self.together():
            while True:
                function, args = pickle.loads(self._received())
                function(*args)

    def order(self, function: Callable, *args: Any) -> None:
        """Let the followers call function(*args); the function must be found by its name in its module."""
        with self.together():
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
        except (SystemExit, KeyboardInterrupt) as stop:
            if self.rank == 0:  # by a signal: the others still wait
                self._status = 128 + signal.SIGINT if isinstance(stop, KeyboardInterrupt) else int(stop.code or 0)
            raise
        except BaseException as error:
            with suppress(OSError):
                sys.stdout.flush()
                os.write(launch.error_output, _last_words(error, f"process {self.rank} of {self.size}").encode())
            time.sleep(LAST_WORDS)
            self._abort(1)

    def _end(self):
        """End the followers: by an order, or at once where a signal has interrupted what all do together."""
        if self._status is None:
            self.order(sys.exit, 0)
        else:
            with suppress(OSError):
                sys.stdout.flush()
            self._abort(self._status)

    def _abort(self, status):
        _ignore_signals()  # a second one
        self.comm.Abort(status)
        os._exit(status)  # MPICH's comes back where the launcher is ending, too

    def average(self, array: Any) -> None:
        """array <- the mean of the processes' arrays, in one piece each; its bits are the same everywhere."""
        if self._nccl:
            self._nccl.add_up(array)
        elif on_gpu(array):
            total = to_host(array)
            self.comm.Allreduce(self._in_place, total)
            array[...] = array_module(array).asarray(total)
        else:
            self.comm.Allreduce(self._in_place, array)
        array /= self.size

    def gather(self, *arrays: Any) -> list[Any]:
        """The arrays (n, ...) of all processes, one after the other: (size n, ...) for each, in one exchange."""
        row, xp = concatenate([array.reshape(-1) for array in arrays]), array_module(arrays[0])
        if self._nccl:
            rows = self._nccl.gather(row)  # (size, numbers)
        else:
            rows = np.empty((self.size, len(row)), row.dtype)
            self.comm.Allgather(to_host(row), rows)
            rows = xp.asarray(rows)
        starts = [0, *accumulate(array.size for array in arrays)]
        columns = [rows[:, start:stop] for start, stop in pairwise(starts)]
        return [part.reshape(-1, *array.shape[1:]) for part, array in zip(columns, arrays, strict=True)]

    def charges(self, p: Any, q: Any) -> tuple[Any, Any]:
        """The charges q (size n,) of all processes at p (size n, m), from this one's q (n,) at p (n, m).

        Each process has divided by its own number of samples; here they are divided by the number of processes.
        """
        p, q = self.gather(p, q)
        return p, q / self.size

    def each(self, function: Callable[[Any], Any], items: Iterable) -> Iterator:
        """function(item) of the items in their order; as many at a time as there are processes."""
        number, items = next(self._numbers), iter(items)
        self.order(_keep, number, function)
        _keep(number, function)
        while together := [[item] for item in islice(items, self.size)]:
            self.order(_answer, number)
            for answers in self.answer(number, together + [[]] * (self.size - len(together))):
                yield from answers
        self.order(_forget, number)
        _forget(number)

    def answer(self, number: int, items: list[list] | None = None) -> Any:
        """The lists of answers of all processes to their lists of items; a follower gives its part."""
        with self.together():
            return self.comm.gather([_functions[number](item) for item in self.comm.scatter(items)])

    def open_backend(self, config: Config) -> Backend:
        """The backend of this process, and of the followers; GPUs are shared out by local rank."""
        settings = config.run
        set_threads(settings.threads or self._threads)
        self.backend = open_backend(settings.backend, settings.device + self.local_rank, settings.tf32)
        if self.rank == 0:  # after its own, whose errors are those of a single process
            self.order(_open_backend, config.replace(backend=self.backend.name))
        with self.together():
            self._nccl = NCCL.of(self.comm, self.backend.xp) if self.backend.name == "cupy" else None
        return self.backend

    @property
    def is_captured(self) -> bool:
        """Whether sums over processes can be part of a CUDA graph."""
        return self._nccl is not None


def threads_of(own: set[int], of_all: list[set[int]]) -> int:
    """Number of threads of a process that may use the cores `own`; a core that k processes may use counts 1/k."""
    return max(1, int(sum(1 / sum(core in cores for cores in of_all) for core in own) + 1e-9))


def _keep(number, function):
    _functions[number] = function


def _forget(number):
    del _functions[number]


def _answer(number):
    launch.current().answer(number)


def _open_backend(config):
    launch.current().open_backend(config)


def _ignore_signals():
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)


def _last_words(error, process):
    """The text of an error that ends all processes."""
    if isinstance(error, UserError | MemoryError | OSError):
        return f"Error: {process}: {printable(str(error)) or 'the memory is full'}\n"
    return f"Error: {process}: {''.join(traceback.format_exception(error))}"
