"""Pictures to files, whole or not at all."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from minicoulomb.errors import UserError
from minicoulomb.files import written_aside


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG file, whole or not at all."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: pictures are PNG files; use {path.stem}.png")
    with written_aside(path) as file:
        picture.save(file, format="PNG")


def save_animation(frames: Iterable[Image.Image], path: Path, seconds: float = 0.1, hold: float = 2.0) -> None:
    """Write a GIF file that runs for ever: each frame is shown for `seconds`, the last one for `hold`.

    All frames share a palette of 256 colours, which is chosen from the first and the last, so that nothing flickers.
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise UserError(f"{path}: animations are GIF files; use {path.stem}.gif")
    frames = [frame.convert("RGB") for frame in frames]
    if not frames:
        raise UserError(f"{path}: no frames; an animation takes at least one")
    both = Image.new("RGB", (frames[0].width, 2 * frames[0].height))
    for i, frame in enumerate((frames[0], frames[-1])):
        both.paste(frame, (0, i * frames[0].height))
    palette = both.quantize(256)
    first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    durations = [round(1000 * seconds)] * len(rest) + [round(1000 * hold)]
    with written_aside(path) as file:
        first.save(file, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0)
