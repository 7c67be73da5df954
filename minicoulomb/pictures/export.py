"""Samples -> what the user asked for: a picture, a folder of PNG files, or one .npz; streamed, whole or not at all.

samples.png    a grid of images, or a scatter plot of points
folder/        000000.png, 000001.png, ...: one for each image
samples.npz    `images` (n, h, w, c) uint8, or `x` (n, m) floats
"""

import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from minicoulomb import pictures
from minicoulomb.data.dataset import to_pixels
from minicoulomb.errors import UserError
from minicoulomb.files import atomic_write

# A grid of more images than this has pictures too small to see.
LARGEST_GRID = 4096


def export(blocks: Iterator[np.ndarray], n: int, shape: tuple[int, ...], target: Path) -> None:
    """Write n samples of `shape`, which come in blocks, to `target`; its name says how.

    Raises UserError for a name that says nothing, samples that do not fit it, or a place that cannot be written.
    """
    is_image = len(shape) == 3
    if target.suffix == ".npz":
        _write_npz(blocks, n, shape, target)
    elif target.suffix.lower() == ".png":
        if is_image and n > LARGEST_GRID:
            raise UserError(
                f"{target}: a grid of {n} images: shows at most {LARGEST_GRID}; use -o FOLDER/ or a .npz file"
            )
        x = np.concatenate(list(blocks))
        pictures.save(pictures.image_grid(x) if is_image else pictures.scatter(None, x), target)
    elif target.suffix:
        raise UserError(f"{target}: must end in .png or .npz, or be a folder; use -o samples.png")
    elif not is_image:
        raise UserError(f"{target}: a folder holds images, and these are points; use -o samples.npz or .png")
    else:
        _write_folder(blocks, n, target)


def check_rows(what: str, n: int, columns: int, shape: tuple[int, ...], target: Path) -> None:
    """UserError unless a picture of n rows and so many columns of samples of `shape` can be written to `target`.

    what   the option that asks for it
    """
    if len(shape) != 3:
        raise UserError(f"{what}: rows of images, and these samples are points of {shape[0]} numbers; leave {what} out")
    if target.suffix.lower() != ".png":
        raise UserError(f"{target}: {what} draws one picture; use -o {target.stem}.png")
    if n * columns > LARGEST_GRID:
        raise UserError(f"{target}: {n} rows of {columns} images: at most {LARGEST_GRID} can be seen; ask for less")


def _write_npz(blocks, n, shape, target):
    is_image = len(shape) == 3
    header = {"descr": "|u1" if is_image else "<f4", "fortran_order": False, "shape": (n, *shape)}
    with (
        atomic_write(target) as file,
        zipfile.ZipFile(file, "w") as archive,
        archive.open("images.npy" if is_image else "x.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for block in blocks:
            member.write((to_pixels(block) if is_image else block.astype("<f4")).tobytes())


def _write_folder(blocks, n, target):
    digits = max(6, len(str(n - 1)))
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(f"{target}: exists and is not an empty folder; choose another name")
        draft.mkdir(parents=True)
        number = 0
        for block in blocks:
            for image in block:
                pictures.image_grid(image[None], padding=0, zoom=1).save(draft / f"{number:0{digits}d}.png")
                number += 1
        if target.exists():
            target.rmdir()
        draft.rename(target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
