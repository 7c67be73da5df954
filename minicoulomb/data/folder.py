"""A folder of images with all its subfolders: CelebA unpacked, LSUN exported, the user's photographs."""

import os
from contextlib import contextmanager

from minicoulomb.data.source import Entry, Source, is_image
from minicoulomb.errors import UserError


class Folder(Source):
    """Every JPEG, PNG and WebP file under a folder; an entry's `where` is its modification time.

    Hidden files and folders are left out. Links to files are read; links to folders are not followed, since they may
    lead in circles.
    """

    kind = "folder"

    def stamp(self):
        return None

    def entries(self):
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                # Item by item, since a single folder may hold millions.
                with os.scandir(self.path / folder) as items:
                    for item in items:
                        if item.is_dir(follow_symlinks=False):
                            folders += [f"{folder}{item.name}/"] * (not item.name.startswith("."))
                        elif is_image(item.name) and not item.is_dir():
                            yield _entry(folder + item.name, item)
            except OSError as error:
                raise UserError(f"{error.filename}: cannot be listed ({error.strerror}); make it readable") from error

    @contextmanager
    def reader(self):
        def read(entry):
            try:
                return (self.path / entry.name).read_bytes()
            except OSError as error:
                raise UserError(_remedy(error)) from error

        yield read


def _entry(name, item):
    try:
        status = item.stat()
    except OSError as error:  # a link to nowhere
        return Entry(name, 0, [0], _remedy(error))
    return Entry(name, status.st_size, [status.st_mtime_ns])


def _remedy(error):
    return f"cannot be read ({error.strerror}); replace or remove it"
