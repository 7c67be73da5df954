"""The images of a source, decoded once into one memory-mapped array.

    faces.npy          (n, size, size, channels) uint8, in the order of the images' names
    faces.npy.json     the manifest: the settings, the source, what was skipped, the SHA-256 of the array and the list
    faces.npy.files    the list of the source's images (listing.py)

The cache is reused only if the settings, the source and the array are still what the manifest says: an archive by its
size and time, a folder by the name, size and time of every file in it.

The work in progress lies in .faces.npy.partial/, from where it goes on after an interruption (partial.py): whenever a
process is killed, the result has the bytes of an uninterrupted run. Lists and rows are streams, so memory does not
grow with the number of images.

At the end the files are renamed to their places, the array last. A crash in between leaves a manifest that describes
an array that is missing (an old one has another time), and the renaming is done again. An array without a manifest
was not made here, so it is never overwritten.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import PIL

from minicoulomb.data.decoding import BATCH, Job, decoded
from minicoulomb.data.images import FILTER, check_geometry
from minicoulomb.data.listing import by_position, in_order, read_listing, without_twins, write_listing
from minicoulomb.data.partial import Partial
from minicoulomb.data.source import Entry, Source, file_stamp
from minicoulomb.errors import UserError, explained
from minicoulomb.files import atomic_write, check_space

VERSION = 2


class PrepareReport(NamedTuple):
    """path: the array; n: its images; skipped: (name, reason) of files left out; reused: nothing was decoded."""

    path: Path
    n: int
    skipped: list[tuple[str, str]]
    reused: bool


def prepare(
    source: Source,
    target: Path,
    *,
    size: int,
    crop: int | None = None,
    channels: int = 3,
    pad: bool = False,
    skip_bad: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], object] | None = None,
    listed: list[Entry] | None = None,
) -> PrepareReport:
    """Decode the images of `source` into `target`, unless it already holds exactly these.

    Parameters
    ----------
    source
        the images, as data/sources.py finds them
    target
        the .npy file; its manifest and list are put beside it
    size, crop, channels, pad
        the geometry of data/images.py: (size, size, channels) from the central crop x crop square, or from the whole
        image on a square
    skip_bad
        leave out an image that cannot be decoded, instead of stopping
    workers
        processes that decode; the result does not depend on their number
    progress
        is called with (done, total) after each batch of images
    listed
        the images, if they are listed already

    Raises
    ------
    UserError
        if the source or an image cannot be read, or the target cannot be written or is not a cache
    """
    check_geometry(size, crop, channels, pad)
    target = Path(target)
    if target.suffix != ".npy":
        raise UserError(f"{target}: the output is a .npy file; use {target.with_suffix('.npy')}")
    settings = {"version": VERSION, "size": size, "crop": crop, "channels": channels, "filter": FILTER.name}
    settings |= {"pad": True} if pad else {}
    about = {"settings": settings, "source": {"kind": source.kind, "stamp": source.stamp()}}
    remedy = "free some space or choose another place, and run the same command again"
    with explained(f"{target}: cannot be written", remedy):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial, entries = Partial(target), source.entries if listed is None else listed.copy
        if not partial.folder.exists() and (report := _reusable(entries, target, about, skip_bad)):
            return report
        with partial:
            if report := _reusable(entries, target, about, skip_bad):  # another process has made it meanwhile
                partial.discard()
                return report
            job = Job(source, partial.files, BATCH, size, crop, channels, pad)
            return _make(job, entries, partial, target, about, skip_bad, workers, progress)


def cache_path(source: Path, size: int, crop: int | None, channels: int, root: Path, pad: bool = False) -> Path:
    """Where `root` keeps the cache of the data at `source` with these settings: root/name-hash.npy."""
    resolved = Path(source).resolve()
    settings = os.fsencode(resolved) + repr((size, crop, channels, *["pad"] * pad)).encode()
    return Path(root) / f"{resolved.name[:40]}-{hashlib.sha256(settings).hexdigest()[:12]}.npy"


def _make(job, entries, partial, target, about, skip_bad, workers, progress):
    """List, decode, and move the files to their places."""
    source, shape = job.source, (job.size, job.size, job.channels)
    listing = write_listing(_sorted(entries, target), partial.files, BATCH)
    if not listing.n:
        rule = "it must hold files that end in .jpg, .jpeg, .png or .webp"
        remedy = "convert others, such as .heic, .gif or .tif, and name a .npy or .csv file itself"
        raise UserError(f"{source.path}: no images; {rule}; {remedy}")
    about |= {"files": {"n": listing.n, "sha256": listing.sha256}, "decoder": f"Pillow {PIL.__version__}"}
    if source.forward:
        job = job._replace(listing=partial.forward)
        listing = write_listing(in_order(read_listing(partial.files), target.parent, by_position), job.listing, BATCH)

    row_bytes = job.size**2 * job.channels
    partial.begin({**about, "batch": BATCH}, row_bytes)
    wanted = ((1 + source.forward) * listing.n - partial.rows) * row_bytes
    check_space(target, f"{listing.n:,} images", wanted, "free some space or use a smaller --size")
    _decode(job, partial, listing, skip_bad, workers, progress)

    path, digest = partial.finish(shape, source.forward)
    about |= {"skipped": partial.skipped, "array": {"n": partial.rows, "sha256": digest, "stamp": file_stamp(path)}}
    partial.files.replace(_beside(target, ".files"))
    with atomic_write(partial.manifest) as file:
        file.write(json.dumps(about, indent=1).encode())
    partial.manifest.replace(_beside(target, ".json"))
    path.replace(target)
    partial.discard()
    return PrepareReport(target, partial.rows, [tuple(pair) for pair in partial.skipped], reused=False)


def _decode(job, partial, listing, skip_bad, workers, progress):
    """Append all entries that the journal does not have yet; raise the first bad one's error unless `skip_bad`."""

    def check(bad):
        if bad and not skip_bad:
            name, reason = bad[0]
            raise UserError(f"{job.source.path}: {name:.255}: {reason}; or use --skip-bad to leave it out")

    check(partial.skipped)
    positions = listing.batches[-(-partial.done // BATCH) :]
    bad = partial.skipped[:1]
    # Closed at once; otherwise its processes would live as long as an exception.
    with closing(decoded(job, positions, listing.n - partial.done, workers)) as batches:
        for batch in batches:
            check(batch.bad)
            bad = bad or batch.bad[:1]
            partial.append(batch)
            if progress:
                progress(partial.done, listing.n)
    if not partial.rows:
        partial.discard()
        name, reason = bad[0]
        raise UserError(
            f"{job.source.path}: none of its {listing.n} images can be used; the first, {name:.255}: {reason}"
        )
    partial.note()


def _reusable(entries, target, about, skip_bad):
    """The report of the cache in `target` if it holds what is wanted, else None."""
    if not target.exists():
        return None
    try:
        stored = json.loads(_beside(target, ".json").read_bytes())
        same = all(stored[key] == about[key] for key in about)
        same &= stored["array"]["stamp"] == file_stamp(target) and _beside(target, ".files").exists()
        if same and about["source"]["stamp"] is None:
            same = stored["files"]["sha256"] == write_listing(_sorted(entries, target), None, BATCH).sha256
        report = PrepareReport(target, stored["array"]["n"], [(a, b) for a, b in stored["skipped"]], reused=True)
    except FileNotFoundError:
        raise UserError(f"{target}: exists and is not a cache; remove it or choose another name") from None
    except Exception:  # a manifest of another version, or a damaged one
        return None
    return report if same and (skip_bad or not report.skipped) else None


def _sorted(entries, target):
    return without_twins(in_order(entries(), target.parent))


def _beside(target, suffix):
    return target.with_name(target.name + suffix)
