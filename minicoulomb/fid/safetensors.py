"""Tensors out of a .safetensors file.

    8 bytes      n, the header's length, little-endian
    n bytes      JSON: name -> {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, and __metadata__
    the rest     the numbers, little-endian, C order; offsets count from here

Source: github.com/huggingface/safetensors, "Format".
"""

import json
import struct
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np

from minicoulomb.errors import UserError

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}
# The format's own bound.
LONGEST_HEADER = 100_000_000


def read_safetensors(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray]:
    """The tensors by name, of those names that are wanted; UserError for what is no such file or is damaged."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, LONGEST_HEADER):
                raise UserError(
                    f"{path}: its header declares {length} bytes of {size}; it is damaged: download it again"
                )
            header = json.loads(file.read(length))
            start = 8 + length
            entries = {name: entry for name, entry in header.items() if name != "__metadata__" and wanted(name)}
            return {name: _read(path, file, name, entry, start, size) for name, entry in entries.items()}
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); give a .safetensors file") from None
    except Exception as error:  # a header may hold anything
        raise UserError(
            f"{path}: not a .safetensors file ({type(error).__name__}: {error}); download it again"
        ) from None


def _read(path, file, name, entry, start, size):
    if entry["dtype"] not in DTYPES:
        raise UserError(f"{path}: {name} is {entry['dtype']}: must be one of {', '.join(DTYPES)}; convert it to F32")
    dtype, shape, (begin, end) = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"]), entry["data_offsets"]
    numbers = all(isinstance(value, int) and value >= 0 for value in (*shape, begin, end))
    if not numbers or end - begin != prod(shape) * dtype.itemsize or start + end > size:
        raise UserError(
            f"{path}: {name} of shape {shape} at bytes {begin} to {end} of {size - start}; it is damaged: download it "
            "again"
        )
    file.seek(start + begin)
    return np.frombuffer(file.read(end - begin), dtype).reshape(shape)
