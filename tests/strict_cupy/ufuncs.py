"""cupy.ufunc: the call and its three keywords, which are all that CuPy has of NumPy's."""

import numpy as np

from strict_cupy.arrays import elementwise


class ufunc:
    """One of NumPy's ufuncs on device arrays and Python numbers."""

    def __init__(self, name: str):
        self.__name__, self._function = name, getattr(np, name)

    def __call__(self, *args, out=None, dtype=None, casting="same_kind"):
        n = self._function.nin
        if len(args) not in (n, n + 1) or (len(args) > n and out is not None):
            raise TypeError(f"{self.__name__}: takes {n} arrays, and at most one `out`")
        if isinstance(out, tuple):
            (out,) = out
        out = args[n] if len(args) > n else out
        return elementwise(self._function, *args[:n], out=out, dtype=dtype, casting=casting)


NAMES = """
    add subtract multiply divide true_divide negative absolute square sqrt power exp expm1 log logaddexp tanh
    maximum minimum isfinite isnan less less_equal greater greater_equal equal not_equal
    logical_and logical_or logical_not bitwise_and bitwise_or
""".split()
