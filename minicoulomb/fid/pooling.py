"""Pooling over 3x3, one axis at a time, by slices of the input.

    max_pool(x, stride)       y[n,u,v,c] = max_{i,j} x[n, s u + i, s v + j, c]
    average_pool(x)           y[n,u,v,c] = the mean of x[n, u + i, v + j, c] over i, j in {-1, 0, 1} that lie inside

x is (n, h, w, c). With stride 1 both keep the size, and windows leave out what lies outside; with stride 2 windows lie
inside.
"""

from minicoulomb.arrays.backend import array_module


def max_pool(x, stride: int):
    """The largest of each 3x3 window: (n, h, w, c), or with stride 2 (n, (h - 1) // 2, (w - 1) // 2, c)."""
    maximum = array_module(x).maximum
    along = _neighbours if stride == 1 else _pairs
    return along(maximum, along(maximum, x, 1), 2)


def average_pool(x):
    """The mean of each 3x3 window's numbers that lie inside: (n, h, w, c)."""
    xp, (_, h, w, _) = array_module(x), x.shape
    sums = lambda array: _neighbours(xp.add, _neighbours(xp.add, array, 1), 2)
    y = sums(x)
    y /= sums(xp.ones((1, h, w, 1), x.dtype))
    return y


def _neighbours(combine, x, axis):
    """Each position along the axis combined with the one before and the one after it."""
    inner, first, last = (_along(axis, part) for part in (slice(None), slice(None, -1), slice(1, None)))
    y = x[inner].copy()
    combine(y[last], x[first], out=y[last])
    combine(y[first], x[last], out=y[first])
    return y


def _pairs(combine, x, axis):
    """Positions 2 u, 2 u + 1 and 2 u + 2 along the axis, combined."""
    n = x.shape[axis]
    y = combine(x[_along(axis, slice(0, n - 2, 2))], x[_along(axis, slice(1, n - 1, 2))])
    return combine(y, x[_along(axis, slice(2, n, 2))], out=y)


def _along(axis, part):
    return (slice(None),) * axis + (part,)
