"""Work block by block (stand-in of branch gan until branch core is merged)."""

import numpy as np

from minicoulomb.arrays.threads import for_each

BLOCK = 2**18


def for_each_block(function, *arrays) -> None:
    """Call function(*(array[rows] for array in arrays)) for every block of rows, on several threads."""
    n = len(arrays[0])
    size = BLOCK if isinstance(arrays[0], np.ndarray) else n
    parts = [slice(start, start + size) for start in range(0, n, size)]
    for_each(lambda rows: function(*(array[rows] for array in arrays)), parts)
