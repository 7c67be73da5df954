"""Text -> lines of a fixed length, as ids of characters.

    "Call me"  ->  "Call me`````````"  ->  ids (16,), uint8 for at most 256 characters, else uint16

A line is UTF-8 without its end, \\n or \\r\\n; it is cut, or filled with backticks, to the length. An empty line is all
backticks. The alphabet holds the most frequent characters of all lines, padding included, in the order of their code
points, from id 1; id 0 stands for all others.

One pass counts the characters and one writes the ids, a block of lines at a time, into a file that becomes a memory
map: a line of JSON that says what it holds, spaces up to OFFSET, then the ids. It is written aside and renamed, so it
is whole or not there, and it is made again where the settings or the files are no longer those of its first line.

A file may be compressed by gzip, bzip2 or xz. A folder's files follow each other in the order of their names: those
that end in .txt, or all where none does, as in the One Billion Word benchmark.
"""

import hashlib
import json
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np

from minicoulomb.data.archives import COMPRESSED, ZSTANDARD
from minicoulomb.data.dataset import ArrayDataset, check_shape
from minicoulomb.data.source import file_stamp, is_image
from minicoulomb.errors import UserError, explained
from minicoulomb.files import atomic_write, check_space, check_unfolded

PAD, UNKNOWN, BOM = "`", "\N{REPLACEMENT CHARACTER}", b"\xef\xbb\xbf"
# Characters of a line where none are chosen.
LENGTH = 16
SUFFIXES = (".txt", ".txt.gz", ".txt.bz2", ".txt.xz")
# What a file is that begins so, and the remedy.
OTHERS = {
    **dict.fromkeys((b"\xff\xfe", b"\xfe\xff"), ("UTF-16", "convert it with iconv -f utf-16 -t utf-8")),
    ZSTANDARD: ("compressed with zstd", "use zstd -d first"),
    b"PK\x03\x04": ("a zip archive", "unpack it and name the file or folder"),
}
# Bytes of a line, and of the beginning in which a zero byte shows that a file is binary.
LONGEST, BEGINNING = 2**20, 2**12
# Lines in memory at a time.
BLOCK = 2**15
# Bytes in front of the ids: an alphabet of 65,535 characters has up to 800,000 in JSON.
OFFSET = 2**20
VERSION = 1
CODE_POINTS = 0x110000
# Characters of a table of numbers.
NUMERIC = {*"0123456789+-.,;eE \t", PAD}


class Text(NamedTuple):
    """The files of a text, which is read when it is known how."""

    path: Path
    files: list[Path]

    def identity(self) -> list:
        """The name, size and time of each file."""
        return [[file.name, *file_stamp(file)] for file in self.files]


class TextDataset(ArrayDataset):
    """Lines of text: ids (n_total, length), in samples (length, 1 + characters of the alphabet)."""

    def __init__(self, name, ids, alphabet, *, hold_out_every=10):
        super().__init__(name, ids, hold_out_every=hold_out_every)
        self.alphabet, self.shape = alphabet, (ids.shape[1], 1 + len(alphabet))

    def in_space(self, space):
        check_shape(self.name, self.shape, space.shape)
        if self.alphabet != space.alphabet:
            raise UserError(f"{self.name}: has another alphabet than the run; name its file, which is then read anew")
        return self


def is_text(path: Path) -> bool:
    """Whether a path is that of text by its suffix, or of a folder that holds such files and no images or folders."""
    if not path.is_dir():
        return path.name.lower().endswith(SUFFIXES)
    found = False
    with explained(f"{path}: cannot be read", "make it readable"), os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir() or is_image(entry.name):  # mostly the first one: a folder of images is not listed
                return False
            found = found or entry.name.lower().endswith(SUFFIXES)
    return found


def text_at(path: Path) -> Text:
    """The text in a file or folder; UserError if there is none."""
    if path.is_dir():
        with explained(f"{path}: cannot be read", "make it readable"):
            files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        files = [file for file in files if file.name.lower().endswith(SUFFIXES)] or files
        if not files:
            raise UserError(f"{path}: no files; it must hold text files")
        return Text(path, files)
    if not path.is_file():
        raise UserError(f"{path}: a pipe or a device: must be a file or folder of text; write it to a file first")
    return Text(path, [path])


def open_text(
    text: Text,
    cache: Path,
    *,
    length: int,
    vocabulary: int,
    lines: int | None = None,
    skip_bad: bool = False,
    hold_out_every: int = 10,
    alphabet: str = "",
    progress: Callable[[int, int], object] | None = None,
) -> TextDataset:
    """The lines of a text, from the folder `cache`, where they are put at first.

    Parameters
    ----------
    text
        what `text_at` found
    cache
        folder for the ids
    length, vocabulary, lines
        the characters of a line, the size of the alphabet with id 0, and the number of lines, by default all
    skip_bad
        leave out lines that are no UTF-8, instead of stopping
    hold_out_every
        which lines are kept out of training
    alphabet
        that of a run which meets the text; by default that of the text
    progress
        is called with (done, total), in MB that are read, twice

    Raises
    ------
    UserError
        if the text cannot be read, or the cache cannot be written
    """
    settings = {"length": length, "vocabulary": vocabulary, "lines": lines, "skip_bad": skip_bad}
    path, name = text.path.resolve(), text.path.resolve().name
    stem = name if path.is_dir() else name.split(".")[0]
    for wanted in dict.fromkeys(("", alphabet)):  # a run's alphabet is mostly that of its own text
        key = hashlib.sha256(os.fsencode(path) + repr([*settings.values(), wanted]).encode()).hexdigest()[:12]
        target, about = cache / f"{name[:40]}-{key}.ids", {"version": VERSION, **settings, "files": text.identity()}
        found = _opened(target, about)
        if found is None and wanted == alphabet:
            with explained(f"{target}: cannot be written", "free some space or choose another place"):
                cache.mkdir(parents=True, exist_ok=True)
                _write(target, about, text, alphabet, progress)
            found = _opened(target, about)
        if found and alphabet in ("", found[1]["alphabet"]):
            break
    if found is None:
        raise UserError(f"{text.path}: has changed while it was read; run the same command again")
    ids, about = found
    dataset = TextDataset(stem or "text", ids, about["alphabet"], hold_out_every=hold_out_every)
    dataset.remark = about["remark"]
    return dataset


def to_lines(x: np.ndarray, alphabet: str) -> list[str]:
    """The most probable line of each sample (n, length, characters), without padding at its end."""
    characters = UNKNOWN + alphabet
    return ["".join(map(characters.__getitem__, row)).rstrip(PAD) for row in x.argmax(axis=-1).tolist()]


def _opened(target, about):
    """(ids, description) of a file that holds what is wanted, else None."""
    try:
        with target.open("rb") as file:
            found = json.loads(file.read(OFFSET))
        alphabet, remark = found["alphabet"], found["remark"]
        if {**found, **about} != found or not (isinstance(alphabet, str) and alphabet and isinstance(remark, str)):
            return None
        dtype, shape = _dtype(alphabet), (found["n"], about["length"])
        ids = np.memmap(target, dtype, "r", OFFSET, shape)
        return (ids, found) if target.stat().st_size == OFFSET + ids.nbytes else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):  # it is not there, or damaged
        return None


def _write(target, about, text, alphabet, progress):
    """Count and encode."""
    reader = _Reader(text, about, progress)
    counts, n = np.zeros(CODE_POINTS, np.int64), 0
    for codes in reader.blocks():
        counts, n = counts + np.bincount(codes.ravel(), minlength=CODE_POINTS), n + len(codes)
    if n < 2:
        raise UserError(f"{text.path}: {n} lines: training needs at least 2; add text, or break it into lines")
    seen = np.flatnonzero(counts)
    if not alphabet:
        frequent = seen[np.argsort(-counts[seen], kind="stable")][: about["vocabulary"] - 1]
        alphabet = "".join(map(chr, np.sort(frequent)))
    known = np.array([ord(character) for character in alphabet])
    table = np.zeros(CODE_POINTS, _dtype(alphabet))
    table[known] = np.arange(1, len(known) + 1)
    remark = f"{text.path.name}: {n:,} lines of {about['length']} characters, {len(seen):,} different ones"
    if share := 1 - counts[known].sum() / counts.sum():
        remark += f"; {share:.2g} of the text is none of the {len(known):,} in the alphabet"
    if NUMERIC.issuperset(map(chr, seen)):
        remark += "; only numbers: name it .csv to train on points"
    if reader.bad:
        remark += f"; {reader.bad:,} lines are no UTF-8 and left out, the first {reader.first}"
    check_space(target, f"{n:,} lines", OFFSET + n * about["length"] * table.itemsize, "use fewer --lines")
    head = json.dumps({**about, "alphabet": alphabet, "n": n, "remark": remark}).encode() + b"\n"
    with atomic_write(target) as file:
        file.write(head.ljust(OFFSET))
        for codes in reader.blocks():
            file.write(table[codes].tobytes())


def _dtype(alphabet):
    return np.dtype(np.uint8 if len(alphabet) < 256 else np.uint16)


class _Reader:
    """Reads the lines, as often as asked.

    bad, first   how many lines the last reading has left out, and the first of them
    """

    def __init__(self, text: Text, about: dict[str, Any], progress):
        self.text, self.about, self.progress = text, about, progress
        self.total, self.done = 2 * sum(file.stat().st_size for file in text.files), 0

    def blocks(self) -> Iterator[np.ndarray]:
        """Code points (n, length) of blocks of lines."""
        self.bad, self.first, length = 0, "", self.about["length"]
        lines = islice(self.lines(), self.about["lines"])
        while block := "".join(line[:length].ljust(length, PAD) for line in islice(lines, BLOCK)):
            yield np.frombuffer(block.encode("utf-32-le"), "<u4").reshape(-1, length)

    def lines(self) -> Iterator[str]:
        for path in self.text.files:
            damaged = (OSError, EOFError, zlib.error, lzma.LZMAError)
            with explained(f"{path}: cannot be read", "make it readable, or fetch it again", damaged):
                with path.open("rb") as stored, _unpacked(stored) as file:
                    start = self.done
                    for number, line in enumerate(iter(lambda: file.readline(LONGEST), b""), 1):
                        if number == 1:
                            line = _checked(path, line.removeprefix(BOM), file)
                        if number % BLOCK == 0:
                            self.report(start + stored.tell())
                            check_unfolded(str(path), file.tell(), self.total)
                        if len(line) == LONGEST and not line.endswith(b"\n"):
                            rule = f"line {number:,} has {LONGEST:,} bytes or more"
                            raise UserError(f"{path}: {rule}: must have fewer; break it into lines, as with fold -s")
                        try:
                            yield line.removesuffix(b"\n").removesuffix(b"\r").decode()
                        except UnicodeDecodeError as error:
                            self.leave_out(path, number, error)
                self.done = start + path.stat().st_size
                self.report(self.done)

    def report(self, done):
        if self.progress:
            self.progress(done >> 20, max(1, self.total >> 20))

    def leave_out(self, path, number, error):
        """Count a bad line; UserError unless such lines are skipped."""
        if not self.about["skip_bad"]:
            what = f"line {number:,} is no UTF-8 ({error.reason} in byte {error.start + 1:,})"
            remedy = "convert the file with iconv, or use --skip-bad to leave such lines out"
            raise UserError(f"{path}: {what}: text must be UTF-8; {remedy}") from None
        self.bad += 1
        self.first = self.first or f"line {number:,} of {path.name}"


def _unpacked(stored) -> BinaryIO:
    """The file itself, or what it unfolds to."""
    start = stored.read(8)
    stored.seek(0)
    unpack: Any = next((unpack for magic, unpack in COMPRESSED.items() if start.startswith(magic)), None)
    return cast(BinaryIO, unpack(stored)) if unpack else stored


def _checked(path, line, file):
    """The first line of a file; UserError if the file is no text."""
    start = line + (b"" if len(line) >= BEGINNING else file.peek(BEGINNING))
    for magic, (what, remedy) in OTHERS.items():
        if line.startswith(magic):
            raise UserError(f"{path}: {what}: must be UTF-8 text; {remedy}")
    if b"\0" in start[:BEGINNING]:
        raise UserError(f"{path}: a binary file: must be UTF-8 text; name another")
    return line
