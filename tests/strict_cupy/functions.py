"""Functions of the array module, with CuPy 14's signatures. Ufuncs are in ufuncs.py."""

import numpy as np

from strict_cupy import capture, memory, record
from strict_cupy.arrays import contract, device_array, elementwise, ndarray, operand, produce, reduction, wrap
from strict_cupy.streams import later, run, wait

__all__ = [
    "abs",
    "all",
    "any",
    "arange",
    "array",
    "asarray",
    "ascontiguousarray",
    "broadcast_to",
    "clip",
    "concatenate",
    "copyto",
    "dot",
    "einsum",
    "empty",
    "empty_like",
    "expand_dims",
    "full",
    "full_like",
    "matmul",
    "max",
    "mean",
    "min",
    "moveaxis",
    "nonzero",
    "ones",
    "ones_like",
    "pad",
    "ravel",
    "reshape",
    "stack",
    "sum",
    "swapaxes",
    "transpose",
    "unique",
    "where",
    "zeros",
    "zeros_like",
]

# Arrays from the host, and fresh ones


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """Of a device array a copy, of NumPy's arrays, numbers and lists an upload."""
    if subok or ndmin:
        raise TypeError("array: the stand-in takes neither subok nor ndmin")
    if type(obj) is ndarray:
        return obj.astype(obj.dtype if dtype is None else dtype, copy=bool(copy))
    if isinstance(obj, list | tuple) and ndarray in map(type, obj):
        raise TypeError("array: a list of device arrays; use stack")
    record.uploads("asarray")
    source = np.array(obj, dtype, order="C" if order in ("K", None) else order)
    result = ndarray(source.shape, source.dtype)
    later(lambda: np.copyto(result._a, source))
    if blocking:
        wait("asarray(blocking=True)")
    return result


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, copy, order, blocking=blocking)


def ascontiguousarray(a, dtype=None):
    value = device_array(a)
    if value.flags.c_contiguous and dtype in (None, value.dtype):
        return a
    return produce("ascontiguousarray", lambda value: np.array(value, dtype, order="C"), value)


def empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype, order=order)


def full(shape, fill_value, dtype=None, order="C"):
    if dtype is None:
        dtype = fill_value.dtype if type(fill_value) is ndarray else np.asarray(operand(fill_value)).dtype
    result = ndarray(shape, dtype, order=order)
    result.fill(fill_value)
    return result


def zeros(shape, dtype=float, order="C"):
    return full(shape, 0, dtype, order)


def ones(shape, dtype=float, order="C"):
    return full(shape, 1, dtype, order)


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    value = device_array(prototype)
    own = order if order in ("C", "F") else "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    return ndarray(value.shape if shape is None else shape, value.dtype if dtype is None else dtype, order=own)


def full_like(a, fill_value, dtype=None, order="K", subok=None, shape=None):
    result = empty_like(a, dtype, order, subok, shape)
    result.fill(fill_value)
    return result


def zeros_like(a, dtype=None, order="K", subok=None, shape=None):
    return full_like(a, 0, dtype, order, subok, shape)


def ones_like(a, dtype=None, order="K", subok=None, shape=None):
    return full_like(a, 1, dtype, order, subok, shape)


def arange(start, stop=None, step=1, dtype=None):
    bounds = (start,) if stop is None else (operand(start), stop, step)
    return produce("arange", lambda: np.arange(*bounds, dtype=dtype))


# Shapes


def reshape(a, newshape, order="C", *, copy=None):
    return a.reshape(newshape, order=order)


def ravel(a, order="C"):
    return a.ravel(order)


def swapaxes(a, axis1, axis2):
    return a.swapaxes(axis1, axis2)


def transpose(a, axes=None):
    return a.transpose(axes)


def moveaxis(a, source, destination):
    return a._view(np.moveaxis(device_array(a), source, destination))


def expand_dims(a, axis):
    return a._view(np.expand_dims(device_array(a), axis))


def broadcast_to(array, shape):
    """A view of which many elements share an address: it can be read."""
    view = np.broadcast_to(device_array(array), shape)
    return array._view(memory.at(memory.address(array._a), view.shape, view.strides, view.dtype))


def as_strided(x, shape=None, strides=None):
    """cupy.lib.stride_tricks.as_strided; MemoryError where the view reaches outside x's memory."""
    value = device_array(x)
    shape, strides = (value.shape if shape is None else shape), (value.strides if strides is None else strides)
    return x._view(memory.at(memory.address(value), tuple(shape), tuple(strides), value.dtype))


def concatenate(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    return _join(np.concatenate, tup, axis, out, dtype, casting)


def stack(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    return _join(np.stack, tup, axis, out, dtype, casting)


def _join(function, arrays, axis, out, dtype, casting):
    values = [device_array(value) for value in arrays]
    capture.refuse(f"{function.__name__}: of many arrays CuPy sends a table of addresses, in memory that it reuses")
    name = function.__name__
    if out is None:
        return produce(name, lambda *values: function(values, axis=axis, dtype=dtype, casting=casting), *values)
    memory.check_target(device_array(out))
    for value in values:
        memory.check_apart(out._a, value, name)
    run(name, lambda out, *values: function(values, axis=axis, out=out, casting=casting), out._a, *values)
    return out


def pad(array, pad_width, mode="constant", **kwargs):
    if mode != "constant" or not kwargs.keys() <= {"constant_values"}:
        raise TypeError("pad: the stand-in has mode='constant' alone")
    value = device_array(array)
    return produce("pad", lambda value: np.pad(value, pad_width, mode, **kwargs), value)


# Numbers


def clip(a, a_min, a_max, out=None):
    return elementwise(np.clip, a, a_min, a_max, out=out)


def where(condition, x=None, y=None):
    if x is None and y is None:
        return condition.nonzero()
    values = [device_array(condition), operand(x), operand(y)]
    return produce("where", np.where, *values)


def copyto(dst, src, casting="same_kind", where=None):
    target, value = device_array(dst), operand(src)
    memory.check_target(target)
    where = True if where is None else device_array(where)
    copy = lambda target, value, where: np.copyto(target, value, casting=casting, where=where)
    run("copyto", copy, target, value, where)


def matmul(a, b, out=None):
    return contract(np.matmul, a, b, out=out)


def dot(a, b, out=None):
    return contract(np.dot, a, b, out=out)


def einsum(subscripts, *operands, dtype=None, optimize=False):
    values = [device_array(value) for value in operands]
    if len(values) > 1:
        capture.refuse_cublas()
    compute = lambda *values: np.array(np.einsum(subscripts, *values, dtype=dtype, optimize=optimize))
    return produce("einsum", compute, *values)


def sum(a, axis=None, dtype=None, out=None, keepdims=False):
    return reduction(np.sum, a, axis, out, keepdims, dtype=dtype)


def mean(a, axis=None, dtype=None, out=None, keepdims=False):
    return reduction(np.mean, a, axis, out, keepdims, dtype=dtype)


def max(a, axis=None, out=None, keepdims=False):
    return reduction(np.max, a, axis, out, keepdims)


def min(a, axis=None, out=None, keepdims=False):
    return reduction(np.min, a, axis, out, keepdims)


def all(a, axis=None, out=None, keepdims=False):
    return reduction(np.all, a, axis, out, keepdims)


def any(a, axis=None, out=None, keepdims=False):
    return reduction(np.any, a, axis, out, keepdims)


def abs(x, out=None):
    return elementwise(np.absolute, x, out=out)


def nonzero(a):
    return a.nonzero()


def unique(ar):
    wait("unique")
    return wrap(np.unique(device_array(ar)))
