"""What goes up is what arrives, whatever the order in which a device gets to its work."""

from types import SimpleNamespace

import numpy as np
import pytest
import strict_cupy

from minicoulomb.arrays.backend import Backend, open_backend, to_host
from minicoulomb.arrays.upload import Upload

SMALL, LARGE = (4, 3), (128, 32, 32, 3)
SHAPES = SMALL, (5, 2), SMALL


def batch(k, shape=SMALL):
    """Draws, pixels and noise, each batch its own."""
    rng = np.random.default_rng(k)
    return [rng.standard_normal((4, 2)), rng.integers(0, 256, shape, np.uint8), rng.standard_normal(shape)]


def assert_arrived(arrays, k, shape=SMALL):
    for array, sent in zip(arrays, batch(k, shape), strict=True):
        rounded = sent.astype(np.float32) if sent.dtype == np.float64 else sent
        assert array.dtype == rounded.dtype
        assert (to_host(array) == rounded).all()


def test_on_the_host_nothing_is_copied_but_what_changes_its_dtype():
    upload = Upload(open_backend("numpy"))
    z, y = np.ones(3), np.ones(3, np.uint8)
    assert [up is array for up, array in zip(upload(z, y), (z, y), strict=True)] == [True, True]
    up, bytes_up = upload(z, y, dtype=np.float32)
    assert up.dtype == np.float32
    assert bytes_up is y


# The order of the device's work: a graph of what is done, with an edge from each to whatever waits for it.


class Timeline:
    """Everything that the host and the streams do, in the order in which the host says it, and what each waits for."""

    def __init__(self):
        self.before, self.uses, self.host = [set()], [], 0

    def add(self, *predecessors):
        """A piece of work after the predecessors: its number."""
        self.before.append(set().union(*({p} | self.before[p] for p in predecessors)))
        return len(self.before) - 1

    def races(self):
        """Pairs that use the same buffer, one of them to write, without an order."""
        return [
            (first, second)
            for i, (first, buffer, writes) in enumerate(self.uses)
            for second, other, also_writes in self.uses[:i]
            if buffer is other and (writes or also_writes) and second not in self.before[first]
        ]


def traced_cupy():
    """As much of CuPy as an Upload asks; its arrays hold nothing, but their uses are on the timeline."""
    time = Timeline()

    class Stream:
        def __init__(self, non_blocking=False):
            self.last = 0

        def work(self, *after):
            self.last = time.add(self.last, time.host, *after)
            return self.last

        def record(self, event):
            event.at = self.work()

        def wait_event(self, event):
            self.work(event.at)

    class Event:
        def __init__(self, block=False, disable_timing=False):
            self.at = 0

        def synchronize(self):
            time.host = time.add(time.host, self.at)

    class Array:
        def __init__(self, size, dtype):
            self.memory = object()

        def set(self, host, stream):
            time.host = time.add(time.host)
            time.uses.append((time.host, host.base, True))
            copy = stream.work()
            time.uses += [(copy, host.base, False), (copy, self.memory, True)]

        def __getitem__(self, part):
            return self

        view = reshape = __getitem__

    compute = Stream()

    def read(*arrays):
        """A step of the compute stream."""
        step = compute.work()
        time.uses.extend((step, array.memory, False) for array in arrays)

    cuda = SimpleNamespace(
        Stream=Stream, Event=Event, get_current_stream=lambda: compute, alloc_pinned_memory=bytearray
    )
    return SimpleNamespace(cuda=cuda, empty=Array, read=read, time=time)


def test_no_buffer_is_written_while_another_may_still_use_it():
    xp = traced_cupy()
    upload = Upload(Backend("cupy", xp))
    for k in range(20):
        arrays = batch(k) if k < 12 else batch(k)[:2]  # and then other ones
        xp.read(*upload(*arrays, dtype=np.float32))
    assert xp.time.uses
    assert xp.time.races() == []


def test_the_host_waits_for_no_step_but_those_before_the_last():
    xp = traced_cupy()
    upload = Upload(Backend("cupy", xp))
    steps = []
    for k in range(6):
        xp.read(*upload(*batch(k)))
        waited_for = xp.time.before[xp.time.host]
        steps.append(xp.cuda.get_current_stream().last)
        assert not {*steps[-3:]} & waited_for
    assert steps[0] in waited_for


def test_what_goes_up_arrives_and_the_host_waits_for_old_copies_alone():
    upload = Upload(strict_cupy.backend())
    arrived = []
    with strict_cupy.recorded() as waits:
        for k in range(30):
            z, y, noise = upload(*batch(k, SHAPES[k // 10]), dtype=np.float32)
            arrived.append([z.copy(), y.copy(), noise + 0])  # as a step would read them
    for k, arrays in enumerate(arrived):
        assert_arrived(arrays, k, SHAPES[k // 10])
    assert {name for name, _ in waits} == {"Event.synchronize"}
    assert len(waits) == 30
    assert waits.uploads == []  # none from pageable memory


def test_arrays_lie_where_those_of_the_last_call_lay():
    upload = Upload(strict_cupy.backend())
    (first, flags), (second, _) = (upload(np.full(3, float(k)), np.ones(5, np.uint8)) for k in range(2))
    assert first.data.ptr == second.data.ptr
    assert first.data.ptr % 8 == flags.data.ptr % 8 == 0
    assert to_host(first).tolist() == [1, 1, 1]
    (other,) = upload(np.ones(4))
    assert to_host(other).tolist() == [1, 1, 1, 1]


@pytest.mark.gpu
def test_a_hundred_uploads_arrive_while_kernels_run():
    pytest.importorskip("cupy", reason="needs CuPy and a GPU")
    backend = open_backend("cupy")
    upload = Upload(backend)
    busy = backend.xp.full((2048, 2048), 1 / 2048, np.float32)
    arrived = []
    for k in range(100):
        uploaded = upload(*batch(k, LARGE if k < 60 else SMALL), dtype=np.float32)
        for _ in range(3):
            busy = busy @ busy
        arrived.append([array.copy() for array in uploaded])
    for k, arrays in enumerate(arrived):
        assert_arrived(arrays, k, LARGE if k < 60 else SMALL)
