"""Entries of a source -> pixels, in several processes; neither the result nor its order depends on how many.

A worker process opens the source and the list of entries itself. It receives the position in the list at which a
batch begins, and sends that batch's pixels back. Batch i goes to worker i mod n, and answers are received in the same
order, with at most two batches of each worker under way.

Each worker has a pipe of its own, which ends with the process at either end. So a worker ends when its parent does,
however the parent was killed, and a killed worker is noticed at once. concurrent.futures.ProcessPoolExecutor, whose
workers share a pipe, has neither property: without a parent they wait for ever, and a worker killed while it sends
its pixels leaves the pool waiting for the rest of them.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from multiprocessing import current_process, get_context
from pathlib import Path
from typing import NamedTuple

from minicoulomb.data.images import decode_image
from minicoulomb.data.listing import read_batch
from minicoulomb.data.source import LARGEST, Source
from minicoulomb.errors import UserError

# Images in a batch, whose pixels are sent through a pipe together.
BATCH = 64
# Batches of a worker that are under way: one in work and one that waits.
AHEAD = 2
# A worker starts in half a second, in which one process decodes this many images.
WORTHWHILE = 512


class DecodedBatch(NamedTuple):
    """n: its entries; pixels: of the good ones, concatenated; bad: (name, reason) of the others."""

    n: int
    pixels: bytes
    bad: list[tuple[str, str]]


class Job(NamedTuple):
    """What to decode: a source, the list of its entries, entries in a batch, and decode_image's geometry."""

    source: Source
    listing: Path
    batch: int
    size: int
    crop: int | None
    channels: int

    @contextmanager
    def opened(self) -> Iterator[Callable[[int], DecodedBatch]]:
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
                    raise UserError(f"{entry.size:,} bytes: no image may have more than {LARGEST:,}; remove it")
                pixels.append(decode_image(read(entry), self.size, self.crop, self.channels).tobytes())
            except UserError as error:
                bad.append((entry.name, str(error)))
        return DecodedBatch(len(entries), b"".join(pixels), bad)


def decoded(job: Job, positions: Iterable[int], n_images: int, workers: int) -> Iterator[DecodedBatch]:
    """The batches that begin at `positions` of the list, in this order.

    In this process if there is one worker, or too few images to gain from more. UserError if a worker is killed.
    """
    workers = min(workers, n_images // WORTHWHILE)
    if workers <= 1:
        with job.opened() as decode:
            yield from map(decode, positions)
        return
    team, waiting = [], deque()
    try:
        for _ in range(workers):
            team.append(_Worker(job))
        for worker, position in zip(cycle(team), positions):
            if len(waiting) == AHEAD * workers:
                yield waiting.popleft().receive()
            worker.send(position)
            waiting.append(worker)
        while waiting:
            yield waiting.popleft().receive()
    finally:
        for worker in team:
            worker.pipe.close()
        for worker in team:
            worker.end()


def check_main_guard() -> None:
    """UserError in a worker process that runs the main script again, because the script has no main guard."""
    if getattr(current_process(), "_inheriting", False):
        raise UserError("decoding in several processes: the script needs a main guard; call this under "
                        'if __name__ == "__main__":')  # fmt: skip


class _Worker:
    """A process that decodes, and the pipe to it."""

    def __init__(self, job):
        # A new interpreter: a fork would copy this process with its threads' locks, and Windows has no fork.
        context = get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self.process = context.Process(target=_work, args=(far_end, job), daemon=True)
        with _without_interrupts():
            self.process.start()
        far_end.close()  # only the process holds it now, so the pipe ends with the process

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
            how = f"ended with status {code}, as its message says"
            if code and code < 0:
                how = f"was killed by signal {-code}, often because memory ran out; use fewer --workers"
            raise UserError(f"decoding process {self.process.pid} {how}; the same command goes on from here") from error

    def end(self):
        self.process.join(1)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def _without_interrupts():
    """A process started in this context ignores Ctrl-C and signals to the process group: its parent ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # otherwise it starts with the first process, and unblocks the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe, job):
    """The body of a worker process: receive positions, send batches, until the pipe ends."""
    with suppress(EOFError, OSError):
        try:
            with job.opened() as decode:
                while True:
                    pipe.send(decode(pipe.recv()))
        except UserError as error:
            pipe.send(error)
