"""LSUN as it is distributed: an LMDB of encoded images, bedroom_train_lmdb/data.mdb.

A key is 40 hexadecimal digits, a value one JPEG or WebP file. The file is a B+tree of pages, read here page by page;
the package lmdb maps it into memory instead, where a file that is cut short or damaged ends the process. An entry's
`where` is the position of its value, so listing reads no image.

    page     its number, 2 bytes, flags, end of the list of nodes, 2 bytes, then the position of each node in the page
    node     4 half-words: low and high part of the value's size, flags, size of the key; then the key and the value,
             or the page at which a large value begins, behind that page's head. In a branch, the first three
             half-words are the number of a page below.
    meta     pages 0 and 1; that of the later transaction says where the tree begins
"""

import io
import struct
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path

from minicoulomb.data.source import Entry, Source, file_stamp
from minicoulomb.errors import UserError

FILE = "data.mdb"
# Position of the magic number in the first page, which has the byte order of the machine that wrote it.
MAGIC_AT, MAGIC = 16, (0xBEEFC0DE.to_bytes(4, "little"), 0xBEEFC0DE.to_bytes(4, "big"))
HEAD, NODE = struct.Struct("<Q4H"), struct.Struct("<4H")
# After the head: magic, version, ..., bytes of a page, ..., number of values, page of the root, last page, transaction.
META = struct.Struct("<2L16xL76x4Q")
BRANCH, LEAF, LARGE = 1, 2, 1
EMPTY = 2**64 - 1


class Lmdb(Source):
    """The values of an LMDB, a folder with data.mdb or that file alone. An entry's name is its key, byte by byte."""

    kind = "lmdb"

    def stamp(self):
        return file_stamp(_file(self.path))

    def entries(self):
        with self.readable(), _file(self.path).open("rb") as file:
            for key, position, size in _values(file):
                yield Entry(key.decode("latin-1"), size, [position])

    @contextmanager
    def reader(self):
        with self.readable():
            file = _file(self.path).open("rb")

        def read(entry):
            file.seek(entry.where[0])
            content = file.read(entry.size)
            if len(content) < entry.size:
                raise UserError("no longer in the database; prepare it again")
            return content

        with file:
            yield read


def is_lmdb(path: Path) -> bool:
    """Whether a folder holds an LMDB, or a file is one."""
    with suppress(OSError):
        if _file(path).is_file():  # no pipe, which would never end
            with _file(path).open("rb") as file:
                return file.read(MAGIC_AT + 4)[MAGIC_AT:] in MAGIC
    return False


def _file(path):
    return path / FILE if path.is_dir() else path


def _values(file):
    """(key, position, size) of each value, in the order of the keys; ValueError if one lies behind the file's end."""
    end = file.seek(0, io.SEEK_END)
    first = _meta(file, 0)
    page_bytes, n, root, _ = max(first, _meta(file, first[0]), key=itemgetter(-1))
    pages, left = [root] * (root != EMPTY), end // page_bytes
    while pages:
        number, left = pages.pop(), left - 1
        if left < 0:
            raise ValueError("its pages lead in a circle")
        file.seek(number * page_bytes)
        page = file.read(page_bytes)
        if len(page) < page_bytes:
            raise ValueError(f"page {number} lies behind its end: it is cut short")
        declared, _, kind, stop, _ = HEAD.unpack_from(page)
        nodes = struct.unpack_from(f"<{(stop - HEAD.size) // 2}H", page, HEAD.size)
        if declared == number and kind & BRANCH:
            halves = (NODE.unpack_from(page, at) for at in reversed(nodes))
            pages += [low | high << 16 | top << 32 for low, high, top, _ in halves]
            continue
        if declared != number or not kind & LEAF:
            raise ValueError(f"page {number} is damaged")
        for at in nodes:
            low, high, flags, key_bytes = NODE.unpack_from(page, at)
            at += NODE.size
            key, size, position = page[at : at + key_bytes], low | high << 16, number * page_bytes + at + key_bytes
            if flags & LARGE:
                position = struct.unpack_from("<Q", page, at + key_bytes)[0] * page_bytes + HEAD.size
            if position + size > end:
                raise ValueError("a value lies behind its end: it is cut short")
            yield key, position, size
        n -= len(nodes)
    if n:
        raise ValueError("not all of its values are there")


def _meta(file, position):
    """A meta page: bytes of a page, number of values, page of the root, transaction."""
    file.seek(position + HEAD.size)
    magic, version, page_bytes, n, root, _, transaction = META.unpack(file.read(META.size))
    if (magic, version) != (0xBEEFC0DE, 1) or page_bytes not in (2**k for k in range(8, 17)):
        raise ValueError("no file of LMDB's format 1 in little-endian byte order")
    return page_bytes, n, root, transaction
