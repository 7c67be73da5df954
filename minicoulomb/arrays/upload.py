"""Batches are copied to the device while it computes: from pinned memory, on a CUDA stream for uploads.

    upload = Upload(backend)
    z, y = upload(z, y, dtype=np.float32)      one call for each step, with all its arrays from the host

The host runs ahead of a GPU: it draws and sends step k's batch while the GPU computes step k - 1. The copy can run
beside that step only into memory that the step does not read. So batches use two places in turn, each with a pinned
buffer on the host and a buffer on the device for every array. Three waits keep the order, and only the third blocks
the host:

    upload stream    waits before copy k until the compute stream has finished step k - 2, which reads the same place
    compute stream   waits before step k until copy k has finished
    host             waits before it fills the pinned buffers until copy k - 2 has finished; it has, unless the host is
                     steps ahead

So arrays keep their numbers until the next call begins, and all work that the compute stream has by then reads them in
time. A caller who needs them longer copies them on the device.

The buffers are kept, not allocated for each batch: CuPy's pool gives memory that was freed on a stream to that stream
again at once, without a check whether another stream still reads it. For the same reason the upload stream writes into
a new buffer only after all earlier work of the compute stream, which may use the same memory for another array.

Drop an Upload only when the device has finished its work, as it has once a result of the step is on the host.
"""

import numpy as np

from minicoulomb.arrays.backend import Backend


class Upload:
    """Copies arrays to the backend's current device; with NumPy nothing is copied."""

    def __init__(self, backend: Backend):
        self.backend = backend
        if backend.name != "numpy":
            self._stream = backend.xp.cuda.Stream(non_blocking=True)
            self._places = _Place(backend.xp), _Place(backend.xp)

    def __call__(self, *arrays: np.ndarray, dtype=None) -> list:
        """The arrays on the device, valid until the next call begins.

        dtype   of arrays of floats, which are rounded on the host; bytes stay bytes
        """
        dtypes = [np.dtype(dtype if dtype and array.dtype.kind == "f" else array.dtype) for array in arrays]
        if self.backend.name == "numpy":
            return [array.astype(dtype, copy=False) for array, dtype in zip(arrays, dtypes, strict=True)]
        compute = self.backend.xp.cuda.get_current_stream()
        place, other = self._places
        self._places = other, place
        compute.record(other.free)  # the stream has all the work that reads it by now
        if not place.fits(arrays, dtypes):
            place.allocate(arrays, dtypes)
            compute.record(place.free)
        self._stream.wait_event(place.free)
        place.copy(arrays, self._stream)
        compute.wait_event(place.copied)
        return list(place.device)


class _Place:
    """Buffers for the arrays of one call.

    pinned, device   one of each for an array, equal in shape and dtype
    copied           the event that the copies from one to the other have finished
    free             the event after which nobody reads the device's buffers
    """

    def __init__(self, xp):
        self.xp = xp
        self.pinned, self.device = [], []
        self.copied = xp.cuda.Event(block=True, disable_timing=True)  # the host sleeps while it waits
        self.free = xp.cuda.Event(disable_timing=True)

    def fits(self, arrays, dtypes):
        wanted = [(array.shape, dtype) for array, dtype in zip(arrays, dtypes, strict=True)]
        return wanted == [(buffer.shape, buffer.dtype) for buffer in self.pinned]

    def allocate(self, arrays, dtypes):
        """Replace the buffers by new ones that fit the arrays."""
        self.pinned, self.device = [], []
        for array, dtype in zip(arrays, dtypes, strict=True):
            memory = self.xp.cuda.alloc_pinned_memory(array.size * dtype.itemsize)
            self.pinned.append(np.frombuffer(memory, dtype, array.size).reshape(array.shape))
            self.device.append(self.xp.empty(array.shape, dtype))

    def copy(self, arrays, stream):
        self.copied.synchronize()
        for array, pinned, device in zip(arrays, self.pinned, self.device, strict=True):
            np.copyto(pinned, array, casting="same_kind")
            device.set(pinned, stream=stream)
        stream.record(self.copied)
