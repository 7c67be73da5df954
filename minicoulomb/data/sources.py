"""`--data` -> a data set: a built-in name, images in any form, text, or an array or table of numbers.

`find` looks once at what lies at a path, and `open_dataset` uses what it found. The content decides, not the name: the
first bytes of a file, the first names in an archive. Only tables and text are such by their suffix, and text by a
configured length of its lines.
"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from minicoulomb.arrays.threads import available_cores
from minicoulomb.config import Config, fitting_side
from minicoulomb.data.archives import BLOCK, COMPRESSED, ZSTANDARD, Tar, Zip, is_tar, zip_names
from minicoulomb.data.arrays import Rows, array_dataset, load_array
from minicoulomb.data.cache import cache_path, prepare
from minicoulomb.data.cifar import Cifar, batches_folder, check_no_cifar_100, holds_batches
from minicoulomb.data.dataset import ArrayDataset, Dataset
from minicoulomb.data.digits import digits
from minicoulomb.data.folder import Folder
from minicoulomb.data.lsun import Lmdb, is_lmdb
from minicoulomb.data.mixtures import grid, ring
from minicoulomb.data.source import Entry, Source
from minicoulomb.data.survey import Survey, survey
from minicoulomb.data.text import LENGTH, Text, is_text, open_text, text_at
from minicoulomb.errors import UserError, explained

BUILT_IN = {"grid": grid, "ring": ring, "digits": digits}
# The largest side that images of one size keep; all others get it.
SIDE = 32
# From this side on the layers that halve an image relate its distant parts; below, one more is added (models.py).
DEEP = 32
# Images are padded, not enlarged, to a side that is larger by at most this factor.
PADDED = 1.25
PAPER = "--preset paper-images for the paper's networks"
# How many names of an archive are read to see what it holds.
FIRST = 16
FORMS = "a folder, zip or tar of images, an LMDB, CIFAR-10, or a .npy / .npz / .csv / .tsv / .txt file"
# What a file is that begins so (in lower case, without blanks before it), and the remedy.
UNPACK = "unpack it and name the folder"
CONVERT = "save its points as CSV, or its images as an array with numpy.save"
OTHERS = {
    b"<": ("a web page, such as a notice that a quota is used up", "fetch the file again, and look at its size"),
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "run git lfs pull"),
    b"rar!": ("a RAR archive", UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", UNPACK),
    b"par1": ("a Parquet table", CONVERT),
    b"\x89hdf": ("an HDF5 file", CONVERT),
    b"arrow1": ("an Arrow table", CONVERT),
    b"\0\0\x08\x03": (
        "MNIST's format",
        "save numpy.fromfile(FILE, 'u1', offset=16).reshape(-1, 28, 28)",
    ),
    b"\x80": ("a pickle, which could run programs", "name the folder if it is CIFAR-10's; else use numpy.save"),
    b"\xff\xd8\xff": ("a single image", "name its folder"),
    b"\x89png": ("a single image", "name its folder"),
}


class Found(NamedTuple):
    """What `--data` names: a data set, or images or text that must still be decoded; a line `about` it.

    entries: the images of the source, if all are listed already
    """

    data: str
    content: Dataset | Source | Text
    about: str | None = None
    entries: list[Entry] | None = None

    @property
    def kind(self) -> str:
        """ "grid", "ring", "digits", "points", "array" (of images), "images" (files to decode) or "text"."""
        if self.data in BUILT_IN:
            return self.data
        if isinstance(self.content, Text):
            return "text"
        if isinstance(self.content, Source):
            return "images"
        return "array" if len(self.content.shape) == 3 else "points"

    @property
    def dataset(self) -> Dataset | None:
        """The data set; None for images or text that must still be decoded."""
        return self.content if isinstance(self.content, Dataset) else None

    def shape(self, config: Config) -> tuple[int, ...]:
        """Shape of one sample; images to decode are (size, size, channels) as configured, text has at most so many."""
        decoded = self.decoded(config)
        if isinstance(decoded, Text):
            return config.data.length or LENGTH, config.data.vocabulary
        if isinstance(decoded, Dataset):
            return decoded.shape
        size = config.data.size or decoded.size
        return size, size, config.data.channels or decoded.channels

    def decoded(self, config: Config) -> Dataset | Source | Text:
        """The content; for an array of images that must change, their source."""
        if not isinstance(self.content, Dataset) or self.kind != "array":
            return self.content
        height, width, channels = self.content.shape
        size, wanted = config.data.size, config.data.channels or channels
        if (size or height, size or width, wanted) == (height, width, channels) and not config.data.crop:
            return self.content
        return Rows(Path(self.data), min(height, width), channels)


def suit(found: Found, chosen: dict[str, Any], further: str = PAPER) -> tuple[Found, dict[str, Any]]:
    """What was found with a line about it, and the chosen settings with size, channels, padding and layers that suit.

    Images of one size that have at most SIDE pixels a side keep it, on the next larger square that convolutional
    networks take. All others get SIDE, but arrays of a fitting size stay as they are. What is chosen comes first. The
    line ends with `further` options.
    """
    largest = SIDE
    if isinstance(found.content, ArrayDataset):
        height, width, channels = found.content.shape
        images = Survey(len(found.content.array), [(width, height)], channels == 1)
        largest = width if width == height == fitting_side(width) else SIDE
    else:
        assert isinstance(found.content, Source)
        images = survey(found.content)
    chosen = {name: value for name, value in chosen.items() if value is not None}
    takes_any_shape = chosen.get("generator") == chosen.get("discriminator") == "mlp" and found.kind == "array"
    if not images.sizes or takes_any_shape:
        return found, chosen
    crop = chosen.get("crop")
    sizes = [(crop, crop)] if crop else images.sizes
    alike, side = len(set(sizes)) == 1, max(sizes[0])
    size = chosen.get("size") or (fitting_side(side) if alike and side <= largest else SIDE)
    pad = alike and not crop and side <= size <= PADDED * side and sizes[0] != (size, size)
    suitable = {"size": size, "channels": 1 if images.grey else 3, "pad": pad, "extra_layers": int(size < DEEP)}
    settings = suitable | chosen
    about = _about(images, settings, "size" in chosen, further)
    return found._replace(about=about, entries=images.entries), settings


def _about(images, settings, is_chosen, further):
    """A line about images, what becomes of them, and the options that change it."""
    n, size = f"{images.n:,} image{'s' * (images.n > 1)}" if images.n else "images", settings["size"]
    width, height = max(images.sizes, key=images.sizes.count)
    others = " and other sizes" * (len(set(images.sizes)) > 1)
    made = f"{size}x{size} {'grey' if settings['channels'] == 1 else 'colour'}{', padded' * settings['pad']}"
    larger = "--size 64 for larger ones" * (size < (settings.get("crop") or min(width, height)) and not is_chosen)
    options = ", ".join(filter(None, (larger, further)))
    name = Path(settings["data"]).resolve().name  # of ., too
    return f"{name}: {n} of {width}x{height}{others} -> {made}{'; ' * bool(options)}{options}"


def find(data: str, as_text: bool = False) -> Found:
    """What lies at `data`, which is text by its suffix, or with `as_text`.

    An array is checked and measured. UserError if it is none of the forms.
    """
    if data in BUILT_IN:
        here = f"{data}: the built-in data; write ./{data} for what lies here"
        return Found(data, BUILT_IN[data](), here if Path(data).exists() else None)
    _check_exists(data, "nothing is there; use --data")
    if as_text or is_text(Path(data)):
        return Found(data, text_at(Path(data)))
    return Found(data, image_source(Path(data)) or array_dataset(Path(data)))


def _check_exists(path, remedy):
    with explained(f"data {str(path)!r:.200}: cannot be found", "use a shorter path"):
        if not Path(path).exists():
            raise UserError(f"data {str(path)!r}: must be {', '.join(BUILT_IN)}, {FORMS}; {remedy}")


def image_source(path: Path) -> Source | None:
    """The images at a path; None if it is a file to be read as an array."""
    _check_exists(path, "nothing is there")
    if not path.is_dir() and not path.is_file():
        raise UserError(f"{path}: a pipe or a device: must be {FORMS}; write its bytes to a file first")
    if is_lmdb(path):
        return Lmdb(path)
    if path.is_dir():
        check_no_cifar_100(path)
        return Cifar(path) if batches_folder(path) else Folder(path)
    with explained(f"{path}: cannot be read", "make it readable"), path.open("rb") as file:
        start = file.read(BLOCK)
        if start.startswith(b"PK"):
            names = zip_names(file)
            if any(name.startswith(("xl/", "[Content_Types]")) for name in names):
                raise UserError(f"{path}: an Office file: must be {FORMS}; save its table as CSV UTF-8")
            # A .npz file is a zip archive of arrays. The suffix decides about an archive that cannot be read.
            is_arrays = all(name.endswith(".npy") for name in names) if names else path.suffix != ".zip"
            return None if is_arrays else Zip(path)
    if start.startswith((*COMPRESSED, ZSTANDARD)) or is_tar(start):
        source = Tar(path)
        with source.opened() as archive:
            names = [member.name for member in islice(source.members(archive), FIRST)]
        check_no_cifar_100(path, names)
        return Cifar(path) if holds_batches(names) else source
    begins = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, (what, remedy) in OTHERS.items():
        if begins.startswith(magic):
            raise UserError(f"{path}: {what}: must be {FORMS}; {remedy}")
    return None


def open_dataset(
    config: Config,
    cache: Path,
    progress: Callable[[int, int], object] | None = None,
    skipped: Callable[[str, str], object] = lambda name, reason: None,
    found: Found | None = None,
    alphabet: str = "",
) -> Dataset:
    """The data set that a configuration names.

    Parameters
    ----------
    config
        its `data` part names the data, their size, crop and channels, and how many samples are held out
    cache
        folder for decoded images and text. Images are decoded once, by one process for each configured thread.
    progress
        is called with (done, total) after each batch of decoded images, or MB of text
    skipped
        is called with (name, reason) for each image that is left out
    found
        what `find` returned for `config.data.data`; by default it is called here
    alphabet
        that of a run which meets text

    Raises
    ------
    UserError
        if the data cannot be read, or do not have the configured size or channels
    """
    found = found or find(config.data.data, config.data.length is not None)
    images = found.decoded(config)
    if isinstance(images, Text):
        return _read_text(config, images, cache, alphabet, progress)
    if isinstance(images, Source):
        return _decode(config, images, found.shape(config), cache, progress, skipped, found.entries)
    if found.kind != "array":
        _check_shape(config, images.shape)
    return images.holding_out(config.data.hold_out_every)


def _decode(config, source, shape, cache, progress, skipped, listed):
    path, (size, _, channels) = source.path.resolve(), shape
    settings = {"size": size, "crop": config.data.crop, "channels": channels, "pad": config.data.pad}
    report = prepare(
        source,
        cache_path(path, **settings, root=cache),
        **settings,
        skip_bad=config.data.skip_bad,
        workers=config.run.threads or available_cores(),
        progress=progress,
        listed=listed,
    )
    for name, reason in report.skipped:
        skipped(name, reason)
    name = path.name if path.is_dir() else path.name.split(".")[0]
    return ArrayDataset(name or "images", load_array(report.path), hold_out_every=config.data.hold_out_every)


def _read_text(config, text, cache, alphabet, progress):
    if not config.data.length:
        raise UserError(f"data {config.data.data}: text has lines of a --length; use --preset text, or add it")
    _check_shape(config, ())
    names = "length", "vocabulary", "lines", "skip_bad", "hold_out_every"
    settings = {name: getattr(config.data, name) for name in names}
    return open_text(text, cache, **settings, alphabet=alphabet, progress=progress)


def _check_shape(config, shape):
    data, size, channels = config.data.data, config.data.size, config.data.channels
    for option, value in (("crop", config.data.crop), ("pad", config.data.pad)):
        if value:
            raise UserError(f"{option} {value}: {data} holds no image files; leave --{option} out")
    if len(shape) != 3:
        if size or channels:
            raise UserError(
                f"{data}: holds {'points' if shape else 'text'}, not images; leave --size and --channels out"
            )
        return
    for option, value, actual in (("size", size, shape[0]), ("channels", channels, shape[2])):
        if value not in (None, actual):
            raise UserError(f"{option} {value}: {data} holds images {shape}; leave --{option} out")
