"""`--data` -> a data set: a built-in name, images in whatever form they come, or a .npy / .npz file.

What a path is, is told by what is there, not by its name: the first bytes of a file, the first names in an archive.
"""

import tarfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from minicoulomb.arrays.threads import available_cores
from minicoulomb.config import Config
from minicoulomb.data.archives import STREAMS, ZSTANDARD, Tar, Zip, zip_names
from minicoulomb.data.arrays import array_dataset
from minicoulomb.data.cache import cache_path, open_cache, prepare
from minicoulomb.data.cifar import Cifar, batches_folder, holds_batches
from minicoulomb.data.dataset import ArrayDataset, Dataset
from minicoulomb.data.digits import digits
from minicoulomb.data.folder import Folder
from minicoulomb.data.lsun import Lmdb, is_lmdb
from minicoulomb.data.mixtures import grid, ring
from minicoulomb.data.source import Source
from minicoulomb.errors import UserError

BUILT_IN = ("grid", "ring", "digits")
# What images become where nothing else is said, in colour as in the paper.
CHANNELS = 3
# Names of an archive that are looked at to tell what it holds.
FIRST = 16
FORMS = "a folder, zip or tar of images, an LMDB, CIFAR-10, or a .npy / .npz file"


def kind(data: str) -> str:
    """ "grid", "ring" or "digits", "images" to be decoded, or "array"; UserError if `data` is none of them."""
    if data in BUILT_IN:
        return data
    path = Path(data)
    if not path.exists():
        raise UserError(f"data {data!r}: must be {', '.join(BUILT_IN)}, {FORMS}; nothing is there")
    return "images" if image_source(path) else "array"


def image_source(path: Path) -> Source | None:
    """The images at a path; None if it is a file that is to be read as an array."""
    path = Path(path)
    if is_lmdb(path):
        return Lmdb(path)
    if path.is_dir():
        return Cifar(path) if batches_folder(path) else Folder(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
            if start.startswith(b"PK"):
                names = zip_names(file)
                # A .npz file is a zip archive of arrays. One that cannot be read goes by its name.
                is_arrays = all(name.endswith(".npy") for name in names) if names else path.suffix != ".zip"
                return None if is_arrays else Zip(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    if start.startswith((*STREAMS, ZSTANDARD)) or tarfile.is_tarfile(path):
        source = Tar(path)
        with source.opened() as stream:
            names = [member.name for member in islice(source.members(stream), FIRST)]
        return Cifar(path) if holds_batches(names) else source
    return None


def open_dataset(
    config: Config,
    cache: Path,
    progress: Callable[[int, int], object] | None = None,
    skipped: Callable[[str, str], object] = lambda name, reason: None,
) -> Dataset:
    """The data set that a configuration names.

    Images are decoded once into `cache`, by a process for each thread of the configuration, telling
    progress(done, total), and skipped(name, reason) of each image left out. UserError where the data do not have the
    configured size or channels.
    """
    what = kind(config.data.data)
    if what == "images":
        return _images(config, cache, progress, skipped)
    if what == "array":
        dataset = array_dataset(Path(config.data.data), config.data.hold_out_every)
    else:
        dataset = digits(config.data.hold_out_every) if what == "digits" else {"grid": grid, "ring": ring}[what]()
    _check_shape(config, dataset)
    return dataset


def image_shape(config: Config) -> tuple[int, int, int]:
    """(size, size, channels) of what configured images will be decoded to."""
    size = config.data.size or image_source(Path(config.data.data)).size
    return size, size, config.data.channels or CHANNELS


def _images(config, cache, progress, skipped):
    size, _, channels = image_shape(config)
    settings = {"size": size, "crop": config.data.crop, "channels": channels}
    target = cache_path(Path(config.data.data), **settings, root=cache)
    workers = config.run.threads or available_cores()
    source = image_source(Path(config.data.data))
    report = prepare(source, target, **settings, skip_bad=config.data.skip_bad, workers=workers, progress=progress)
    for name, reason in report.skipped:
        skipped(name, reason)
    path = Path(config.data.data).resolve()
    name = path.name if path.is_dir() else path.name.split(".")[0]
    return ArrayDataset(name or "images", open_cache(report.path), hold_out_every=config.data.hold_out_every)


def _check_shape(config, dataset):
    if config.data.crop:
        raise UserError(f"crop {config.data.crop}: {config.data.data} holds no image files; leave --crop out")
    if len(dataset.shape) != 3:
        if config.data.size or config.data.channels:
            raise UserError(f"{config.data.data}: holds points, not images; leave --size and --channels out")
        return
    height, width, channels = dataset.shape
    for option, value, own in (("size", config.data.size, height), ("channels", config.data.channels, channels)):
        if value not in (None, own):
            raise UserError(
                f"{option} {value}: {config.data.data} holds {height}x{width} images with {channels} channels; leave "
                f"--{option} out, or prepare the data again"
            )
