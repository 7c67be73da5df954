"""Arrays saved with NumPy, and tables -> a data set.

    uint8   (n, h, w) or (n, h, w, c)   pixels in 0..255, c = 1 or 3
    float   (n, h, w) or (n, h, w, c)   pixels in [-1, 1]
    float   (n, m) or (n,)              points; integers, too
    .csv, .tsv                          points, a row each (tables.py)

A .npy file stays on disk, memory-mapped; its values are checked in blocks. Of more than READ numbers, evenly spaced
blocks are checked before training, and all others when they are drawn. Nothing is ever unpickled.

The location and the scale of points are the mean and the standard deviation of those points that are not far: at most
FAR times as far from the medians of the coordinates as 90% of all points. For nearly all data these are all points. A
single wrong number moves a mean and a standard deviation as far as it likes, but no median and no quantile; and only
mean and standard deviation describe points in a few clusters as well as points in one. For a Gaussian in the plane, far
is 21 standard deviations away.
"""

import math
import zipfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from minicoulomb.arrays.rng import rng_for
from minicoulomb.data.dataset import ArrayDataset, to_pixels
from minicoulomb.data.source import Entry, Source
from minicoulomb.data.tables import is_table, read_table
from minicoulomb.errors import UserError, explained
from minicoulomb.untrusted import array_in, opened

MAGIC = (b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06")  # .npy, .npz, and a .npz without arrays
KEYS = ("images", "x", "data", "arr_0")
DTYPES = (np.uint8, np.float16, np.float32, np.float64)
LONGEST_HEADER = 2**14
BLOCK = 2**20  # numbers checked at a time: 8 MiB of float64
READ = 2**28  # numbers checked at most before training starts: a second
MEDIAN_ROWS = 10_000  # rows that medians and quantiles are found from, at most
FAR = 10
FARTHEST = 1e6  # in units of the scale; its fourth power is that of Adam's second moments
FEW, MANY = 200, 100  # points and coordinates that get a remark
UNLIKE = 20  # ratio of columns' standard deviations from which there is a remark
REPEATED = 0.2  # share of points equal to others from which there is a remark
LEAST, MOST = 1e-15, 1e15  # standard deviations: float32 holds eps^d of these


def array_dataset(path: Path) -> ArrayDataset:
    """The data set of the array in `path`, named after the file."""
    array = load_array(path)
    space, remarks = _spread(path, array) if array.ndim == 2 else ({}, [])
    dataset = ArrayDataset(Path(path).stem, array, **space)
    if _stride(array) > 1 and array.dtype != np.uint8:
        dataset.check = partial(_check_rows, path)
        remarks.append(f"one in {_stride(array)} blocks of rows is checked now, the others when they are drawn")
    dataset.remark = f"{path}: {'; '.join(remarks)}" if remarks else None
    return dataset


class Rows(Source):
    """The images of an array, to be cut and resized like files."""

    kind = "array"

    def __init__(self, path, size, channels):
        super().__init__(path)
        self.size, self.channels = size, channels

    def entries(self):
        array = load_array(self.path)
        for i in range(len(array)):
            yield Entry(f"{i:012}", array[i].nbytes, [i])

    @contextmanager
    def reader(self):
        array = load_array(self.path)
        channels = 0 if self.channels == 1 else slice(None)  # Pillow's grey images are (h, w)
        yield lambda entry: to_pixels(array[entry.where[0]][..., channels])


def load_array(path: Path) -> np.ndarray:
    """The array in a .npy file (memory-mapped) or a .npz file, checked: images as (n, h, w, c), points as (n, m).

    A .npz file must hold a single array, or one called images, x, data or arr_0. Raises UserError for an array that
    no network can be trained on.
    """
    array = _read(Path(path))
    _check_layout(path, array)
    _check_values(path, array)
    return array[..., None] if array.ndim in (1, 3) else array


def _read(path):
    if is_table(path):
        return read_table(path)
    with explained(f"{path}: cannot be read", "use a .npy or .npz file"), opened(path) as file:
        start = file.read(12)
    if not start.startswith(MAGIC):
        raise UserError(f"{path}: not a .npy or .npz file; write one with numpy.save, or name a table .csv or .tsv")
    # Damaged headers and archives raise nearly anything.
    with explained(f"{path}: not a whole array of numbers", "write it again with numpy.save", Exception):
        if not start.startswith(b"PK"):
            header = int.from_bytes(start[8 : 10 if start[6] == 1 else 12], "little")
            if header > LONGEST_HEADER:
                raise UserError(f"{path}: declares a header of {header:,} bytes: must have about 100; it is damaged")
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
    shape, dtype = array.shape, array.dtype
    if dtype not in DTYPES and not (array.ndim < 3 and np.issubdtype(dtype, np.integer) and dtype.isnative):
        rule = "images must be uint8 or native floats, points native floats or integers; use x.astype(numpy.float32)"
        raise UserError(f"{path}: dtype {f'{dtype}':.200}: {rule}")
    if array.size == 0:
        raise UserError(f"{path}: shape {shape}: must not be empty; add data")
    if array.ndim < 3 and dtype == np.uint8:
        rule = "images must be (n, h, w) or (n, h, w, c); use x.reshape(len(x), h, w), or x.astype(float) for points"
        raise UserError(f"{path}: flat pixels {shape}: {rule}")
    if array.ndim not in (1, 2, 3, 4):
        raise UserError(f"{path}: shape {shape}: must be images (n, h, w, c) or points (n, m) or (n,); reshape it")
    if array.ndim == 3 and shape[2] in (3, 4) and min(shape[:2]) > 4:
        raise UserError(f"{path}: shape {shape}: one image: must be several, (n, h, w, c); use numpy.stack(images)")
    if array.ndim == 4 and shape[3] not in (1, 3):
        if shape[1] in (1, 3):
            raise UserError(f"{path}: shape {shape}: must be NHWC, channels last; use x.transpose(0, 2, 3, 1)")
        raise UserError(f"{path}: {shape[3]} channels: must be 1 (grey) or 3 (colour); use x[..., :3] or x[..., :1]")


def _check_values(path, array):
    if array.dtype == np.uint8:
        return
    low, high = math.inf, -math.inf
    for start, block in _blocks(array):
        _check_rows(path, block, start + np.arange(len(block)))
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    if array.ndim > 2 and 0 <= low < high <= 1:
        raise UserError(
            f"{path}: pixels from {low:g} to {high:g}: must use all of [-1, 1]; use 2 * x - 1, or save uint8"
        )


def _check_rows(path, rows, index):
    """UserError for a value in rows (n, ...), the array's at `index`, that no network can be trained on."""
    flat = rows.reshape(len(rows), -1)
    finite = np.isfinite(flat).all(axis=1)
    if not finite.all():
        row = index[finite.argmin()]
        raise UserError(f"{path}: row {row} is not finite: values must be numbers; remove rows with NaN or inf")
    if rows.ndim > 2 and max(flat.max(), -flat.min()) > 1:
        i = int((np.abs(flat) > 1).any(axis=1).argmax())
        formula = "x / 127.5 - 1" if 0 <= flat.min() <= flat.max() <= 255 else "x / numpy.abs(x).max()"
        raise UserError(
            f"{path}: row {index[i]} reaches from {flat[i].min():g} to {flat[i].max():g}: "
            f"float pixels must lie in [-1, 1]; use {formula}"
        )


def _spread(path, points):
    """Scale, bound and location of points (n, m) by name, and remarks on them.

    The scale is the standard deviation of a coordinate about its column's mean, over all columns.
    """
    rows = np.sort(rng_for(0, "data").choice(len(points), min(len(points), MEDIAN_ROWS), replace=False))
    sample, far = np.asarray(points[rows], np.float64), []
    _check_rows(path, sample, rows)  # of a large array only some blocks were
    n, total, squares, reach, farthest = 0, 0.0, 0.0, 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        middle = np.median(sample, axis=0)
        limit = FAR * np.quantile(np.linalg.norm(sample - middle, axis=1), 0.9, method="lower") or math.inf
        for start, block in _blocks(points):
            offsets = block - middle
            distance = np.linalg.norm(offsets, axis=1)
            near, farthest = distance <= limit, max(farthest, float(distance.max()))
            far.append(start + np.flatnonzero(~near))
            offsets = offsets[near]
            n, total, squares = n + len(offsets), total + offsets.sum(axis=0), squares + float((offsets**2).sum())
            reach = max(reach, float(np.abs(offsets).max(initial=0)))
        mean = total / n  # less the middle
        variance = squares / (n * points.shape[1]) - float((mean**2).mean())
    if not LEAST**2 < variance < MOST**2:
        rule = f"must be between {LEAST**2:g} and {MOST**2:g}; use points that differ, or another unit"
        raise UserError(f"{path}: variance {variance:g}: {rule}")
    scale, strays, remarks = math.sqrt(variance), np.concatenate(far), []
    if farthest > FARTHEST * scale:
        where = f"{farthest:.2g} away from the others, whose scale is {scale:.2g}; remove such rows"
        raise UserError(f"{path}: row {strays[0]} is the first that is too far: points lie up to {where}")
    if len(strays):
        remarks.append(
            f"{len(strays):,} of the points lie far from all others, the first in row {strays[0]}; scale and eps are "
            "those of the others, but a few such points disturb training: remove them if they are wrong"
        )
    remarks += _peculiarities(points, sample[np.linalg.norm(sample - middle, axis=1) <= limit])
    step = float(np.spacing(np.abs(middle).max().astype(points.dtype)))
    if step > scale / 100:
        remarks.append(
            f"{points.dtype} has steps of {step:.2g} here, the points a scale of {scale:.2g}; centre them first"
        )
    return {"scale": scale, "bound": 2 * reach, "location": tuple((middle + mean).tolist())}, remarks


def _peculiarities(points, sample):
    """Remarks on points (n, m) of which `sample` are some: what training can do nothing about."""
    (n, m), spreads, remarks = points.shape, sample.std(axis=0), []
    if n < FEW:
        remarks.append(f"{n} points are few: samples may copy them, and metrics say little; add points")
    if m > MANY:
        remarks.append(f"{m} coordinates are many for these settings; make images of pixels, or use fewer")
    low, high = np.where(spreads > 0, spreads, math.inf).argmin(), spreads.argmax()
    if spreads[high] > UNLIKE * spreads[low] > 0:
        columns = f"{spreads[low]:.2g} (column {low + 1}) to {spreads[high]:.2g} (column {high + 1})"
        remarks.append(
            f"columns have standard deviations from {columns}: distances hardly depend on the small ones; where units "
            "differ, divide each column by its own"
        )
    whole = np.flatnonzero((sample == np.rint(sample)).all(axis=0) & (spreads > 0))
    if 0 < len(whole) < m:
        which = ", ".join(map(str, whole[:5] + 1)) + ", ..." * (len(whole) > 5)
        remarks.append(f"only whole numbers in column {which}: leave it out if it is an index or a label")
    if (share := 1 - len(np.unique(sample, axis=0)) / len(sample)) > REPEATED:
        remarks.append(f"{share:.0%} of the points repeat others: a generator draws no such heaps exactly")
    return remarks


def _blocks(array):
    """Pairs (index of the first row, consecutive rows), in order: all rows, or evenly spaced blocks of READ numbers."""
    size = max(1, BLOCK * len(array) // array.size)
    for start in range(0, len(array), size * _stride(array)):
        yield start, array[start : start + size]


def _stride(array):
    """Of how many blocks one is checked before training starts."""
    return -(-array.size // READ)
