"""What images are like, from a few of them: how large, and whether all are grey."""

from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from minicoulomb.data.images import look
from minicoulomb.data.listing import by_name, by_position
from minicoulomb.data.source import LARGEST, Entry, Source

# Images that are listed at most, and images that are looked at: a folder of millions is not listed twice.
LISTED, LOOKED = 10_000, 32


class Survey(NamedTuple):
    """n: images, None for more than are listed; sizes: (width, height) of a few, sorted; grey: whether these are.

    entries: all images, by name, so that a source is listed once; None for more than are listed
    """

    n: int | None
    sizes: list[tuple[int, int]]
    grey: bool
    entries: list[Entry] | None = None


def survey(source: Source) -> Survey:
    """Look at LOOKED images of a source, evenly spaced by their names. Those that cannot be read are passed over."""
    # A compressed archive is read up to the last image listed.
    limit = LOOKED if source.forward else LISTED
    listed = sorted(islice(source.entries(), limit + 1), key=by_name)
    looked, sizes, grey = min(len(listed), LOOKED), [], True
    chosen = sorted((listed[i * len(listed) // looked] for i in range(looked)), key=by_position)
    with source.reader() as read:
        for entry in chosen:
            with suppress(Exception):  # decoding will tell what is wrong
                if entry.refused or entry.size > LARGEST:
                    continue
                size, is_grey = look(read(entry))
                sizes.append(size)
                grey = grey and is_grey()
    complete = len(listed) <= limit
    return Survey(len(listed) if complete else None, sorted(sizes), grey, listed if complete else None)
