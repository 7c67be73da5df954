"""A folder of images with all its subfolders: CelebA unpacked, LSUN exported, the user's photographs."""

import os
import stat
from contextlib import contextmanager

from minicoulomb.data.source import Entry, Source, is_image
from minicoulomb.errors import UserError, explained

REMEDY = "replace or remove it"
# Every run directory holds this file.
RUN = "metrics.jsonl"


class Folder(Source):
    """Every JPEG, PNG and WebP file under a folder; an entry's `where` is its modification time.

    Hidden files and folders are left out, and so are runs, whose pictures show samples. Links to files are read; links
    to folders are not followed, since they may lead in circles.
    """

    kind = "folder"

    def stamp(self):
        return None

    def entries(self):
        folders = [""]
        while folders:
            folder = folders.pop()
            path = self.path / folder
            # Item by item, since a single folder may hold millions.
            with explained(f"{path}: cannot be listed", "make it readable"), os.scandir(path) as items:
                if (path / RUN).exists():
                    continue
                for item in items:
                    if item.is_dir(follow_symlinks=False):
                        folders += [f"{folder}{item.name}/"] * (not item.name.startswith("."))
                    elif is_image(item.name) and (entry := _entry(folder + item.name, item)):
                        yield entry

    @contextmanager
    def reader(self):
        def read(entry):
            with explained("cannot be read", REMEDY), (self.path / entry.name).open("rb") as file:
                content = file.read(entry.size + 1)
            if len(content) != entry.size:
                raise UserError("has changed since it was listed; run the same command again")
            return content

        yield read


def _entry(name, item):
    """The entry of a file; None for a link to a folder."""
    try:
        with explained("cannot be read", REMEDY):
            status = item.stat()
    except UserError as error:  # a link to nowhere, or to itself
        return Entry(name, 0, [0], str(error))
    if stat.S_ISDIR(status.st_mode):
        return None
    if not stat.S_ISREG(status.st_mode):
        return Entry(name, 0, [0], "a pipe or a device, not a file; remove it")
    return Entry(name, status.st_size, [status.st_mtime_ns])
