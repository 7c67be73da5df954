"""Pictures, animations and samples -> files, each whole or not at all.

save              a PNG file
save_animation    a GIF file
export            samples as samples.png, a grid of images or a picture of points (points.py);
                  as folder/000000.png, 000001.png, ..., one file for each image;
                  as lines.txt, a line of text for each sample;
                  or as samples.npz, with `images` (n, h, w, c) uint8 or `x` (n, m), float32, of a file's points float64
"""

import zipfile
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path

import numpy as np
from PIL import Image

from minicoulomb.arrays.limits import check_memory
from minicoulomb.data.dataset import to_pixels
from minicoulomb.data.text import to_lines
from minicoulomb.errors import UserError, explained
from minicoulomb.files import atomic_write, check_space, draft
from minicoulomb.pictures.images import image_grid
from minicoulomb.pictures.points import draw_points

# In a larger grid the images are too small.
LARGEST_GRID = 4096
# Bytes for each point of a picture: its coordinates and pixel in float64, and what is computed from them.
POINT = 100
# Bytes on the disk for the smallest file.
SMALLEST = 4096
# Pillow looks for the nearest colour of 252 in place of 255: any lighter grey than this could replace white.
NEAR_WHITE = 247


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG file."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: pictures are PNG files; use {path.stem}.png")
    with atomic_write(path) as file:
        picture.save(file, format="PNG")


def save_animation(frames: Iterable[Image.Image], path: Path, seconds: float = 0.1, hold: float = 2.0) -> None:
    """Write a GIF file in an endless loop: each frame lasts `seconds`, the last one `hold`.

    All frames share a palette of 256 colours, which avoids flicker; it is that of the first, the middle and the last
    frame.
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise UserError(f"{path}: animations are GIF files; use {path.stem}.gif")
    frames = list(frames)
    if not frames:
        raise UserError(f"{path}: no frames; an animation needs at least one")
    three = [np.asarray(frames[i].convert("RGB")) for i in sorted({0, len(frames) // 2, len(frames) - 1})]
    # MAXCOVERAGE keeps rare colours: a map has many pale pixels and few deep ones.
    palette = Image.fromarray(np.concatenate(three)).quantize(256, Image.Quantize.MAXCOVERAGE)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    palette.putpalette(np.where((colours >= NEAR_WHITE).all(axis=1, keepdims=True), 255, colours).ravel().tolist())
    none = Image.Dither.NONE
    first, *rest = (frame.convert("RGB").quantize(palette=palette, dither=none) for frame in frames)
    durations = [round(1000 * seconds)] * len(rest) + [round(1000 * hold)]
    with atomic_write(path) as file:
        first.save(file, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0)


def export(
    blocks: Iterator[np.ndarray],
    n: int,
    shape: tuple[int, ...],
    target: Path,
    dtype: str = "<f4",
    real: np.ndarray | None = None,
    alphabet: str = "",
) -> None:
    """Write n samples of `shape`, an iterator of blocks, to `target`, in the format of its name.

    Points in a .npz file have the given dtype; in a picture they lie over `real` ones, if any. Lines of text have
    characters of the alphabet.

    Raises UserError for an unknown format, a format that does not fit the samples, or an unwritable place.
    """
    is_image = len(shape) == 3
    if target.suffix == ".npz":
        _write_npz(blocks, n, shape, target, dtype)
    elif alphabet:
        if target.suffix.lower() != ".txt":
            raise UserError(f"{target}: lines of text are written to a .txt or .npz file; use -o {target.stem}.txt")
        write_lines((line for block in blocks for line in to_lines(block, alphabet)), target)
    elif target.suffix.lower() == ".png":
        if is_image and n > LARGEST_GRID:
            raise UserError(f"{n} images: a grid has at most {LARGEST_GRID}; use -o FOLDER or a .npz file")
        check_memory(f"a picture of {n:,} points", n * POINT, "use a smaller -n, or a .npz file")
        x = np.concatenate(list(blocks))
        save(image_grid(x) if is_image else draw_points(real, x), target)
    elif target.suffix:
        raise UserError(f"{target}: samples are a .png or .npz file or a folder; use -o samples.png")
    elif not is_image:
        raise UserError(f"{target}: a folder holds images, but these samples are points; use -o samples.npz or .png")
    else:
        _write_folder(blocks, n, target)


def write_lines(lines: Iterable[str], target: Path) -> None:
    """Write lines of text as UTF-8."""
    with atomic_write(target) as file:
        file.writelines(f"{line}\n".encode() for line in lines)


def check_rows(option: str, n: int, columns: int, shape: tuple[int, ...], target: Path) -> None:
    """UserError unless a picture of n rows of samples of `shape`, as `option` draws, can be written to `target`."""
    if len(shape) != 3:
        what = f"points of {shape[0]} numbers" if len(shape) == 1 else "lines of text"
        raise UserError(f"{option}: draws images, but these samples are {what}; drop {option}")
    if target.suffix.lower() != ".png":
        raise UserError(f"{target}: {option} draws one picture; use -o {target.stem}.png")
    if n * columns > LARGEST_GRID:
        raise UserError(f"{target}: a picture has at most {LARGEST_GRID} images, not {n} rows of {columns}; use fewer")


def _write_npz(blocks, n, shape, target, dtype):
    is_image = len(shape) == 3
    header = {"descr": "|u1" if is_image else dtype, "fortran_order": False, "shape": (n, *shape)}
    size = prod(shape) * np.dtype(header["descr"]).itemsize
    check_space(target, f"{n:,} samples", n * size, "use a smaller -n")
    with (
        atomic_write(target) as file,
        zipfile.ZipFile(file, "w") as archive,
        archive.open("images.npy" if is_image else "x.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for block in blocks:
            member.write((to_pixels(block) if is_image else block.astype(dtype)).tobytes())


def _write_folder(blocks, n, target):
    check_space(target, f"{n:,} samples", n * SMALLEST, "use a smaller -n")
    digits = max(6, len(str(n - 1)))
    with explained(f"{target}: cannot be written", "choose another place"):
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(f"{target}: exists and is not an empty folder; choose another name")
        target.parent.mkdir(parents=True, exist_ok=True)
        with draft(target, folder=True) as folder:
            images = (image for block in blocks for image in block)
            for number, image in enumerate(images):
                image_grid(image[None], padding=0, zoom=1).save(folder / f"{number:0{digits}d}.png")
            if target.exists():
                target.rmdir()
            folder.rename(target)
