"""cupy.ElementwiseKernel, run on the CPU: the same grammar, the same choice of types, the same C++ in a loop over i.

    kernel = ElementwiseKernel("T x, raw T y, int32 n, bool flag", "T z", "z = x * y[i % n]", "name")

Stricter than CuPy: raw arrays are contiguous, an index outside one is an IndexError, numbers are Python's and fit
their parameter, an output shares no memory with another argument but element for element, and no two threads touch
the same element of a raw output (unless the code has an atomic function). `compiled` lists every kernel that ran.
"""

import re
from functools import cache
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from strict_cupy import compiler, memory
from strict_cupy.arrays import ndarray, operand
from strict_cupy.streams import launch

TYPES = {
    "float64": "double",
    "float32": "float",
    "int64": "long long",
    "int32": "int",
    "int16": "short",
    "int8": "signed char",
    "uint64": "unsigned long long",
    "uint32": "unsigned int",
    "uint16": "unsigned short",
    "uint8": "unsigned char",
    "bool": "bool",
}
ROW, LAYOUT = 40, 8  # as in cuda.hpp
_PRELUDE = Path(__file__).with_name("cuda.hpp").read_text()


class Parameter(NamedTuple):
    """One of a kernel's: `type` is a letter or the name of a dtype."""

    name: str
    type: str
    raw: bool
    output: bool


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
        self.in_params, self.out_params = _parse(in_params, False), _parse(out_params, True)
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
        types = self._types(args)
        outs = args[n_in:] or self._new_outputs(shape, types, size)
        arguments = [*args[:n_in], *outs]
        self._check(arguments, shape)
        launch(self.name, stream)
        if prod(shape):
            self._run(arguments, types, shape)
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

    def _types(self, args):
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

    def _dtype(self, parameter, types):
        return types[parameter.type] if len(parameter.type) == 1 else np.dtype(parameter.type)

    def _new_outputs(self, shape, types, size):
        if size is None and any(parameter.raw for parameter in self.out_params):
            raise ValueError("Output array size is Undecided")
        return tuple(ndarray(shape, self._dtype(parameter, types)) for parameter in self.out_params)

    def _check(self, arguments, shape):
        arrays = [
            (p, value._a if p.raw else np.broadcast_to(value._a, shape))
            for p, value in zip(self.params, arguments)
            if type(value) is ndarray
        ]
        for parameter, array in arrays:
            if parameter.raw and not array.flags.c_contiguous:
                raise ValueError(f"{self.name}, {parameter.name}: a raw array must be C-contiguous")
            if not parameter.output:
                continue
            if not parameter.raw and arguments[self.params.index(parameter)].shape != shape:
                raise ValueError("Out shape is mismatched")
            memory.check_target(array)
            for other, operand_ in arrays:
                if other is not parameter:
                    both_raw_or_not = parameter.raw == other.raw and not (parameter.raw or other.output)
                    what = f"{self.name}, {other.name} beside {parameter.name}"
                    if both_raw_or_not:
                        memory.check_apart(array, operand_, what)
                    elif np.shares_memory(array, operand_):
                        raise ValueError(f"{what}: they overlap in memory")

    def _run(self, arguments, types, shape):
        dtypes = [self._dtype(parameter, types) for parameter in self.params]
        kinds = tuple(
            "number" if type(value) is not ndarray else "raw" if parameter.raw else "array"
            for parameter, value in zip(self.params, arguments)
        )
        layouts = [
            np.broadcast_to(value._a, shape).strides if kind == "array" else () for kind, value in zip(kinds, arguments)
        ]
        axes, layouts = _merge(shape, layouts)
        table = np.zeros((len(self.params) + 2, ROW), np.int64)
        table[0, :2] = prod(shape), len(axes)
        table[0, LAYOUT : LAYOUT + len(axes)] = axes
        alive = []
        tracked = "atomic" not in self.operation + self.preamble
        for row, parameter, kind, value, dtype, strides in zip(
            table[1:], self.params, kinds, arguments, dtypes, layouts
        ):
            if kind == "number":
                value = _number(parameter, value, dtype)
            if kind == "raw" and parameter.output and tracked:
                touched = np.zeros(value.size, np.int64)
                alive.append(touched)
                row[2] = memory.address(touched)
            array = value if kind == "number" else value._a
            alive.append(array)
            row[:2] = memory.address(array), array.size
            layout = strides if kind == "array" else array.shape
            row[LAYOUT : LAYOUT + len(layout)] = layout
        library = compiler.build(self._source(kinds, tuple(map(str, dtypes)), tuple(sorted(types.items()))))
        self._note(kinds, dtypes, types, arguments, library.warnings)
        library.run(table.ctypes.data_as(compiler.ctypes.c_void_p))
        self._raise(*map(int, table[-1, :4]))

    def _raise(self, fault, number, index, other):
        if fault == 1:
            raise IndexError(f"{self.name}: {self.params[number].name}[{index}] of an array of {other}")
        if fault == 2:
            name = self.params[number].name
            raise ValueError(f"{self.name}: {name}[{index}] is touched by thread {other} and another, in no order")

    def _source(self, kinds, dtypes, types):
        return _source(self.params, kinds, dtypes, types, self.operation, self.preamble)

    def _note(self, kinds, dtypes, types, arguments, warnings):
        entry = Compiled(
            self.name,
            *self._texts,
            self.operation,
            self.preamble,
            tuple(sorted((letter, str(dtype)) for letter, dtype in types.items())),
            tuple(
                (kind, str(dtype), *((0, True) if kind == "number" else (value.ndim, value.flags.c_contiguous)))
                for kind, dtype, value in zip(kinds, dtypes, arguments)
            ),
            warnings,
        )
        compiled.setdefault(entry[:-1], entry)


@cache
def _parse(text, output):
    """The parameters in "raw T x, int32 n"."""
    parameters = []
    for part in text.split(",") if text.strip() else []:
        *keywords, kind, name = part.split()
        if keywords not in ([], ["raw"]):
            raise ValueError(f'Unknown keyword in "{part.strip()}"')
        if len(kind) > 1:
            kind = str(np.dtype(kind))
            if kind not in TYPES:
                raise ValueError(f'Unknown type in "{part.strip()}"')
        parameters.append(Parameter(name, kind, bool(keywords), output))
    return tuple(parameters)


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


@cache
def _source(params, kinds, dtypes, types, operation, preamble):
    """The kernel as a C++ function of the table."""
    typedefs = "".join(f"typedef {TYPES[str(dtype)]} {letter};\n" for letter, dtype in types)
    before, each = "", ""
    for number, (parameter, kind, dtype) in enumerate(zip(params, kinds, dtypes)):
        row, const = f"(table_ + {(number + 1) * ROW})", "" if parameter.output else "const "
        ctype = f"{const}{TYPES[dtype]}"
        if kind == "raw":
            before += f"    {const}Raw<{ctype}> {parameter.name}({row}, {number});\n"
        elif kind == "number":
            before += f"    {ctype} {parameter.name} = *({ctype} *){row}[0];\n"
        else:
            address = f"({row}[0] + offset_(i, table_, {row}))"
            each += f"        {ctype} &{parameter.name} = *({ctype} *){address};\n"
    return f"""{_PRELUDE}
{typedefs}{preamble}
extern "C" void run(const ptrdiff_t *table_) {{
    fault_ = (Fault *)(table_ + {(len(params) + 1) * ROW});
    const Indexer _ind = {{table_[0]}};
{before}    for (ptrdiff_t i = 0; i < _ind.size(); ++i) {{
        thread_ = i;
{each}{operation};
    }}
}}
"""
