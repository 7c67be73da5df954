"""Points of three or more coordinates: each two of them as a plane, and the histogram of each on the diagonal."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minicoulomb.pictures.axes import draw_legend, point_sets, range_about
from minicoulomb.pictures.colours import FRAME, INK, PAPER
from minicoulomb.pictures.line import axis_about, histogram_panel
from minicoulomb.pictures.plane import disc_opacity

# Coordinates that are shown at most, and pixels of the page and its margins.
MOST = 5
WIDE, LEFT, RIGHT, TOP, GAP = 1000, 20, 130, 84, 8


def pair_grid(real: np.ndarray | None, generated: np.ndarray, title: str = "", name: str = "generated") -> Image.Image:
    """Generated points (k, m) over real ones (n, m), if any, m >= 3, in the planes of at most MOST coordinates.

    They are those that vary most, and the title names them. Each has an axis of its own, about the real points.
    """
    among = generated if real is None else real
    low, high = range_about(among)
    shown = np.sort(np.argsort(low - high, kind="stable")[:MOST])
    axes = {c: axis_about(among[:, [c]]) for c in shown}
    pitch = (WIDE - LEFT - RIGHT) // len(shown)
    side, font, m = pitch - GAP, ImageFont.load_default(15), among.shape[1]
    page = Image.new("RGB", (WIDE, TOP + len(shown) * pitch + 12), PAPER)
    draw = ImageDraw.Draw(page)
    sets = point_sets(real, generated, name)
    for row, j in enumerate(shown):
        for column, i in enumerate(shown[: row + 1]):
            x, y = LEFT + column * pitch, TOP + row * pitch
            if i == j:
                cell = histogram_panel(axes[i], [(points[:, [i]], *rest) for points, *rest in sets], (side, side))
            else:
                ground = np.full((side, side, 3), 255.0)
                for points, colour, _ in sets:
                    across, up = ((points[:, c] - axes[c].start) / axes[c].span * side for c in (i, j))
                    opacity = disc_opacity(np.stack([across, side - up], axis=1), side, 1.6, 0.5)[..., None]
                    ground = (1 - opacity) * ground + opacity * colour
                cell = Image.fromarray(np.rint(ground).astype(np.uint8))
            page.paste(cell, (x, y))
            draw.rectangle((x, y, x + side, y + side), outline=FRAME)
        unit = axes[j].step / 100
        ends = [f"{round(end / unit) * unit:.10g}" for end in (axes[j].start, axes[j].start + axes[j].span)]
        label = "coordinate {}\nfrom {}\nto {}".format(j + 1, *ends)
        draw.text((x + side + 10, y + 6), label, INK, font)
    names = ", ".join(str(c + 1) for c in shown)
    which = f"coordinates {names} of {m}" + ", which vary most" * (m > MOST)
    draw.text((LEFT, 34), f"{title.strip()} ({which})".strip(), INK, ImageFont.load_default(20), anchor="ls")
    draw_legend(draw, font, LEFT, TOP - 20, [(colour, f"{len(points):,} {kind}") for points, colour, kind in sets])
    return page
