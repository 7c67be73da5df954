"""Where images lie: a source lists its images and reads them one by one.

    entries()    every image: its name, its size in bytes, and its place
    reader()     a context with a function read(entry) -> the bytes of a file, or pixels (h, w, 3)

A source holds a path and no open file, so it can be sent to other processes, each of which opens it again.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicoulomb.errors import explained
from minicoulomb.files import UNFOLDED

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# Bytes of an image file, which an archive may have to unfold: enough for a JPEG of 179 megapixels, Pillow's limit.
LARGEST = UNFOLDED // 2


class Entry(NamedTuple):
    """One image of a source, which can be written as JSON.

    name      unique in its source, with / between folders; images are ordered by it
    size      bytes
    where     place of the image in the source, or its time of modification: numbers that the source reads it by
    refused   why it must not be read; "" for nearly all
    """

    name: str
    size: int
    where: list[int]
    refused: str = ""


class Source(ABC):
    """Images in one place.

    kind      the format in a word, for the manifest
    size      side of the decoded images by default
    channels  their channels by default
    forward   reading is quick only in the order of `where`, not in the order of names
    """

    kind: str
    size = 64
    channels = 3
    forward = False

    def __init__(self, path: Path):
        self.path = Path(path)

    def stamp(self) -> Any:
        """[bytes, modification time in ns] of the file that holds all images; it changes when the images do.

        None if the images are files of their own, whose list must be compared instead.
        """
        return file_stamp(self.path)

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Every image, in any order. UserError if the whole source cannot be read."""

    @abstractmethod
    def reader(self) -> AbstractContextManager[Callable[[Entry], bytes | np.ndarray]]:
        """A context in which the source is open, and a function that reads an entry.

        The function raises UserError, without the name, for an entry that cannot be read.
        """

    def readable(self) -> AbstractContextManager[None]:
        """A context in which every exception becomes the UserError of a source that cannot be read at all.

        Damaged files make their readers raise nearly anything.
        """
        what = f"{self.path}: cannot be read as {self.kind}"
        return explained(what, "fetch it again, or make it readable", Exception)


def is_image(name: str) -> bool:
    """Whether a name with / between folders is that of a JPEG, PNG or WebP file that is not hidden.

    Hidden files begin with a dot, or lie in a folder that does; so do the files that macOS adds to archives, such as
    __MACOSX/._000001.jpg. The steps . and .. hide nothing.
    """
    parts = name.replace("\\", "/").split("/")
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    return not hidden and name.lower().endswith(SUFFIXES)


def file_stamp(path: Path) -> list[int]:
    """[bytes, modification time in ns] of a file."""
    with explained(f"{path}: cannot be read", "replace or remove it"):
        status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]
