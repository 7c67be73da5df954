"""The array: what cupy.ndarray can do and minicoulomb needs, and nothing that a GPU would do differently.

It wraps a NumPy array privately. Nothing leaves or enters the device unasked: NumPy's arrays, its scalars and its
functions are refused where CuPy would raise, and also where CuPy would copy in silence. Results have no NumPy scalars
among them, whatever they are reduced to. Fresh memory is garbage.
"""

import operator
from typing import NamedTuple

import numpy as np

from strict_cupy import capture, memory, record
from strict_cupy.cuda import Device, is_pinned
from strict_cupy.streams import later, run, wait


class Flags(NamedTuple):
    c_contiguous: bool
    f_contiguous: bool
    owndata: bool


def _elementwise(function, reflected=False):
    def method(self, other):
        return elementwise(function, *((other, self) if reflected else (self, other)))

    return method


def _in_place(function):
    return lambda self, other: elementwise(function, self, other, out=self)


class ndarray:
    """cupy.ndarray(shape, dtype, memptr, strides, order)."""

    __slots__ = ("__weakref__", "_a", "_buffer")
    __hash__ = None
    __array_ufunc__ = None  # NumPy's operators and ufuncs give up before they ask for the numbers

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is None:
            if strides is not None:
                raise TypeError("ndarray: the stand-in takes strides only together with memptr")
            self._a, self._buffer = memory.allocate(shape, dtype, order)
        else:
            strides = np.empty(shape, dtype).strides if strides is None else strides
            self._a, self._buffer = memory.at(memptr.ptr, shape, strides, dtype), memptr._buffer

    # What an array is

    dtype = property(lambda self: self._a.dtype)
    shape = property(lambda self: self._a.shape)
    strides = property(lambda self: self._a.strides)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    nbytes = property(lambda self: self._a.nbytes)
    itemsize = property(lambda self: self._a.itemsize)
    data = property(lambda self: memory.MemoryPointer(self._a, self._buffer))
    device = property(lambda self: Device(0))
    T = property(lambda self: self._view(self._a.T))

    @property
    def flags(self):
        own = self._a.nbytes == self._buffer.nbytes
        return Flags(self._a.flags.c_contiguous, self._a.flags.f_contiguous, own)

    def __len__(self):
        return len(self._a)

    # From the device to the host

    def get(self, stream=None, order="C", out=None, blocking=True):
        """The numbers on the host. Into pinned memory, with blocking=False, they arrive when somebody waits."""
        if blocking:
            wait("get", stream)
            source = self._a.copy(order=order)
        else:
            source = run("get", np.copy, self._a, stream=stream)
        if out is None:
            return source
        if not isinstance(out, np.ndarray) or out.dtype != self.dtype or out.shape != self.shape:
            raise TypeError(f"out of {out.shape}, {out.dtype}: the array is {self.shape}, {self.dtype}")
        if blocking:
            out[...] = source
        else:
            later(lambda: np.copyto(out, source), stream)
        return out

    def _numbers(self, name):
        wait(name)
        return self._a

    item = lambda self: self._numbers("item").item()
    tolist = lambda self: self._numbers("tolist").tolist()
    __float__ = lambda self: float(self._numbers("float").item())
    __int__ = lambda self: int(self._numbers("int").item())
    __bool__ = lambda self: bool(self._numbers("bool"))
    __repr__ = lambda self: f"strict_cupy.{self._numbers('repr')!r}"
    __str__ = lambda self: str(self._numbers("str"))
    __format__ = lambda self, spec: format(self._numbers("format"), spec)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("implicit conversion of a device array to NumPy: use .get()")

    def __array_function__(self, func, types, args, kwargs):
        raise TypeError(f"numpy.{func.__name__} of a device array: use the array's own library")

    def __reduce__(self):
        raise TypeError("pickling a device array: use .get()")

    # From the host to the device

    def set(self, arr, stream=None):
        """Copy a host array of the same shape and dtype."""
        if not isinstance(arr, np.ndarray) or arr.dtype != self.dtype or arr.shape != self.shape:
            raise TypeError(f"set: takes a NumPy array of shape {self.shape}, {self.dtype}")
        if not self._a.flags.c_contiguous:
            raise RuntimeError("set: cannot set to a non-contiguous array")
        if not (arr.flags.c_contiguous and is_pinned(memory.address(arr), arr.nbytes)):
            record.uploads("set")
            arr = arr.copy()
        target = self._a
        later(lambda: np.copyto(target, arr), stream)

    # Views and copies

    def _view(self, array):
        return wrap(array, self._buffer)

    def _view_or_copy(self, shaped, name):
        """A view of the array that NumPy makes or, where that is new memory, the copy, taken when its turn comes."""
        array = shaped(self._a)
        if np.may_share_memory(self._buffer, array) or not array.size:
            return self._view(array)
        return produce(name, shaped, self._a)

    def reshape(self, *shape, order="C", copy=None):
        shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int | np.integer) else shape
        return self._view_or_copy(lambda a: a.reshape(shape, order=order), "reshape")

    def ravel(self, order="C"):
        return self._view_or_copy(lambda a: a.ravel(order), "ravel")

    def transpose(self, *axes):
        return self._view(self._a.transpose(*axes))

    def swapaxes(self, axis1, axis2):
        return self._view(self._a.swapaxes(axis1, axis2))

    def view(self, dtype=None):
        return self._view(self._a.view() if dtype is None else self._a.view(dtype))

    def copy(self, order="C"):
        return produce("copy", lambda a: a.copy(order=order), self._a, keep_order=True)

    __copy__ = lambda self: self.copy()
    __deepcopy__ = lambda self, memo: self.copy()

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None or subok is not None:
            raise TypeError("astype: CuPy supports neither casting nor subok")
        if not copy and self.dtype == np.dtype(dtype):
            return self
        return produce("astype", lambda a: a.astype(dtype, order=order), self._a, keep_order=True)

    def fill(self, value):
        self[...] = value

    # Elements

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        key, kind = _index(key)
        if kind == "basic":
            return self._view(self._a[key])
        if kind == "mask":
            record.waits("x[mask]")
        zeros = [np.zeros_like(part) if isinstance(part, np.ndarray) else part for part in key]
        return produce("take", lambda a, *key: a[key], self._a, *key, trial=(self._a, *zeros))

    def __setitem__(self, key, value):
        """CuPy counts the true elements of a mask on the host, whatever is assigned to them."""
        key, kind = _index(key)
        value = operand(value)
        if kind == "mask":
            record.waits("x[mask] = ")
        elif kind == "basic":
            memory.check_target(self._a[key])
            if isinstance(value, np.ndarray):
                memory.check_apart(self._a[key], value, "assignment")
        run(
            "copy",
            _assign if kind == "integers" else lambda a, value, *key: a.__setitem__(key, value),
            self._a,
            value,
            *key,
        )

    # Arithmetic

    __add__, __radd__, __iadd__ = _elementwise(np.add), _elementwise(np.add, True), _in_place(np.add)
    __sub__, __rsub__, __isub__ = _elementwise(np.subtract), _elementwise(np.subtract, True), _in_place(np.subtract)
    __mul__, __rmul__, __imul__ = _elementwise(np.multiply), _elementwise(np.multiply, True), _in_place(np.multiply)
    __truediv__, __rtruediv__ = _elementwise(np.divide), _elementwise(np.divide, True)
    __itruediv__ = _in_place(np.divide)
    __pow__, __rpow__, __ipow__ = _elementwise(np.power), _elementwise(np.power, True), _in_place(np.power)
    __and__, __or__ = _elementwise(np.bitwise_and), _elementwise(np.bitwise_or)
    __iand__, __ior__ = _in_place(np.bitwise_and), _in_place(np.bitwise_or)
    __lt__, __le__, __gt__ = _elementwise(np.less), _elementwise(np.less_equal), _elementwise(np.greater)
    __ge__, __eq__, __ne__ = _elementwise(np.greater_equal), _elementwise(np.equal), _elementwise(np.not_equal)
    __neg__ = lambda self: elementwise(np.negative, self)
    __abs__ = lambda self: elementwise(np.absolute, self)
    __invert__ = lambda self: elementwise(np.invert, self)
    __matmul__ = lambda self, other: contract(np.matmul, self, other)
    __rmatmul__ = lambda self, other: contract(np.matmul, other, self)

    def dot(self, b, out=None):
        return contract(np.dot, self, b, out=out)

    # Reductions

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        return reduction(np.sum, self, axis, out, keepdims, dtype=dtype)

    def mean(self, axis=None, dtype=None, out=None, keepdims=False):
        return reduction(np.mean, self, axis, out, keepdims, dtype=dtype)

    def max(self, axis=None, out=None, keepdims=False):
        return reduction(np.max, self, axis, out, keepdims)

    def min(self, axis=None, out=None, keepdims=False):
        return reduction(np.min, self, axis, out, keepdims)

    def all(self, axis=None, out=None, keepdims=False):
        return reduction(np.all, self, axis, out, keepdims)

    def any(self, axis=None, out=None, keepdims=False):
        return reduction(np.any, self, axis, out, keepdims)

    def nonzero(self):
        return tuple(wrap(indices) for indices in np.nonzero(self._numbers("nonzero")))


def _assign(a, value, *key):
    """Through an index of integers, which must differ."""
    places = np.arange(a.size).reshape(a.shape)[key]
    if len(np.unique(places)) < places.size:
        raise ValueError("assignment through an index with duplicates: on a GPU the last one is any of them")
    a[key] = value


def produce(name, function, *operands, keep_order=False, trial=None) -> ndarray:
    """A kernel whose result, function(*operands), is a new array.

    In capture the result is garbage until a launch; it has the shape and dtype of function(*trial).
    """
    if not capture.active():
        return wrap(run(name, function, *operands), keep_order=keep_order)
    with np.errstate(all="ignore"):
        like = np.asarray(function(*(trial or operands)))
    by_columns = keep_order and like.flags.f_contiguous and not like.flags.c_contiguous
    result = ndarray(like.shape, like.dtype, order="F" if by_columns else "C")
    run(name, lambda target, *operands: np.copyto(target, function(*operands)), result._a, *operands)
    return result


def wrap(array, buffer=None, keep_order=False) -> ndarray:
    """The array over NumPy's, a view of `buffer` or what NumPy just computed."""
    array = np.asarray(array)
    own = object.__new__(ndarray)
    if buffer is not None:
        own._a, own._buffer = array, buffer
    elif keep_order and array.flags.f_contiguous:
        transposed, own._buffer = memory.adopt(array.T)
        own._a = transposed.T
    else:
        own._a, own._buffer = memory.adopt(array)
    return own


def operand(value):
    """What NumPy is given for an argument of a device function: a wrapped array, or a Python number."""
    if type(value) is ndarray:
        return value._a
    if type(value) in (bool, int, float):
        return value
    if isinstance(value, np.ndarray):
        raise TypeError(f"NumPy array of shape {value.shape} among device arrays: move it with asarray")
    if isinstance(value, np.generic):
        raise TypeError(f"NumPy scalar {value!r} among device arrays: only Python's numbers keep the array's dtype")
    raise TypeError(f"{type(value).__name__} among device arrays: takes arrays and Python's numbers")


def device_array(value) -> np.ndarray:
    """The wrapped array; TypeError for anything else."""
    if type(value) is not ndarray:
        operand(value)
        raise TypeError(f"{value!r}: takes a device array")
    return value._a


def _target(out):
    """The wrapped array to write to, or None."""
    if out is None:
        return None
    memory.check_target(device_array(out))
    return out._a


def elementwise(function, *operands, out=None, dtype=None, casting="same_kind"):
    """A NumPy ufunc. Operands that overlap `out` are copied first, as CuPy does."""
    values, name = [operand(value) for value in operands], function.__name__
    if out is None:
        return produce(name, lambda *values: function(*values, dtype=dtype, casting=casting), *values)
    compute = lambda target, *values: function(*values, out=target, dtype=dtype, casting=casting)
    run(name, compute, _target(out), *values)
    return out


def reduction(function, a, axis, out, keepdims, **options):
    """A NumPy reduction; the result has axes or none, but is never a NumPy scalar."""
    value, name = device_array(a), function.__name__
    if out is None:
        return produce(name, lambda value: function(value, axis=axis, keepdims=keepdims, **options), value)
    compute = lambda target, value: function(value, axis=axis, out=target, keepdims=keepdims, **options)
    run(name, compute, _target(out), value)
    return out


def contract(function, a, b, out=None):
    """A product of arrays; `dot` writes only where CuPy's does, into a contiguous array of the result's dtype."""
    values, target = [device_array(a), device_array(b)], _target(out)
    if (
        function is np.dot
        and out is not None
        and not (out.flags.c_contiguous and out.dtype == np.promote_types(a.dtype, b.dtype))
    ):
        raise ValueError("dot: out must be C-contiguous and of the result's dtype")
    capture.refuse_cublas()
    result = run(function.__name__, lambda *values: function(*values, out=target), *values)
    return wrap(result) if out is None else out


def _index(key):
    """(NumPy's index, which always leaves an array; "basic", "mask" or "integers")."""
    kind, parts = "basic", []
    for part in key if isinstance(key, tuple) else (key,):
        if type(part) is ndarray:
            kind = "mask" if part.dtype == bool else kind if kind == "mask" else "integers"
            parts.append(part._a)
        elif part is None or part is Ellipsis or isinstance(part, slice):
            parts.append(part)
        elif isinstance(part, bool | np.ndarray | list | tuple):
            raise TypeError(f"{type(part).__name__} as an index: takes integers, slices and device arrays")
        else:
            parts.append(operator.index(part))
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)
    return tuple(parts), kind
