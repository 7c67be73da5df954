"""CIFAR-10 as its web page distributes it, in the binary and in the Python format, as a folder or as the .tar.gz.

    data_batch_1.bin    records of 3073 bytes: a label 0..9, then 32x32 reds row by row, greens, blues
    data_batch_1        a pickled dict: `data` (n, 3072) uint8, a row as above without its label; `labels`, a list

The five training batches are read, 50,000 images; the test batch is left for tests. An entry is one image, its name
batch/row and its `where` the position and size of its batch in the archive (position 0 in a folder), its row and its
label.

A pickle is a program. Python's pickle does not run it; untrusted.py does, which builds dicts, lists, numbers and
strings. Arrays are built here: every other name that it asks for is refused, and not even NumPy is called.
"""

import io
import re
from collections.abc import Iterable
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from minicoulomb.data.archives import FILES, Tar
from minicoulomb.data.source import LARGEST, Entry, Source
from minicoulomb.errors import UserError, explained
from minicoulomb.untrusted import unpickled

SIDE, CLASSES = 32, 10
# Bytes of a pickled batch, which is copied twice: two of the 31 MB that each has.
LONGEST_PICKLE = 2**26
PIXELS = 3 * SIDE * SIDE
BATCH_NAME = re.compile(r"(?:.*/)?(data_batch_\d+(?:\.bin)?)")
# The folders in the two archives.
FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")
# A file in each of CIFAR-100's archives.
CIFAR_100 = ("cifar-100-binary/train.bin", "cifar-100-python/train")


class Cifar(Source):
    """The training images of CIFAR-10: a folder that holds the batches, or the archive."""

    kind = "cifar10"
    size = SIDE

    def __init__(self, path):
        super().__init__(path)
        self.folder = batches_folder(self.path) if self.path.is_dir() else None

    def stamp(self):
        return None if self.folder else super().stamp()

    def entries(self):
        with self.readable(), self._opened() as archive:
            for name, position, size in self._batches(archive):
                try:
                    images, labels = _parse(name, self._content(archive, name, position, size))
                except UserError as error:
                    yield Entry(name, size, [position, size, 0], str(error))
                    continue
                for row in range(len(images)):
                    where = [position, size, row, int(labels[row])]
                    refused = (
                        "" if 0 <= labels[row] < CLASSES else f"label {labels[row]}: must be 0 to 9; fetch it again"
                    )
                    yield Entry(f"{name}/{row:05d}", PIXELS + 1, where, refused)

    @contextmanager
    def reader(self):
        batch, images = None, None
        with self._opened() as archive:

            def read(entry):
                nonlocal batch, images
                name, (position, size, row, _) = entry.name.split("/")[0], entry.where
                if name != batch:
                    images, _ = _parse(name, self._content(archive, name, position, size))
                    batch = name
                return images[row].reshape(3, SIDE, SIDE).transpose(1, 2, 0)  # (32, 32, 3)

            yield read

    def _opened(self):
        return nullcontext() if self.folder else Tar(self.path).opened()

    def _batches(self, archive):
        """(name, position, size) of each batch; only of the binary ones if both formats are present."""
        if self.folder:
            paths = [path for path in self.folder.iterdir() if holds_batches([path.name]) and path.is_file()]
            found = [(path.name, 0, path.stat().st_size) for path in paths]
        else:
            members = ((member, BATCH_NAME.fullmatch(member.name)) for member in Tar(self.path).members(archive))
            found = [(match[1], m.position, m.size) for m, match in members if match and m.kind in FILES]
        binary = [batch for batch in found if batch[0].endswith(".bin")]
        return binary or found

    def _content(self, archive, name, position, size):
        if size > LARGEST:
            raise UserError(f"{size:,} bytes: no batch may have more than {LARGEST:,}; fetch it again")
        if archive:
            return Tar(self.path).content(archive, position, size)
        with explained("cannot be read", "make it readable"), (self.folder / name).open("rb") as file:
            return file.read(size)


def batches_folder(path: Path) -> Path | None:
    """The folder with batches: `path` itself, or the one in it that has the name from the archive."""
    names = [f"data_batch_{number}{suffix}" for number in range(1, 6) for suffix in ("", ".bin")]
    folders = [path, *(path / name for name in FOLDERS)]
    # A folder of images may hold millions of files, so it is not listed.
    return next((folder for folder in folders if any((folder / name).is_file() for name in names)), None)


def holds_batches(names: list[str]) -> bool:
    """Whether one of the names is that of a batch."""
    return any(BATCH_NAME.fullmatch(name) for name in names)


def check_no_cifar_100(path: Path, names: Iterable[str] = ()) -> None:
    """UserError for CIFAR-100: a folder, the folder in it, or an archive with these names."""
    files = [folder / name for name in CIFAR_100 for folder in (path, path.parent)]
    if any(path in file.parents and file.is_file() for file in files) or any(
        name.endswith(CIFAR_100) for name in names
    ):
        raise UserError(f"{path}: CIFAR-100: must be CIFAR-10; or write its images as an array with numpy.save")


def _parse(name, content):
    """A batch: (images (n, 3072) uint8, their labels)."""
    if name.endswith(".bin"):
        if len(content) % (PIXELS + 1):
            raise UserError(f"{len(content):,} bytes: must be records of {PIXELS + 1}; it is cut short, fetch it again")
        records = np.frombuffer(content, np.uint8).reshape(-1, PIXELS + 1)
        return records[:, 1:], records[:, 0]
    batch = unpickle(content)
    # Python 2 wrote the keys as text without an encoding; another program may have written bytes.
    batch = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    images, labels = batch.get("data"), batch.get("labels")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (PIXELS,):
        raise UserError(f"its data: must be an array (n, {PIXELS}) of uint8; fetch it again")
    if not isinstance(labels, list) or len(labels) != len(images) or not all(isinstance(x, int) for x in labels):
        raise UserError(f"its labels: must be a list of {len(images)} numbers; fetch it again")
    return images, labels


def unpickle(content: bytes):
    """The numbers, strings, lists and uint8 arrays in the dict of a pickle, as NumPy wrote them in protocol 2 or 4.

    Raises UserError if the pickle asks for anything else, or is damaged.
    """
    if len(content) > LONGEST_PICKLE:
        raise UserError(f"{len(content):,} bytes: at most {LONGEST_PICKLE:,} for a pickle; use the binary format")
    with explained("not a whole pickle", "fetch it again", Exception):  # damaged pickles raise nearly anything
        value = unpickled(io.BytesIO(content), STAND_INS)
        if not isinstance(value, dict):
            raise UserError(f"holds a {type(value).__name__}: must be a dict of data and labels; fetch it again")
        return {key: getattr(item, "array", item) for key, item in value.items()}


class _Array:
    """Stands in for numpy's _reconstruct, whose result receives (version, shape, dtype, Fortran order, bytes)."""

    array = None

    def __init__(self, *_):
        pass

    def __setstate__(self, state):
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype) or dtype.name not in ("u1", b"u1"):
            raise UserError("holds an array that is not of uint8; fetch it again")
        content = content.encode("latin-1") if isinstance(content, str) else content
        self.array = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Dtype:
    def __init__(self, name, *_):
        self.name = name

    def __setstate__(self, state):
        pass  # the byte order, of single bytes


def _latin1(text, encoding):
    if encoding != "latin1":
        raise UserError("asks for another encoding: must be latin1; it is not a CIFAR-10 batch")
    return text.encode("latin-1")


STAND_INS = {
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "_codecs.encode": _latin1,  # Python 3 writes bytes for Python 2 in this way
}
