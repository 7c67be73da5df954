"""Batches are copied to the device from pinned memory, while the host is ahead.

    upload = Upload(backend)
    z, y = upload(z, y, dtype=np.float32)      one call for each step, with all its arrays from the host

The host draws step k's batch while the GPU computes the steps before it. All arrays of a call are one copy, on the
stream that computes: it comes after the step that reads the last batch from the same place, and before its own. So the
arrays keep their numbers until the next call, and lie at the same addresses after every call with arrays of the same
shapes and dtypes, as a captured step needs it (graph.py). A caller who needs them longer copies them on the device.

Two pinned buffers take turns: the host fills one while the other is still to be copied. It waits only until the copy
before the last has finished, which it has, unless the host is two steps ahead. A copy beside the step before it, from a
stream of its own, would save at most 1% of a step on images, the time of the copy.

Drop an Upload only when the device has finished its work, as it has once a result of the step is on the host.
"""

from math import prod

import numpy as np

from minicoulomb.arrays.backend import Backend

# Arrays in a buffer start at multiples of so many bytes, as the device's own do.
ALIGNMENT = 256


class Upload:
    """Copies arrays to the backend's current device; with NumPy nothing is copied."""

    def __init__(self, backend: Backend):
        self.backend = backend
        self._layout: list = []

    def __call__(self, *arrays: np.ndarray, dtype=None) -> list:
        """The arrays on the device, valid until the next call begins.

        dtype   of arrays of floats, which are rounded on the host; bytes stay bytes
        """
        dtypes = [np.dtype(dtype if dtype and array.dtype.kind == "f" else array.dtype) for array in arrays]
        if self.backend.name == "numpy":
            return [array.astype(dtype, copy=False) for array, dtype in zip(arrays, dtypes, strict=True)]
        layout = [(array.shape, dtype) for array, dtype in zip(arrays, dtypes, strict=True)]
        if layout != self._layout:
            self._allocate(layout)
        place = self._places.pop(0)
        self._places.append(place)
        pinned, parts, copied = place
        copied.synchronize()
        for array, part in zip(arrays, parts, strict=True):
            np.copyto(part, array, casting="same_kind")
        stream = self.backend.xp.cuda.get_current_stream()
        self._device.set(pinned, stream=stream)
        stream.record(copied)
        return list(self._arrays)

    def _allocate(self, layout):
        """Make the buffers: a place on the host is (its bytes, the arrays in them, the event after its copy)."""
        cuda, size = self.backend.xp.cuda, sum(_padded(*each) for each in layout)
        pinned = [np.frombuffer(cuda.alloc_pinned_memory(size), np.uint8, size) for _ in range(2)]
        event = lambda: cuda.Event(block=True, disable_timing=True)  # the host sleeps while it waits
        self._places = [(buffer, _arrays_in(buffer, layout), event()) for buffer in pinned]
        self._device = self.backend.xp.empty(size, np.uint8)
        self._arrays, self._layout = _arrays_in(self._device, layout), layout


def _arrays_in(buffer, layout) -> list:
    """The arrays of the layout, one after the other in a buffer of bytes."""
    arrays, start = [], 0
    for shape, dtype in layout:
        size = prod(shape) * dtype.itemsize
        arrays.append(buffer[start : start + size].view(dtype).reshape(shape))
        start += _padded(shape, dtype)
    return arrays


def _padded(shape, dtype) -> int:
    return -(-prod(shape) * dtype.itemsize // ALIGNMENT) * ALIGNMENT
