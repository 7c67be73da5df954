"""A folder of images, decoded once into one memory-mapped array.

    folder -> faces.npy (n, size, size, channels) uint8, and faces.npy.json: the manifest

The manifest holds the settings, the byte size and modification time of every source file, what was skipped, and
the byte size and modification time of the array itself. The cache is reused only if all of that is still true.

Both files are written aside, synced and renamed, the manifest first. A crash between the two renames leaves a
manifest that describes an array which is not there (the old one has another time), so the next call rebuilds;
and an array without a manifest is never ours, so it is never overwritten.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicoulomb.data.arrays import load_array
from minicoulomb.data.images import FILTER, check_geometry, decode_image, find_images
from minicoulomb.errors import UserError
from minicoulomb.files import written_aside

VERSION = 1


class PrepareReport(NamedTuple):
    """path: the array; n: its images; skipped: (name, reason) of files left out; reused: nothing was decoded."""

    path: Path
    n: int
    skipped: list[tuple[str, str]]
    reused: bool


def prepare(
    source: Path,
    target: Path,
    *,
    size: int,
    crop: int | None = None,
    channels: int = 3,
    skip_bad: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> PrepareReport:
    """Decode the images under `source` into `target`, unless it already holds just that.

    A file that cannot be decoded stops the work, or is left out with `skip_bad`. `progress(done, total)` is called
    after each file. Memory does not grow with the number of images, but for their names.
    """
    check_geometry(size, crop, channels)
    source, target = Path(source), Path(target)
    if target.suffix != ".npy":
        raise UserError(f"{target}: the cache must be called *.npy; use {target.name}.npy")
    paths = find_images(source)
    settings = {"version": VERSION, "size": size, "crop": crop, "channels": channels, "filter": FILTER.name}
    manifest = {"settings": settings, "files": {path.relative_to(source).as_posix(): _stamp(path) for path in paths}}

    manifest_path = target.with_name(target.name + ".json")
    stored = _load_manifest(manifest_path)
    if target.exists():
        if stored is None:
            raise UserError(f"{target}: exists and is not a cache; remove it or choose another name")
        current = manifest | {"skipped": stored.get("skipped"), "array": _stamp(target)}
        if stored == current and (skip_bad or not stored["skipped"]):
            skipped = [(name, reason) for name, reason in stored["skipped"]]
            return PrepareReport(target, len(paths) - len(skipped), skipped, reused=True)

    _check_space(target.parent, len(paths) * size * size * channels)
    skipped = []
    with written_aside(target) as file:
        _write_header(file, (len(paths), size, size, channels))
        for done, (name, path) in enumerate(zip(manifest["files"], paths), 1):
            try:
                file.write(decode_image(path, size, crop, channels))
            except UserError as error:
                if not skip_bad:
                    raise UserError(f"{error}; or use --skip-bad to leave it out") from error
                skipped.append((name, str(error).removeprefix(f"{path}: ")))
            if progress:
                progress(done, len(paths))
        n = len(paths) - len(skipped)
        if not n:
            raise UserError(f"{source}: none of its {len(paths)} images can be used; the first: {skipped[0][1]}")
        file.seek(0)
        _write_header(file, (n, size, size, channels))
        file.flush()
        manifest |= {"skipped": skipped, "array": _stamp(file.fileno())}
        with written_aside(manifest_path) as manifest_file:
            manifest_file.write(json.dumps(manifest, indent=0).encode())
    return PrepareReport(target, n, skipped, reused=False)


def cache_path(source: Path, size: int, crop: int | None, channels: int, root: Path) -> Path:
    """Where `root` keeps the cache of the folder `source` with these settings: root/name-hash.npy."""
    resolved = Path(source).resolve()
    settings = os.fsencode(resolved) + repr((size, crop, channels)).encode()
    return Path(root) / f"{resolved.name[:40]}-{hashlib.sha256(settings).hexdigest()[:12]}.npy"


def open_cache(path: Path) -> np.ndarray:
    """The prepared images (n, size, size, channels), uint8, read-only and memory-mapped."""
    return load_array(path)


def _write_header(file, shape):
    # NumPy pads the header for a growing first axis, so that it can be written again over itself with another n.
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _stamp(file):
    """[bytes, modification time in ns] of a path or an open file."""
    try:
        status = os.stat(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); replace or remove it") from error
    return [status.st_size, status.st_mtime_ns]


def _load_manifest(path):
    """The manifest as a dict, {} if damaged, None if there is none."""
    try:
        stored = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _check_space(folder, needed):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UserError(f"{folder}: cannot hold the cache ({error.strerror}); choose another place") from error
    if needed > free:
        raise UserError(
            f"{folder}: the cache takes {needed / 1e6:.1f} MB and {free / 1e6:.1f} MB are free; "
            "free some space or use a smaller --size"
        )
