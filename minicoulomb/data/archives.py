"""Archives of images, read without unpacking: zip, and tar with or without compression.

A zip archive ends in a directory, which is read record by record, because Python's zipfile keeps an object of half a
kilobyte for each file, in every process: 110 MiB for 200,000 files. An entry's `where` is position, bytes, CRC-32 and
method from the directory. A tar archive is a chain of headers, read here because Python's tarfile takes any time and
memory for headers that mean harm; `where` is the position of a file's bytes in the (decompressed) archive.

Nothing is ever written, so a name cannot lead anywhere. Nevertheless names that would lead out of the archive when
unpacked are refused, as are links, encrypted files, and files that inflate to more than they declare: an archive with
them was not made to hold images. What would unfold is compared with what is stored before it does.
"""

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import zlib
from contextlib import contextmanager, suppress
from typing import NamedTuple

from minicoulomb.data.source import Entry, Source, is_image
from minicoulomb.errors import UserError, explained
from minicoulomb.files import check_unfolded

# Records of a zip archive (APPNOTE 4.3 and 4.4), little-endian.
END = struct.Struct("<4s4H2LH")  # ..., number of entries, bytes of the directory, its position, bytes of a comment
END64 = struct.Struct("<4sQ2H2L4Q")  # ..., number of entries, bytes of the directory, its position
LOCATOR64 = struct.Struct("<4sLQL")
RECORD = struct.Struct("<4s4B4H3L5H2L")
LOCAL = struct.Struct("<4s2B4H3L2H")
STORED, DEFLATED = 0, 8
ENCRYPTED, UTF8 = 0x1 | 0x40 | 0x2000, 0x800
UNIX = 3

# What opens a compressed file that begins so.
COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
ZSTANDARD = b"\x28\xb5\x2f\xfd"
# Characters of a name, and bytes of the extended headers of one file in a tar archive.
LONGEST_NAME, LONGEST_HEADERS = 1024, 2**18
# A tar archive's blocks, and the kinds of its members: files; what has no content though it may declare a size (links,
# devices, folders, pipes); headers that extend the next one, by POSIX's records or with GNU's long name.
BLOCK = 512
FILES, LINKS, WITHOUT_CONTENT, FOLDER = b"0\x007", b"12", b"123456", b"5"
RECORDS, LONG_NAME, IGNORED, SPARSE = b"xX", b"L", b"gK", b"S"


def archived(name: str, size: int, where: list[int], refused: str) -> Entry:
    """The entry of a file in an archive. A name that is too long is cut, so that a list of names stays small."""
    return Entry(name[:LONGEST_NAME], size, where, refused or refusal(name))


def refusal(name: str) -> str:
    """Why a file of an archive is refused for its name; "" if it is not."""
    if len(name) > LONGEST_NAME:
        return f"a name of {len(name):,} characters: at most {LONGEST_NAME:,}; make the archive again with shorter ones"
    path = name.replace("\\", "/")
    if path.startswith("/") or path[1:2] == ":" or ".." in path.split("/") or "\0" in path:
        return "a path that leads out of the archive; make the archive again without it"
    return ""


# Zip


class Zip(Source):
    """The images in a zip archive, such as img_align_celeba.zip."""

    kind = "zip"

    def entries(self):
        with self.readable(), self.path.open("rb") as file:
            for name, size, where, refused in _zip_directory(file):
                if is_image(name):
                    yield archived(name, size, where, refused)

    @contextmanager
    def reader(self):
        with self.readable():
            file = self.path.open("rb")
        with file:
            yield lambda entry: _zip_member(file, entry)


def zip_names(file) -> list[str]:
    """The first names in an open zip archive; none if it is damaged."""
    with suppress(Exception):
        return [name for (name, *_), _ in zip(_zip_directory(file), range(16))]
    return []


def _zip_directory(file):
    """Each record of the directory at the end of a zip archive: (name, size, where, why it is refused)."""
    end = file.seek(0, io.SEEK_END)
    start = max(0, end - END.size - 2**16)  # a comment of up to 64 KiB may follow
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < END.size:
        raise ValueError("no directory at its end: it is cut short")
    *_, n, length, position, _ = END.unpack_from(tail, at)
    end = start + at
    if at >= LOCATOR64.size and tail.startswith(b"PK\6\7", at - LOCATOR64.size):
        end = LOCATOR64.unpack_from(tail, at - LOCATOR64.size)[2]
        file.seek(end)
        *_, n, length, position = END64.unpack(file.read(END64.size))
    before = end - length - position  # bytes of something else in front of the archive
    if before < 0:
        raise ValueError("its directory is not where it should be: it is cut short")
    file.seek(before + position)
    for _ in range(n):
        yield _zip_record(file, before)


def _zip_record(file, before):
    fields = RECORD.unpack(file.read(RECORD.size))
    signature, system, flags, method, crc, packed, size = (fields[i] for i in (0, 2, 5, 6, 9, 10, 11))
    lengths, (mode, position) = fields[12:15], fields[17:]
    if signature != b"PK\1\2":
        raise ValueError("its directory is damaged")
    name, extra, _ = (file.read(length) for length in lengths)
    size, packed, position = _zip64(extra, size, packed, position)
    refused = ""
    if flags & ENCRYPTED:
        refused = "encrypted; make the archive again without a password"
    elif system == UNIX and stat.S_ISLNK(mode >> 16):
        refused = "a link; put the file itself into the archive"
    elif method not in (STORED, DEFLATED):
        refused = f"compressed by method {method}: must be stored or deflated; make the archive again"
    name = name.decode("utf-8" if flags & UTF8 else "cp437", "backslashreplace")
    return name, size, [before + position, packed, crc, method], refused


def _zip64(extra, *sizes):
    """The sizes; one at the limit of 32 bits is replaced by that in the record's extra field (APPNOTE 4.5.3)."""
    while len(extra) >= 4:
        field, length = struct.unpack_from("<2H", extra)
        if field == 1:
            longs = iter(struct.unpack_from(f"<{length // 8}Q", extra, 4))
            return [next(longs, size) if size == 0xFFFFFFFF else size for size in sizes]
        extra = extra[4 + length :]
    return sizes


def _zip_member(file, entry):
    """The bytes of a file, as many as are declared and with the declared CRC."""
    position, packed, crc, method = entry.where
    with explained("damaged in the archive", "fetch the archive again", Exception):
        file.seek(position)
        signature, *_, name, extra = LOCAL.unpack(file.read(LOCAL.size))
        if signature != b"PK\3\4":
            raise ValueError("not where the directory says")
        file.seek(name + extra, io.SEEK_CUR)
        # Deflate adds at most a few bytes to a block, so a packed file is never much longer than its content.
        content = file.read(min(packed, 2 * entry.size + 1024))
        if method == DEFLATED:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, entry.size + 1)
    if len(content) != entry.size:
        raise _wrong_size(entry.size, "more" if len(content) > entry.size else f"{len(content):,}")
    if zlib.crc32(content) != crc:
        raise UserError("damaged in the archive (wrong CRC-32); fetch the archive again")
    return content


def _wrong_size(declared, actual):
    return UserError(f"{declared:,} bytes are declared and {actual} are there; fetch the archive again")


# Tar


class Member(NamedTuple):
    """A file, folder, link or other member of a tar archive."""

    name: str
    size: int
    position: int
    kind: bytes


def is_tar(start: bytes) -> bool:
    """Whether a file begins with a tar header, by the sum of its bytes, to which older programs gave signs."""
    if len(start) < BLOCK:
        return False
    rest = start[:148] + b" " * 8 + start[156:BLOCK]
    with suppress(ValueError):
        return (more := sum(rest) - _number(start[148:156])) == 0 or more == 256 * sum(byte > 127 for byte in rest)
    return False


class Tar(Source):
    """The images in a tar archive, uncompressed or compressed with gzip, bzip2 or xz.

    In a compressed one only reading forward is quick. Each process decompresses it again, which is a small part of
    the time that decoding images needs.
    """

    kind = "tar"

    def __init__(self, path):
        super().__init__(path)
        with self.readable(), self.path.open("rb") as file:
            start, self.stored = file.read(8), os.fstat(file.fileno()).st_size
        if start.startswith(ZSTANDARD):
            raise UserError(f"{self.path}: compressed with zstd: must be gzip, bzip2, xz or none; use zstd -d first")
        self.unpack = next((function for magic, function in COMPRESSED.items() if start.startswith(magic)), open)
        self.forward = self.unpack is not open

    def entries(self):
        with self.opened() as archive:
            for member in self.members(archive):
                if is_image(member.name) and member.kind != FOLDER:
                    yield archived(member.name, member.size, [member.position], _tar_refusal(member.kind))

    @contextmanager
    def reader(self):
        with self.opened() as archive:
            yield lambda entry: self.content(archive, *entry.where, entry.size)

    @contextmanager
    def opened(self):
        """The archive, decompressed, as a file."""
        with self.readable():
            file = self.unpack(self.path, "rb")
        with file:
            yield file

    def members(self, archive):
        """A Member for each, in their order."""
        with self.readable():
            at, extended, headers = 0, {}, 0
            # Zeros must mark the end.
            while (block := self._read(archive, at, BLOCK)) != bytes(BLOCK):
                if not is_tar(block):
                    if self.forward and not at:
                        raise UserError(f"{self.path}: compressed, and no tar archive: unpack it and name the file")
                    raise ValueError(f"cut short: neither a header nor the end at byte {at:,}")
                kind, size, position = block[156:157], _number(block[124:136]), at + BLOCK
                if kind in RECORDS + LONG_NAME:
                    headers += size
                    if headers > LONGEST_HEADERS:
                        raise ValueError(f"{headers:,} bytes of headers for one file: at most {LONGEST_HEADERS:,}")
                    content = self._read(archive, position, size)
                    extended |= {b"path": content} if kind == LONG_NAME else _records(content)
                elif kind not in IGNORED:
                    size = _positive(extended[b"size"]) if b"size" in extended else size
                    if kind == SPARSE or any(key.startswith(b"GNU.sparse") for key in extended):
                        raise ValueError("it holds sparse files; make it again without them")
                    size *= kind not in WITHOUT_CONTENT
                    yield Member(_tar_name(block, extended), size, position, kind)
                    extended, headers = {}, 0
                at = position + -(-size // BLOCK) * BLOCK
            while self.forward and self._read(archive, at, LONGEST_HEADERS):  # to the checksum of what was compressed
                at += LONGEST_HEADERS

    def content(self, archive, position, size):
        """`size` bytes of the decompressed archive from `position`; UserError if they are not there."""
        with explained("damaged in the archive", "fetch the archive again", Exception):
            content = self._read(archive, position, size)
        if len(content) < size:
            raise _wrong_size(size, f"{len(content):,}")
        return content

    def _read(self, archive, position, size):
        check_unfolded(str(self.path), position + size, self.stored)
        archive.seek(position)
        return archive.read(size)


def _number(field):
    """The number in a field of a tar header: octal digits, or bytes after a first one of 128."""
    if field[0] == 128:
        return int.from_bytes(field[1:], "big")
    return _positive(field.partition(b"\0")[0].strip() or b"0", 8)


def _positive(digits, base=10):
    if not digits.isdigit() or len(digits) > 20:
        raise ValueError("a size in a header is negative, or no number")
    return int(digits, base)


def _records(content):
    """POSIX's extended header: records "length key=value\\n" as a dict."""
    records, at = {}, 0
    while at < len(content):
        space = content.index(b" ", at, at + 20)
        end = at + max(1, _positive(content[at:space]))
        key, _, text = content[space + 1 : end - 1].partition(b"=")
        records[key], at = text, end
    return records


def _tar_name(block, extended):
    """The name of a member: from the headers before it, or from the two fields of its own."""
    name, prefix = (block[first:last].partition(b"\0")[0] for first, last in ((0, 100), (345, 500)))
    if prefix and block[257:263] == b"ustar\0":
        name = prefix + b"/" + name
    return extended.get(b"path", name).partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _tar_refusal(kind):
    if kind in LINKS:
        return "a link; put the file itself into the archive"
    return "" if kind in FILES else "not a plain file; put plain files into the archive"
