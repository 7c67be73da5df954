"""cupy.ElementwiseKernel, run on the CPU: the same grammar, the same choice of types, the same C++ in a loop over i.

    kernel = ElementwiseKernel("T x, raw T y, int32 n, bool flag", "T z", "z = x * y[i % n]", "name")

Stricter than CuPy: raw arrays are contiguous, an index outside one is an IndexError, numbers are Python's and fit
their parameter, an output shares no memory with another argument but element for element, and no two threads touch
the same element of a raw output (unless the code has an atomic function). `compiled` lists every kernel that ran.
"""

import ctypes
import re
from math import prod
from typing import NamedTuple

import numpy as np

from strict_cupy import code, compiler, memory
from strict_cupy.arrays import ndarray, operand
from strict_cupy.streams import run


class Compiled(NamedTuple):
    """A kernel as it met its arguments: all that another compiler needs to compile the same.

    types       the dtype of each letter, ("T", "float32")
    arguments   for each parameter (kind, dtype, ndim, c_contiguous), kind "array", "raw" or "number"
    warnings    what the host's compiler said, such as a float that became a double
    """

    name: str
    in_params: str
    out_params: str
    operation: str
    preamble: str
    types: tuple[tuple[str, str], ...]
    arguments: tuple[tuple[str, str, int, bool], ...]
    warnings: str


compiled: dict[tuple, Compiled] = {}


class ElementwiseKernel:
    """See cupy.ElementwiseKernel. In the code: the parameters, i, _ind.size(), and CUDA's functions (cuda.hpp)."""

    def __init__(
        self,
        in_params,
        out_params,
        operation,
        name="kernel",
        reduce_dims=True,
        preamble="",
        no_return=False,
        return_tuple=False,
    ):
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ValueError(f'Invalid kernel name: "{name}"')
        self.in_params, self.out_params = code.parameters(in_params, False), code.parameters(out_params, True)
        self.params = self.in_params + self.out_params
        names = [parameter.name for parameter in self.params]
        if "i" in names or len(set(names)) < len(names):
            raise ValueError(f"parameters {names}: all must differ, and i is the loop's")
        self.name, self.operation, self.preamble = name, operation, preamble
        self.no_return, self.return_tuple = no_return, return_tuple
        self._texts = in_params, out_params

    def __call__(self, *args, size=None, block_size=128, stream=None):
        """The outputs, new arrays or those given behind the inputs; `size` if and only if all arrays are raw."""
        n_in = len(self.in_params)
        if len(args) not in (n_in, len(self.params)):
            raise TypeError(
                f"Wrong number of arguments for '{self.name}'. It must be either {n_in} or {len(self.params)} "
                f"(with outputs), but given {len(args)}."
            )
        for value in args:
            operand(value)
        shape = self._shape(args, size)
        letters = self._letters(args)
        outs = args[n_in:] or self._new_outputs(shape, letters, size)
        arguments = [*args[:n_in], *outs]
        self._check(arguments, shape)
        values = [value._a if type(value) is ndarray else value for value in arguments]
        compute = self._compiled(arguments, letters, shape) if prod(shape) else lambda *values: None
        run(self.name, compute, *values, stream=stream)
        if self.no_return:
            return None
        return outs[0] if len(outs) == 1 and not self.return_tuple else tuple(outs)

    def _shape(self, args, size):
        """Of the loop: what all arrays broadcast to that are not raw, or (size,)."""
        shapes = [a.shape for p, a in zip(self.params, args) if type(a) is ndarray and not p.raw]
        if size is None:
            if not shapes:
                raise ValueError("Loop size is undecided.")
            return np.broadcast_shapes(*shapes)
        if shapes:
            raise ValueError("Specified 'size' can be used only if all of the ndarray are 'raw'.")
        if type(size) is not int or size < 0:
            raise ValueError(f"size {size!r}: an int >= 0")
        return (size,)

    def _letters(self, args):
        """{letter: dtype} that the arrays decide, outputs before inputs; numbers decide nothing."""
        letters = {}
        n_in = len(self.in_params)
        for parameter, value in [*zip(self.out_params, args[n_in:]), *zip(self.in_params, args)]:
            if type(value) is not ndarray:
                if parameter.output:
                    raise TypeError(f"{parameter.name}: output arguments must be device arrays")
                if parameter.raw:
                    raise TypeError(f"{parameter.name}: raw parameters take arrays")
                continue
            is_letter = len(parameter.type) == 1
            expected = letters.setdefault(parameter.type, value.dtype) if is_letter else np.dtype(parameter.type)
            if value.dtype != expected:
                raise TypeError(f"Type is mismatched. {parameter.name} {value.dtype} {expected} {parameter.type}")
        missing = {p.type for p in self.params if len(p.type) == 1} - letters.keys()
        if missing:
            raise TypeError(f"{self.name}: no array decides the type {', '.join(sorted(missing))}")
        return letters

    def _new_outputs(self, shape, letters, size):
        if size is None and any(parameter.raw for parameter in self.out_params):
            raise ValueError("Output array size is Undecided")
        return tuple(ndarray(shape, parameter.dtype(letters)) for parameter in self.out_params)

    def _check(self, arguments, shape):
        """Contiguous raw arrays, outputs of the loop's shape, and no element in two places where one is written."""
        arrays = {}
        for parameter, value in zip(self.params, arguments):
            if type(value) is not ndarray:
                continue
            if parameter.raw and not value.flags.c_contiguous:
                raise ValueError(f"{self.name}, {parameter.name}: a raw array must be C-contiguous")
            if parameter.output and not parameter.raw and value.shape != shape:
                raise ValueError("Out shape is mismatched")
            arrays[parameter] = value._a if parameter.raw else np.broadcast_to(value._a, shape)
        for output, target in arrays.items():
            if output.output:
                memory.check_target(target)
                for other, array in arrays.items():
                    if other is not output:
                        self._check_apart(output, target, other, array)

    def _check_apart(self, output, target, other, array):
        what = f"{self.name}, {other.name} beside {output.name}"
        if output.raw or other.raw or other.output:
            if np.shares_memory(target, array):
                raise ValueError(f"{what}: they overlap in memory")
        else:
            memory.check_apart(target, array, what)

    def _compiled(self, arguments, letters, shape):
        """The function of NumPy's arrays and numbers that is the kernel."""
        kinds = tuple(
            "number" if type(value) is not ndarray else "raw" if parameter.raw else "array"
            for parameter, value in zip(self.params, arguments)
        )
        dtypes = tuple(str(parameter.dtype(letters)) for parameter in self.params)
        types = tuple(sorted((letter, str(dtype)) for letter, dtype in letters.items()))
        library = compiler.build(code.source(self.params, kinds, dtypes, types, self.operation, self.preamble))
        self._note(arguments, kinds, dtypes, types, library.warnings)

        def compute(*values):
            table, _alive = self._table(values, kinds, dtypes, shape)
            library.run(table.ctypes.data_as(ctypes.c_void_p))
            self._raise(*map(int, table[-1, :4]))

        return compute

    def _table(self, values, kinds, dtypes, shape):
        """The table that the function takes (see code.py), and the arrays that it refers to."""
        layouts = [
            np.broadcast_to(value, shape).strides if kind == "array" else () for kind, value in zip(kinds, values)
        ]
        axes, layouts = _merge(shape, layouts)
        table = np.zeros((len(self.params) + 2, code.ROW), np.int64)
        table[0, :2] = prod(shape), len(axes)
        table[0, code.LAYOUT : code.LAYOUT + len(axes)] = axes
        tracked, alive = "atomic" not in self.operation + self.preamble, []
        for row, parameter, value, kind, dtype, layout in zip(table[1:], self.params, values, kinds, dtypes, layouts):
            array = _number(parameter, value, np.dtype(dtype)) if kind == "number" else value
            if kind == "raw":
                layout = array.shape
                if parameter.output and tracked:
                    alive.append(np.zeros(array.size, np.int64))
                    row[2] = memory.address(alive[-1])
            alive.append(array)
            row[:2] = memory.address(array), array.size
            row[code.LAYOUT : code.LAYOUT + len(layout)] = layout
        return table, alive

    def _raise(self, fault, number, index, other):
        if fault == code.OUTSIDE:
            raise IndexError(f"{self.name}: {self.params[number].name}[{index}] of an array of {other}")
        if fault == code.TOUCHED:
            name = self.params[number].name
            raise ValueError(f"{self.name}: {name}[{index}] is touched by thread {other} and another, in no order")

    def _note(self, arguments, kinds, dtypes, types, warnings):
        layout = lambda kind, value: (0, True) if kind == "number" else (value.ndim, value.flags.c_contiguous)
        described = ((kind, dtype, *layout(kind, value)) for kind, dtype, value in zip(kinds, dtypes, arguments))
        entry = Compiled(self.name, *self._texts, self.operation, self.preamble, types, tuple(described), warnings)
        compiled.setdefault(entry[:-1], entry)


def _number(parameter, value, dtype):
    """A Python number as the parameter's type; TypeError where it loses its fraction or its meaning."""
    allowed = {"b": (bool,), "i": (bool, int), "u": (bool, int), "f": (bool, int, float)}[dtype.kind]
    if type(value) not in allowed:
        raise TypeError(f"{parameter.name} = {value!r}: the parameter is {dtype}")
    return np.array(value, dtype)


def _merge(shape, layouts):
    """The loop's axes and the arrays' strides along them, with neighbours made one where all arrays allow it."""
    axes = []  # [length, strides of each array]
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        strides = [layout[axis] if layout else 0 for layout in layouts]
        if axes and all(outer == inner * n for outer, inner in zip(axes[-1][1], strides)):
            axes[-1] = [axes[-1][0] * n, strides]
        else:
            axes.append([n, strides])
    axes = axes or [[1, [0] * len(layouts)]]
    return [n for n, _ in axes], [[strides[k] for _, strides in axes] for k in range(len(layouts))]
