"""Entries of a source -> pixels, over several processes; neither the result nor its order depends on how many.

A worker process opens the source and the list of entries for itself. It is told only where in the list a batch
begins, and sends back that batch's pixels. Batch i goes to worker i mod n, and the answers are taken in the same
turn, so they come in order and at most two batches of each worker are under way.

A pipe ends with the process at its other end. So a worker ends when its parent does, however that was killed, and a
killed worker is noticed at once.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from minicoulomb.data.images import decode_image
from minicoulomb.data.listing import read_batch
from minicoulomb.data.source import LARGEST, Source
from minicoulomb.errors import UserError

# Images in a batch: their pixels go through a pipe at once.
BATCH = 64
# Batches of a worker that are under way: one in work and one that waits.
AHEAD = 2
# A worker takes half a second to start, in which one process decodes this many images.
WORTHWHILE = 512


class Batch(NamedTuple):
    """n: its entries; pixels: of the good ones, one after the other; bad: (name, reason) of the others."""

    n: int
    pixels: bytes
    bad: list[tuple[str, str]]


class Job(NamedTuple):
    """What is to be decoded: a source, the list of its entries, entries in a batch, and decode_image's geometry."""

    source: Source
    listing: Path
    batch: int
    size: int
    crop: int | None
    channels: int

    @contextmanager
    def opened(self) -> Iterator[Callable[[int], Batch]]:
        """A function from a position in the list to the batch that begins there."""
        with self.listing.open("rb") as listing, self.source.reader() as read:
            yield lambda position: self._decode(read, read_batch(listing, position, self.batch))

    def _decode(self, read, entries):
        pixels, bad = [], []
        for entry in entries:
            try:
                if entry.refused:
                    raise UserError(entry.refused)
                if entry.size > LARGEST:
                    raise UserError(f"{entry.size:,} bytes: no image may take more than {LARGEST:,}; remove it")
                pixels.append(decode_image(read(entry), self.size, self.crop, self.channels).tobytes())
            except UserError as error:
                bad.append((entry.name, str(error)))
        return Batch(len(entries), b"".join(pixels), bad)


def decoded(job: Job, positions: Iterable[int], n_images: int, workers: int) -> Iterator[Batch]:
    """The batches that begin at `positions` of the list, in this order.

    In this process if there is one worker, or too few images to gain from more. UserError if a worker is killed.
    """
    workers = min(workers, n_images // WORTHWHILE)
    if workers <= 1:
        with job.opened() as decode:
            yield from map(decode, positions)
        return
    with _started(job, workers) as team:
        waiting = deque()
        for worker, position in zip(cycle(team), positions):
            if len(waiting) == AHEAD * len(team):
                yield waiting.popleft().receive()
            worker.send(position)
            waiting.append(worker)
        while waiting:
            yield waiting.popleft().receive()


class _Worker:
    """A process that decodes, and the pipe to it."""

    def __init__(self, context, job):
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, job), daemon=True)
        with _without_interrupts():
            self.process.start()
        theirs.close()  # else its end would not be seen

    def send(self, position):
        with self._alive():
            self.pipe.send(position)

    def receive(self):
        with self._alive():
            answer = self.pipe.recv()
        if isinstance(answer, UserError):
            raise answer
        return answer

    @contextmanager
    def _alive(self):
        try:
            yield
        except (EOFError, OSError) as error:
            self.process.join(1)
            code = self.process.exitcode
            how = f"was killed by signal {-code}" if code and code < 0 else f"ended with status {code}"
            raise UserError(
                f"decoding process {self.process.pid}: {how}, often for want of memory; run the same again, "
                "with fewer --workers: what is done will not be done again"
            ) from error

    def end(self):
        self.process.join(1)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def _started(job, n):
    # A new interpreter for each: a fork would copy this one with its threads' locks, and Windows has none.
    context = get_context("spawn")
    team = []
    try:
        for _ in range(n):
            team.append(_Worker(context, job))
        yield team
    finally:
        for worker in team:
            worker.pipe.close()
        for worker in team:
            worker.end()


@contextmanager
def _without_interrupts():
    """A process started in this context sees neither Ctrl-C nor what ends a group of processes: its parent ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # would come with the first process, and unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe, job):
    """What a worker process runs: positions in, batches out, until the pipe ends."""
    with suppress(EOFError, OSError):
        try:
            with job.opened() as decode:
                while True:
                    pipe.send(decode(pipe.recv()))
        except UserError as error:
            pipe.send(error)
