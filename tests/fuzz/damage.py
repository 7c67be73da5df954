"""Damage to a file: a few edits of its bytes, or of a form of it behind a checksum; and the fewest that still fail.

An edit is (start, stop, replacement). Edits apply one after the other. Layers undo and redo what would hide an edit
from the reader: the CRC of a zip member or a PNG chunk, the checksum of a tar header, a compression.
"""

import bz2
import gzip
import io
import lzma
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from .kinds import npy

Edit = tuple[int, int, bytes]
NUMBERS = [b"0", b"-1", b"1e999", b"NaN", b"-0.0", b"1e-320", b"9" * 20, b"9" * 5000, b"2147483648", b"1" + b"0" * 18]
VALUES = [b"null", b"true", b"[]", b"{}", b'""', b"-Infinity", b'"\\ud800"', b'"\\u001b[2J"', b"[" * 100_000, b"\xff"]
WORDS = [0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]


def apply(content: bytes, edits: list[Edit]) -> bytes:
    for start, stop, new in edits:
        content = content[:start] + new + content[stop:]
    return content


def draw(rng: random.Random, content: bytes) -> list[Edit]:
    """One to four random edits, often near the beginning or the end, where headers are."""
    edits = []
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        edits.append(_edit(rng, apply(content, edits)))
    return edits


def flip(rng: random.Random, content: bytes) -> list[Edit]:
    """One bit."""
    at = rng.randrange(len(content))
    return [(at, at + 1, bytes([content[at] ^ 1 << rng.randrange(8)]))]


def _edit(rng, content):
    n = len(content) or 1
    near = rng.choice((64, 512, n, n))
    at = rng.choice((rng.randrange(min(near, n)), n - 1 - rng.randrange(min(near, n))))
    length = min(rng.choice((1, 4, 30, 512, n)), n - at)
    match rng.randrange(11):
        case 0:
            return at, at + 1, bytes([(content[at : at + 1] or b"\0")[0] ^ 1 << rng.randrange(8)])
        case 1:
            return at, at + 1, bytes([rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))])
        case 2 | 3:
            size, order = rng.choice((2, 4, 8)), rng.choice(("little", "big"))
            return at, at + size, (rng.choice(WORDS) % 256**size).to_bytes(size, order)
        case 4:
            return at, n, b""
        case 5:
            return at, at + length, b""
        case 6:
            return at, at, content[at : at + length]
        case 7:
            return at, at, rng.randbytes(length % 100)
        case 8:
            return at, at + length, bytes(length)
        case _:
            pattern = rb"-?\d+(?:\.\d+)?" if rng.random() < 0.6 else rb'"[^"]*"|\b[a-z]+\b|-?\d+'
            found = [match.span() for match in re.finditer(pattern, content[:100_000])]
            start, stop = rng.choice(found) if found else (at, at)
            return start, stop, rng.choice(NUMBERS if rng.random() < 0.6 else VALUES)


# Layers: each gives the inner content, and a function from its damaged bytes to those of the file.


def layer(name: str, content: bytes, rng: random.Random) -> tuple[bytes, Callable[[bytes], bytes]]:
    """A form of a file's content in which damage is drawn; "" is the content itself."""
    if not name:
        return content, bytes
    return {"zip": _zip, "about": partial(_zip, member="about.npy"), "tar": _tar, "png": _png}[name](content, rng)


def _zip(content, rng, member=None):
    """A member of a zip archive, which gets the right CRC-32 and sizes; of `about.npy` its text."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    chosen = member or rng.choice([name for name, inner in members.items() if inner])

    def wrap(damaged):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, inner in members.items():
                new = npy(np.frombuffer(damaged, np.uint8)) if member else damaged
                archive.writestr(name, new if name == chosen else inner)
        return file.getvalue()

    inner = members[chosen]
    return np.load(io.BytesIO(inner)).tobytes() if member else inner, wrap


def _tar(content, rng):
    """A tar archive without its compression; headers get the right checksum."""
    packers = {b"\x1f\x8b": (gzip.decompress, lambda x: gzip.compress(x, 1)), b"BZ": (bz2.decompress, bz2.compress),
               b"\xfd7": (lzma.decompress, lzma.compress)}  # fmt: skip
    unpack, pack = packers.get(content[:2], (bytes, bytes))
    inner = unpack(content)
    headers = [at for at in range(0, len(inner), 512) if inner[at + 257 : at + 262] == b"ustar"]

    def wrap(damaged):
        damaged = bytearray(damaged)
        for at in headers:
            if at + 512 <= len(damaged):
                block = damaged[at : at + 148] + b" " * 8 + damaged[at + 156 : at + 512]
                damaged[at + 148 : at + 156] = b"%06o\0 " % sum(block)
        return pack(bytes(damaged))

    return inner, wrap


def _png(content, rng):
    """A PNG whose chunks get the right CRC-32."""

    def wrap(damaged):
        damaged, at = bytearray(damaged), 8
        while at + 12 <= len(damaged):
            (length,) = struct.unpack_from(">I", damaged, at)
            end = at + 8 + length
            if end + 4 > len(damaged):
                break
            struct.pack_into(">I", damaged, end, zlib.crc32(damaged[at + 4 : end]))
            at = end + 4
        return bytes(damaged)

    return content, wrap


def smaller(edits: list[Edit], content: bytes) -> Iterator[list[Edit]]:
    """Edits that do less than these: one fewer, or one that changes or deletes half as much."""
    for i, (start, stop, new) in enumerate(edits):
        before, after = edits[:i], edits[i + 1 :]
        if len(edits) > 1:
            yield before + after
        half = (stop - start) // 2
        if len(new) == stop - start > 1:
            yield [*before, (start, start + half, new[:half]), *after]
            yield [*before, (start + half, stop, new[half:]), *after]
        elif new and len(new) > 1:
            yield [*before, (start, stop, new[: len(new) // 2]), *after]
        elif half and stop < len(content):
            yield [*before, (start, start + half, new), *after]
            yield [*before, (start + half, stop, new), *after]
        elif half and stop == len(content) and not new:  # a cut nearer to the end
            yield [*before, (start + half, stop, new), *after]


def shrunk(edits: list[Edit], content: bytes, fails: Callable[[list[Edit]], bool]) -> list[Edit]:
    """The fewest edits found that still fail in the same way."""
    for _ in range(12):
        found = next((candidate for candidate in smaller(edits, content) if fails(candidate)), None)
        if found is None:
            break
        edits = found
    return edits
