"""What the formulas take: a kernel's exponent and width, and points; and what is wrong with those that do not fit."""

from math import log
from typing import Any

import numpy as np

from minicoulomb.arrays.backend import FLOATS, LOG_MAX, is_array, on_gpu
from minicoulomb.errors import UserError


def checked(d, eps, *arrays):
    """(d, eps, *points): plain numbers, and the arrays as (n, m) of one native dtype; the same array stays one.

    UserError unless 0 < d < inf, 0 <= eps < inf, eps^(d+2) is within the dtype's range, and all points have one m.
    """
    for array in arrays:
        if not is_array(array) or not array.ndim or array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise UserError(f"points {str(array)[:50]!r}: must be an array (n, m) of real numbers; use numpy.asarray")
        if array.size == 0:
            raise UserError(f"array of shape {array.shape}: contains no points; pass at least one")
    dtype = arrays[0].dtype
    if dtype not in FLOATS or any(array.dtype is not dtype for array in arrays):
        dtype = np.result_type(*(array.dtype for array in arrays))
        dtype = np.dtype(np.result_type(dtype, np.float32) if dtype.kind == "f" else np.float64)
    d, eps = checked_kernel(d, eps, dtype)
    points = {id(array): array.reshape(len(array), -1).astype(dtype, copy=False) for array in arrays}
    if len(sizes := {array.shape[1] for array in points.values()}) > 1:
        raise UserError(f"points of dimensions {sorted(sizes)}: all must live in the same space; use data of one shape")
    return d, eps, *(points[id(array)] for array in arrays)


def checked_kernel(d, eps, dtype) -> tuple[float, Any]:
    """(d, eps) as plain numbers; an eps that lies on a device stays there, and whoever put it there has checked it."""
    if is_array(eps) and on_gpu(eps):
        return float(d), eps.astype(dtype, copy=False)
    try:
        d, eps = float(d), float(eps)
    except (TypeError, ValueError):
        raise UserError(f"d = {d!r:.50}, eps = {eps!r:.50}: must be numbers; use d = 1, eps = 1 for images") from None
    if not 0 < d < np.inf:
        raise UserError(f"d = {d:g}: the kernel's exponent is -d/2 with d > 0; use d = 1 for images, 2 for the plane")
    if not 0 <= eps < np.inf:
        raise UserError(f"eps = {eps:g}: the kernel's width must be >= 0; use the distance at which forces should fade")
    if eps and abs((d + 2) * log(eps)) > LOG_MAX[dtype.name]:
        rule = f"eps^(d+2), the kernel's scale, is beyond the range of {dtype}"
        raise UserError(
            f"eps = {eps:g} with d = {d:g}: {rule}; choose units in which eps is nearer to 1, or a smaller d"
        )
    return d, eps


def is_singular(eps) -> bool:
    """Whether the kernel is infinite at coincident points: eps is the number 0. An eps on a device never is."""
    return not is_array(eps) and eps == 0
