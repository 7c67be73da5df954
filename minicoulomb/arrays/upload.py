"""Batches go up to the device while it computes: from pinned memory, on a stream of their own.

    upload = Upload(backend)
    z, y = upload(z, y, dtype=np.float32)      one call for a step, with all that it takes from the host

The host runs ahead of a GPU: it draws and sends step k's batch while the GPU is at step k - 1. For the copy to run
beside that step it needs memory that the step does not read. So there are two places for a batch, taken in turns:
each a pinned buffer on the host and a buffer on the device for every array. Three waits keep them right, and the
third alone holds the host:

    upload stream    before copy k, for the compute stream to be through step k - 2, which read that place
    compute stream   before step k, for copy k
    host             before it fills the pinned buffers, for copy k - 2 to have left them; that is over unless the host
                     is steps ahead, and then it is right to wait

So arrays hold their numbers until the next call begins: work given to the compute stream before that reads them in
time. What shall last longer is to be copied on the device.

The buffers are kept, not allocated for each batch: CuPy's pool lends what was freed on a stream to that stream again
at once, and does not ask whether another still reads it. For the same reason the upload stream writes into a new
buffer only after all that the compute stream was given before, where the memory may have belonged to another array.

Drop an Upload when the device has done what it was given, as it has where a result of the step is on the host.
"""

import numpy as np

from minicoulomb.arrays.backend import Backend


class Upload:
    """A way up to the backend's current device; on the host, where arrays already are, nothing is copied."""

    def __init__(self, backend: Backend):
        self.backend = backend
        if backend.name != "numpy":
            self._stream = backend.xp.cuda.Stream(non_blocking=True)
            self._places = _Place(backend.xp), _Place(backend.xp)

    def __call__(self, *arrays: np.ndarray, dtype=None) -> list:
        """The arrays on the device, valid until the next call begins.

        dtype   of what holds floats: it is rounded on the host and travels so; bytes stay bytes
        """
        dtypes = [np.dtype(dtype if dtype and array.dtype.kind == "f" else array.dtype) for array in arrays]
        if self.backend.name == "numpy":
            return [array.astype(dtype, copy=False) for array, dtype in zip(arrays, dtypes, strict=True)]
        compute = self.backend.xp.cuda.get_current_stream()
        place, other = self._places
        self._places = other, place
        compute.record(other.free)  # whoever reads it has been given to the stream by now
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
    copied           the event that the copies from one to the other are done
    free             the event that nobody reads the device's any more
    """

    def __init__(self, xp):
        self.xp = xp
        self.pinned, self.device = [], []
        self.copied = xp.cuda.Event(block=True, disable_timing=True)  # the host sleeps, and leaves its core to others
        self.free = xp.cuda.Event(disable_timing=True)

    def fits(self, arrays, dtypes):
        wanted = [(array.shape, dtype) for array, dtype in zip(arrays, dtypes, strict=True)]
        return wanted == [(buffer.shape, buffer.dtype) for buffer in self.pinned]

    def allocate(self, arrays, dtypes):
        """New buffers in the place of those of other arrays."""
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
