"""Where images lie: a source lists its images and reads them one by one.

    entries()    every image: its name, its size in bytes, and where it lies
    reader()     a context that gives read(entry) -> the bytes of a file, or pixels (h, w, 3)

A source holds a path and nothing that is open, so it can be sent to other processes, which open it for themselves.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicoulomb.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# Pillow refuses pictures of more than 179 megapixels, and none of the rest takes more bytes than this.
LARGEST = 2**29


class Entry(NamedTuple):
    """One image of a source, which can be written as JSON.

    name      unique in its source, with / between folders; images are ordered by it
    size      bytes
    where     what the source takes to find it again: a position in an archive, a time of modification
    refused   why it must not be read, "" for nearly all
    """

    name: str
    size: int
    where: list[int]
    refused: str = ""


class Source(ABC):
    """Images in one place.

    kind      the format in a word, for the manifest
    size      side that its images are brought to where nothing else is said
    forward   reading is quick only in the order of `where`, not in the order of names
    """

    kind: str
    size = 64
    forward = False

    def __init__(self, path: Path):
        self.path = Path(path)

    def stamp(self) -> Any:
        """What has changed if the images have: [bytes, modification time in ns] of the file that holds them all.

        None where only the list of entries tells.
        """
        return file_stamp(self.path)

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Every image, in any order. UserError where the whole source cannot be read."""

    @abstractmethod
    def reader(self) -> AbstractContextManager[Callable[[Entry], bytes | np.ndarray]]:
        """A context in which the source is open, and a function that reads an entry.

        The function raises UserError, without the name, for an entry that cannot be read.
        """

    def unreadable(self, reason: object) -> UserError:
        """The error of a source that cannot be read at all."""
        return UserError(f"{self.path}: cannot be read as {self.kind} ({reason}); fetch it again, or make it readable")


def is_image(name: str) -> bool:
    """Whether a name with / between folders is that of a JPEG, PNG or WebP file, neither hidden nor in a hidden folder.

    Hidden too is what macOS puts beside each file of an archive, as __MACOSX/._000001.jpg. The steps . and .. hide
    nothing.
    """
    parts = name.replace("\\", "/").split("/")
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    return not hidden and name.lower().endswith(SUFFIXES)


def file_stamp(path: Path) -> list[int]:
    """[bytes, modification time in ns] of a file."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); replace or remove it") from error
    return [status.st_size, status.st_mtime_ns]
