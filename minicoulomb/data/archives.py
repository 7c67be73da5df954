"""Archives of images, read without unpacking: zip, and tar with or without compression.

A zip archive ends in a directory, which is read record by record, because Python's zipfile keeps an object of half a
kilobyte for each file, in every process: 110 MiB for 200,000 files. An entry's `where` is position, bytes, CRC-32 and
method from the directory. A tar archive is a chain of headers, which Python's tarfile reads; `where` is the position
of a file's bytes in the (decompressed) archive.

Nothing is ever written, so a name cannot lead anywhere. Nevertheless names that would lead out of the archive when
unpacked are refused, as are links, encrypted files, and files that inflate to more than they declare: an archive with
them was not made to hold images. What would unfold is compared with what is stored before it does, and the headers of
a file in a tar archive, which may hold names and maps of any length, have at most a megabyte.
"""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zlib
from contextlib import contextmanager, suppress

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
# Characters of a name, and bytes of all headers of one file in a tar archive.
LONGEST_NAME, LONGEST_HEADERS = 1024, 2**20


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


def is_tar(path) -> bool:
    """Whether a file begins as a tar archive does."""
    with suppress(UserError), Tar(path).opened():
        return True
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
            start = file.read(8)
        if start.startswith(ZSTANDARD):
            raise UserError(f"{self.path}: compressed with zstd: must be gzip, bzip2, xz or none; use zstd -d first")
        self.unpack = next((function for magic, function in COMPRESSED.items() if start.startswith(magic)), open)
        self.forward = self.unpack is not open

    def entries(self):
        with self.opened() as archive:
            for member in self.members(archive):
                if is_image(member.name) and not member.isdir():
                    yield archived(member.name, member.size, [member.offset_data], _tar_refusal(member))

    @contextmanager
    def reader(self):
        with self.opened() as archive:
            yield lambda entry: self.content(archive, *entry.where, entry.size)

    @contextmanager
    def opened(self):
        """The archive as a tarfile.TarFile."""
        with self.readable():
            file = self.unpack(self.path, "rb")
        with file:
            with self.readable():
                archive = tarfile.open(fileobj=_Bounded(self.path, file), mode="r:")  # noqa: SIM115, it holds no file
            yield archive

    def members(self, archive):
        """A tarfile.TarInfo for each member, in their order."""
        with self.readable():
            before = -1
            while member := archive.next():
                if member.size < 0 or archive.offset <= before:
                    raise ValueError(f"a header at byte {member.offset:,} leads back")
                before = archive.offset
                yield member
                archive.fileobj.left = LONGEST_HEADERS
                archive.members.clear()  # otherwise all of them stay in memory, as do headers for all files
                archive.pax_headers.clear()
            # tarfile reads a damaged or missing header as the end of the archive, which zeros must mark.
            archive.fileobj.left = 2 * LONGEST_HEADERS
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"cut short: neither a header nor the end at byte {archive.offset:,}")
            while self.forward and archive.fileobj.read(LONGEST_HEADERS):  # to the checksum of what was compressed
                archive.fileobj.left = LONGEST_HEADERS

    def content(self, archive, position, size):
        """`size` bytes of the decompressed archive from `position`; UserError if they are not there."""
        with explained("damaged in the archive", "fetch the archive again", Exception):
            archive.fileobj.left = size
            archive.fileobj.seek(position)
            content = archive.fileobj.read(size)
        if len(content) < size:
            raise _wrong_size(size, f"{len(content):,}")
        return content


class _Bounded:
    """A file of which at most `left` bytes are read, and not far more unfold than are stored."""

    def __init__(self, path, file):
        self.path, self.file, self.stored, self.left = path, file, path.stat().st_size, LONGEST_HEADERS
        self.tell = file.tell

    def seek(self, position):
        check_unfolded(str(self.path), position, self.stored)
        return self.file.seek(position)

    def read(self, size):
        if not 0 <= size <= self.left:
            raise ValueError(f"a header of {size:,} bytes: at most {LONGEST_HEADERS:,}")
        self.left -= size
        check_unfolded(str(self.path), self.tell() + size, self.stored)
        return self.file.read(size)


def _tar_refusal(member):
    if member.islnk() or member.issym():
        return "a link; put the file itself into the archive"
    if not member.isreg() or member.issparse():
        return "not a plain file; put plain files into the archive"
    return refusal(member.name)
