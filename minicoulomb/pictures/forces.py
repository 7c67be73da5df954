"""Forces on images, as images: one row for each sample.

    sample | force f, as 127.5 + 127.5 f / max |f| | the sample moved by STEP f / max |f| | the next force ...

A grey pixel of a force stays as it is, a lighter one increases, a darker one decreases, in each channel. max |f| is
that of each picture alone.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minicoulomb.pictures.colours import INK, PAPER, VERMILION
from minicoulomb.pictures.images import image_grid

# The largest change is half of the way from black to white, which is visible.
STEP = 1.0


def force_rows(
    x: np.ndarray, forces: dict[str, np.ndarray], cosines: Sequence[float], title: str, caption: str
) -> Image.Image:
    """A row for each sample x (n, h, w, c) with the forces on it by name; `cosines` (n,), if any, end the rows.

    The caption may have several lines. The size of the page depends on x, the names and the caption alone.
    """
    columns, heads = [x], ["generated x"]
    for name, values in forces.items():
        directions = normalised(values)
        columns += [directions, x + STEP * directions]
        heads += [name, f"x moved along {name}"]
    n, h, w, _ = x.shape
    zoom = max(1, round(130 / w))
    gap, wide, high = 14, zoom * w, zoom * h
    font, bold = ImageFont.load_default(15), ImageFont.load_default(20)
    column = max(wide, *(round(font.getlength(line)) for head in heads for line in _lines(head)))
    room = round(font.getlength("cosine -0.00")) if len(cosines) else 0
    top, below = 96, 22 * len(caption.splitlines()) + 12
    width = gap + len(heads) * (column + gap) + room + gap
    width = max([width] + [2 * gap + round(font.getlength(line)) for line in caption.splitlines()])
    page = Image.new("RGB", (width, top + n * (high + gap) + below), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((gap, 32), title, INK, bold, anchor="ls")
    for i, (head, images) in enumerate(zip(heads, columns, strict=True)):
        left = gap + i * (column + gap) + (column - wide) // 2
        lines = _lines(head)
        for j, line in enumerate(lines):
            draw.text((left + wide / 2, top - 12 - 19 * (len(lines) - 1 - j)), line, INK, font, anchor="ms")
        for j, image in enumerate(images):
            place = left, top + j * (high + gap)
            page.paste(image_grid(image[None], padding=0, zoom=zoom).convert("RGB"), place)
            if i == 0:
                draw.rectangle((place[0] - 4, place[1] - 4, left + wide + 3, place[1] + high + 3), None, VERMILION, 4)
    for j, cosine in enumerate(cosines):
        place = width - gap - room, top + j * (high + gap) + high / 2
        draw.text(place, f"cosine {cosine:.2f}", INK, font, anchor="lm")
    for j, line in enumerate(caption.splitlines()):
        draw.text((gap, page.height - below + 22 * j), line, INK, font, anchor="la")
    return page


def normalised(forces: np.ndarray) -> np.ndarray:
    """Forces (n, h, w, c), each divided by its largest absolute value unless that is 0."""
    largest = np.abs(forces).max(axis=(1, 2, 3), keepdims=True)
    return forces / np.where(largest > 0, largest, 1)


def _lines(head):
    """Lines of the head, with a break before "along"."""
    return head.replace(" along", "\nalong").splitlines()
