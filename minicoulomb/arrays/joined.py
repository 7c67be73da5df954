"""Arrays one after the other, also in a step that a GPU captures (graph.py)."""

from minicoulomb.arrays.backend import array_module, on_gpu


def concatenate(arrays):
    """numpy.concatenate of arrays of one dtype.

    CuPy's sends a table of the addresses of many arrays from the host, from memory that it soon uses again: a captured
    step would read that of a later call. So on a GPU each array is copied into its slice.
    """
    if not on_gpu(arrays[0]):
        return array_module(arrays[0]).concatenate(arrays)
    joined = array_module(arrays[0]).empty((sum(map(len, arrays)), *arrays[0].shape[1:]), arrays[0].dtype)
    start = 0
    for array in arrays:
        joined[start : start + len(array)] = array
        start += len(array)
    return joined
