"""Arrays saved with NumPy -> a data set.

    uint8   (n, h, w) or (n, h, w, c)   pixels in 0..255, c = 1 or 3
    float   (n, h, w) or (n, h, w, c)   pixels in [-1, 1]
    float   (n, m)                      points

A .npy file stays on disk, memory-mapped; its values are checked in blocks. Nothing is ever unpickled.
"""

import math
import zipfile
from pathlib import Path

import numpy as np

from minicoulomb.data.dataset import ArrayDataset
from minicoulomb.errors import UserError, explained
from minicoulomb.untrusted import array_in, opened

MAGIC = (b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06")  # .npy, .npz, and a .npz without arrays
KEYS = ("images", "x", "data", "arr_0")
DTYPES = (np.uint8, np.float16, np.float32, np.float64)
BLOCK = 2**20  # numbers checked at a time: 8 MiB of float64


def array_dataset(path: Path) -> ArrayDataset:
    """The data set of the array in `path`, named after the file."""
    array = load_array(path)
    scale, bound = (1.0, 1.0) if array.ndim == 4 else _spread(path, array)
    return ArrayDataset(Path(path).stem, array, scale=scale, bound=bound)


def load_array(path: Path) -> np.ndarray:
    """The array in a .npy file (memory-mapped) or a .npz file, checked: images as (n, h, w, c), points as (n, m).

    A .npz file must hold a single array, or one called images, x, data or arr_0. Raises UserError for an array that
    no network can be trained on.
    """
    array = _read(Path(path))
    _check_layout(path, array)
    _check_values(path, array)
    return array[..., None] if array.ndim == 3 else array


def _read(path):
    with explained(f"{path}: cannot be read", "use a .npy or .npz file"), opened(path) as file:
        start = file.read(6)
    if not start.startswith(MAGIC):
        raise UserError(f"{path}: not a .npy or .npz file; write one with numpy.save")
    # Damaged headers and archives raise nearly anything.
    with explained(f"{path}: not a whole array of numbers", "write it again with numpy.save", Exception):
        if not start.startswith(b"PK"):
            return np.load(path, mmap_mode="r", allow_pickle=False)
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            return array_in(archive, _choose(path, names))


def _choose(path, names):
    wanted = tuple(names) if len(names) == 1 else KEYS
    for name in wanted:
        if name in names:
            return name
    listing = ", ".join(sorted(names)) or "nothing"
    raise UserError(f"{path}: holds {listing}: one of the arrays must be called {' or '.join(wanted)}; rename it")


def _check_layout(path, array):
    shape = array.shape
    if array.dtype not in DTYPES:
        raise UserError(f"{path}: dtype {array.dtype}: must be uint8 or native floats; use x.astype(numpy.float32)")
    if array.size == 0:
        raise UserError(f"{path}: shape {shape}: must not be empty; add data")
    if array.ndim == 2 and array.dtype == np.uint8:
        raise UserError(f"{path}: flat pixels {shape}: must be (n, h, w) or (n, h, w, c); use x.reshape(len(x), h, w)")
    if array.ndim not in (2, 3, 4):
        raise UserError(f"{path}: shape {shape}: must be images (n, h, w, c) or points (n, m); reshape it")
    if array.ndim == 4 and shape[3] not in (1, 3):
        if shape[1] in (1, 3):
            raise UserError(f"{path}: shape {shape}: must be NHWC, channels last; use x.transpose(0, 2, 3, 1)")
        raise UserError(f"{path}: {shape[3]} channels: must be 1 (grey) or 3 (colour); use x[..., :3] or x[..., :1]")


def _check_values(path, array):
    if array.dtype == np.uint8:
        return
    for start, block in _blocks(array):
        rows = block.reshape(len(block), -1)
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            row = start + int(finite.argmin())
            raise UserError(f"{path}: row {row} is not finite: values must be numbers; remove rows with NaN or inf")
        if array.ndim > 2 and np.abs(rows).max() > 1:
            row = int((np.abs(rows) > 1).any(axis=1).argmax())
            raise UserError(
                f"{path}: row {start + row} reaches from {rows[row].min():g} to {rows[row].max():g}: "
                "float pixels must lie in [-1, 1]; scale 0..255 by x / 127.5 - 1"
            )


def _spread(path, points):
    """Standard deviation of a coordinate about its column's mean, over all columns; and twice the largest |value|."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sum(block.sum(axis=0, dtype=np.float64) for _, block in _blocks(points)) / len(points)  # (m,)
        variance = sum(float(((block - mean) ** 2).sum()) for _, block in _blocks(points)) / points.size
    if not 0 < variance < math.inf:
        raise UserError(f"{path}: variance {variance:g}: must be positive and finite; use points that differ")
    return math.sqrt(variance), 2 * max(float(np.abs(block).max()) for _, block in _blocks(points))


def _blocks(array):
    """Pairs (index of the first row, consecutive rows), in order."""
    size = max(1, BLOCK * len(array) // array.size)
    for start in range(0, len(array), size):
        yield start, array[start : start + size]
