"""Pictures side by side in labelled rows and columns.

sheet("ring", ["seed 0", "seed 1"], {"coulomb": [a, b], "gan": [c, d]})
"""

from PIL import Image, ImageDraw, ImageFont

from minicoulomb.pictures.colours import FRAME, INK, PAPER

GAP = 8
# Room for the rows' labels, and for the title and those of the columns.
LEFT, TOP = 150, 90


def sheet(title: str, columns: list[str], rows: dict[str, list[Image.Image]]) -> Image.Image:
    """A page with `rows`, pictures of one size by label, each with a picture for every column."""
    wide, high = next(iter(rows.values()))[0].size
    page = Image.new("RGB", (LEFT + (wide + GAP) * len(columns), TOP + (high + GAP) * len(rows)), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    draw.text((16, 34), title, INK, ImageFont.load_default(20), anchor="lm")
    for i, column in enumerate(columns):
        draw.text((LEFT + i * (wide + GAP), TOP - 14), column, INK, font, anchor="lm")
    for j, (label, row) in enumerate(rows.items()):
        y = TOP + j * (high + GAP)
        draw.text((16, y + high // 2), label, INK, font, anchor="lm")
        for i, picture in enumerate(row):
            x = LEFT + i * (wide + GAP)
            page.paste(picture, (x, y))
            draw.rectangle((x - 1, y - 1, x + wide, y + high), outline=FRAME)
    return page
