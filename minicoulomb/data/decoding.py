"""Entries of a source -> pixels, in several processes; neither the result nor its order depends on how many.

A worker process opens the source and the list of entries itself. It receives the position in the list at which a
batch begins, and sends that batch's pixels back. Batch i goes to worker i mod n, and answers are received in the same
order, with at most two batches of each worker under way.

Each worker has pipes of its own, which end with the process at either end. So a worker ends when its parent does,
however the parent was killed, and a killed worker is noticed at once. concurrent.futures.ProcessPoolExecutor, whose
workers share a pipe, has neither property: without a parent they wait for ever, and a worker killed while it sends
its pixels leaves the pool waiting for the rest of them. A process of multiprocessing would run the main script again,
which then needs a main guard.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from minicoulomb.data.images import decode_image
from minicoulomb.data.listing import read_batch
from minicoulomb.data.source import LARGEST, Source
from minicoulomb.errors import UserError, explained

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
    pad: bool = False

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
                with explained("cannot be decoded", "replace or remove it", Exception):
                    image = decode_image(read(entry), self.size, self.crop, self.channels, self.pad)
                    pixels.append(image.tobytes())
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
            worker.close()
        for worker in team:
            worker.end()


class _Worker:
    """A process that decodes, and the pipes to it."""

    def __init__(self, job):
        # A new interpreter: a fork would copy this process with its threads' locks. In a session of its own, because
        # Ctrl-C and signals to the process group are for this process, which ends it.
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, "-c", START], **pipes, start_new_session=True)
        self.send(sys.path)
        self.send(job)

    def send(self, item):
        with self._alive():
            pickle.dump(item, self.process.stdin)
            self.process.stdin.flush()

    def receive(self):
        with self._alive():
            answer = pickle.load(self.process.stdout)
        if isinstance(answer, UserError):
            raise answer
        return answer

    @contextmanager
    def _alive(self):
        try:
            yield
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
            code = self.process.returncode
            how = f"ended with status {code}, as its message says"
            if code and code < 0:
                how = f"was killed by signal {-code}, often because memory ran out; use fewer --workers"
            raise UserError(f"decoding process {self.process.pid} {how}; the same command goes on from here") from error

    def close(self):
        with suppress(OSError):  # what was not sent
            self.process.stdin.close()
        self.process.stdout.close()

    def end(self):
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# What a worker process runs.
START = """import pickle, sys
sys.path = pickle.load(sys.stdin.buffer)
from minicoulomb.data.decoding import work
work()"""


def work() -> None:
    """The body of a worker process: receive a job, then positions, and send batches, until a pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints is no answer

    def send(answer):
        pickle.dump(answer, answers)
        answers.flush()

    with suppress(EOFError, OSError):
        try:
            with pickle.load(requests).opened() as decode:
                while True:
                    send(decode(pickle.load(requests)))
        except UserError as error:
            send(error)
