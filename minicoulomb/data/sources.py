"""`--data` -> a data set: a built-in name, a folder of images, or a .npy / .npz file."""

from collections.abc import Callable
from pathlib import Path

from minicoulomb.config import Config
from minicoulomb.data.arrays import array_dataset
from minicoulomb.data.cache import cache_path, open_cache, prepare
from minicoulomb.data.dataset import ArrayDataset, Dataset
from minicoulomb.data.digits import digits
from minicoulomb.data.mixtures import grid, ring
from minicoulomb.errors import UserError

BUILT_IN = ("grid", "ring", "digits")
# What a folder of images is decoded to where nothing else is said: the paper's CelebA and LSUN.
FOLDER_SIZE, FOLDER_CHANNELS = 64, 3


def kind(data: str) -> str:
    """ "grid", "ring", "digits", "folder" or "array"; UserError if `data` is none of them."""
    if data in BUILT_IN:
        return data
    if Path(data).is_dir():
        return "folder"
    if Path(data).is_file():
        return "array"
    raise UserError(
        f"data {data!r}: must be {', '.join(BUILT_IN)}, a folder of images, or a .npy / .npz file; nothing is there"
    )


def open_dataset(
    config: Config,
    cache: Path,
    progress: Callable[[int, int], object] | None = None,
    skipped: Callable[[str, str], object] = lambda name, reason: None,
) -> Dataset:
    """The data set that a configuration names.

    A folder of images is decoded once into `cache`, telling progress(done, total), and skipped(name, reason) of each
    image left out. UserError where the data do not have the configured size or channels.
    """
    what = kind(config.data)
    if what == "folder":
        return _folder(config, cache, progress, skipped)
    if what == "array":
        dataset = array_dataset(Path(config.data), config.hold_out_every)
    else:
        dataset = digits(config.hold_out_every) if what == "digits" else {"grid": grid, "ring": ring}[what]()
    _check_shape(config, dataset)
    return dataset


def folder_shape(config: Config) -> tuple[int, int, int]:
    """(size, size, channels) of the images that a folder will be decoded to."""
    size = config.size or FOLDER_SIZE
    return size, size, config.channels or FOLDER_CHANNELS


def _folder(config, cache, progress, skipped):
    size, _, channels = folder_shape(config)
    settings = {"size": size, "crop": config.crop, "channels": channels}
    target = cache_path(Path(config.data), **settings, root=cache)
    report = prepare(Path(config.data), target, **settings, skip_bad=config.skip_bad, progress=progress)
    for name, reason in report.skipped:
        skipped(name, reason)
    name = Path(config.data).resolve().name or "images"
    return ArrayDataset(name, open_cache(report.path), hold_out_every=config.hold_out_every)


def _check_shape(config, dataset):
    if config.crop:
        raise UserError(f"crop {config.crop}: {config.data} is not a folder of images; leave --crop out")
    if len(dataset.shape) != 3:
        if config.size or config.channels:
            raise UserError(f"{config.data}: holds points, not images; leave --size and --channels out")
        return
    height, width, channels = dataset.shape
    for option, value, own in (("size", config.size, height), ("channels", config.channels, channels)):
        if value not in (None, own):
            raise UserError(
                f"{option} {value}: {config.data} holds {height}x{width} images with {channels} channels; leave "
                f"--{option} out, or prepare the data again"
            )
