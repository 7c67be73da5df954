"""Pictures to files, whole or not at all."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from minicoulomb.errors import UserError
from minicoulomb.files import atomic_write

# Colours that an animation shows exactly: its paper, its text, its frames.
FREQUENT = 16


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG file, whole or not at all."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: pictures are PNG files; use {path.stem}.png")
    with atomic_write(path) as file:
        picture.save(file, format="PNG")


def save_animation(frames: Iterable[Image.Image], path: Path, seconds: float = 0.1, hold: float = 2.0) -> None:
    """Write a GIF file that runs for ever: each frame is shown for `seconds`, the last one for `hold`.

    All frames share a palette of 256 colours, so that nothing flickers, chosen from the first, the middle and the last.
    Of a sequence that draws its frames when they are asked for, one is in memory at a time, and a byte for each
    pixel of all.
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise UserError(f"{path}: animations are GIF files; use {path.stem}.gif")
    frames = frames if isinstance(frames, Sequence) else list(frames)
    if not frames:
        raise UserError(f"{path}: no frames; an animation takes at least one")
    palette = _palette([frames[i] for i in sorted({0, len(frames) // 2, len(frames) - 1})])
    first, *rest = (_indexed(frames[i], palette) for i in range(len(frames)))
    durations = [round(1000 * seconds)] * len(rest) + [round(1000 * hold)]
    with atomic_write(path) as file:
        first.save(file, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0)


def _palette(frames):
    """At most 256 colours (n, 3): the most frequent ones as they are, and the median cut of the others.

    A colour there counts by the root of its pixels, or the deep shades of a map would yield to its many pale ones.
    """
    colours, counts = np.unique(np.concatenate([_numbers(frame) for frame in frames]), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    frequent, others = colours[order[:FREQUENT]], order[FREQUENT:]
    if not len(others):
        return _channels(frequent)
    weighted = np.repeat(colours[others], np.ceil(np.sqrt(counts[others])).astype(int))
    cut = Image.fromarray(_channels(weighted)[None]).quantize(256 - FREQUENT).getpalette()
    return np.concatenate([_channels(frequent), np.array(cut, np.uint8).reshape(-1, 3)])


def _indexed(frame, palette):
    """The frame in the nearest colours of the palette; Pillow's own search takes a near white for white."""
    colours, places = np.unique(_numbers(frame), return_inverse=True)
    channels, palette = _channels(colours).astype(np.float32), palette.astype(np.float32)
    nearest = ((palette * palette).sum(axis=1) - 2 * channels @ palette.T).argmin(axis=1)
    indexed = Image.fromarray(nearest[places].astype(np.uint8).reshape(frame.height, frame.width), "P")
    indexed.putpalette(palette.astype(np.uint8).tobytes())
    return indexed


def _numbers(frame):
    """The colours of a frame's pixels as numbers of 24 bits, (pixels,)."""
    return np.asarray(frame.convert("RGB")).reshape(-1, 3) @ np.array([1 << 16, 1 << 8, 1])


def _channels(colours):
    """(n,) numbers of 24 bits as (n, 3) bytes."""
    return np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=-1).astype(np.uint8)
