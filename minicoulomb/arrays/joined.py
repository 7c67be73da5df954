"""Arrays one after the other, also in a step that a GPU captures (graph.py)."""

from minicoulomb.arrays import cuda
from minicoulomb.arrays.backend import array_module, on_gpu


def concatenate(arrays):
    """numpy.concatenate of arrays of one dtype."""
    if on_gpu(arrays[0]):
        return cuda.concatenate(arrays)
    return array_module(arrays[0]).concatenate(arrays)
