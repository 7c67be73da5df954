"""LSUN as it is distributed: an LMDB of encoded images, bedroom_train_lmdb/data.mdb.

A key is 40 hexadecimal digits, a value one JPEG or WebP file. LMDB keeps its keys sorted and maps its file into
memory, so listing reads no image. The package lmdb does the reading.
"""

from contextlib import contextmanager, suppress
from pathlib import Path

from minicoulomb.data.source import Entry, Source, file_stamp
from minicoulomb.errors import UserError, explained

FILE = "data.mdb"
# Position of the magic number in the first page, which has the byte order of the machine that wrote it.
MAGIC_AT, MAGIC = 16, (0xBEEFC0DE.to_bytes(4, "little"), 0xBEEFC0DE.to_bytes(4, "big"))


class Lmdb(Source):
    """The values of an LMDB, a folder with data.mdb or that file alone. An entry's name is its key, byte by byte."""

    kind = "lmdb"

    def stamp(self):
        return file_stamp(_file(self.path))

    def entries(self):
        with self._transaction() as transaction:
            for key, value in transaction.cursor():
                yield Entry(bytes(key).decode("latin-1"), len(value), [])

    @contextmanager
    def reader(self):
        with self._transaction() as transaction:

            def read(entry):
                value = transaction.get(entry.name.encode("latin-1"))
                if value is None:
                    raise UserError("no longer in the database; prepare it again")
                return bytes(value)

            yield read

    @contextmanager
    def _transaction(self):
        with explained(f"{self.path}: needs the package lmdb", "pip install 'minicoulomb[lsun]'", ImportError):
            import lmdb
        with self.readable((lmdb.Error,)):
            # Nothing is written, so no lock file is needed, and the folder may be read-only.
            environment = lmdb.open(str(_file(self.path)), subdir=False, readonly=True, lock=False, readahead=False)
            with environment, environment.begin(buffers=True) as transaction:
                yield transaction


def is_lmdb(path: Path) -> bool:
    """Whether a folder holds an LMDB, or a file is one."""
    with suppress(OSError), _file(path).open("rb") as file:
        return file.read(MAGIC_AT + 4)[MAGIC_AT:] in MAGIC
    return False


def _file(path):
    return path / FILE if path.is_dir() else path
