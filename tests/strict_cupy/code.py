"""A kernel's parameters, and the C++ function that its code becomes.

The function takes one table of 64-bit integers: a row for the loop (how often, number of axes, -, and from LAYOUT on
the axes), one for each parameter (address, size, address of `touched`, and from LAYOUT on the strides in bytes, or a
raw array's shape), and one for what went wrong (kind, parameter, index, another number), 0 where nothing did.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROW, LAYOUT = 40, 8  # as in cuda.hpp
OUTSIDE, TOUCHED = 1, 2  # kinds of faults
PRELUDE = Path(__file__).with_name("cuda.hpp").read_text()
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


class Parameter(NamedTuple):
    """One of a kernel's: `type` is a letter or the name of a dtype."""

    name: str
    type: str
    raw: bool
    output: bool

    def dtype(self, letters) -> np.dtype:
        return letters[self.type] if len(self.type) == 1 else np.dtype(self.type)


@cache
def parameters(text: str, output: bool) -> tuple[Parameter, ...]:
    """Those in "raw T x, int32 n"."""
    found = []
    for part in text.split(",") if text.strip() else []:
        *keywords, kind, name = part.split()
        if keywords not in ([], ["raw"]):
            raise ValueError(f'Unknown keyword in "{part.strip()}"')
        if len(kind) > 1:
            kind = str(np.dtype(kind))
            if kind not in TYPES:
                raise ValueError(f'Unknown type in "{part.strip()}"')
        found.append(Parameter(name, kind, bool(keywords), output))
    return tuple(found)


@cache
def source(params, kinds, dtypes, letters, operation, preamble) -> str:
    """C++ for parameters that are an "array", a "raw" one or a "number"; letters (("T", "float32"), ...)."""
    typedefs = "".join(f"typedef {TYPES[dtype]} {letter};\n" for letter, dtype in letters)
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
    return f"""{PRELUDE}
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
