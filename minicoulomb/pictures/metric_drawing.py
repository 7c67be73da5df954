"""Panels -> figures, and figures -> files.

Noisy series are drawn thin, with their running mean above them. Colours are Okabe and Ito's, told apart in every form
of colour blindness. Matplotlib, of the extra `plot`, is imported where it is used; figures are objects of its own, and
nothing of its global state stays changed.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from minicoulomb.errors import UserError
from minicoulomb.pictures.metric_panels import PANELS, Panel, present
from minicoulomb.pictures.metric_series import STRETCHES, Series, running_mean, thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue, vermilion, bluish green, reddish purple, orange, sky blue, black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
INK, MUTED, RULE = "#3c3c3c", "#6e6e6e", "#e4e4e4"
# The second line of a panel is broad and pale, to be seen also where it lies under the first.
LOOKS = ({"linewidth": 1.6, "zorder": 2.2}, {"linewidth": 5, "alpha": 0.3, "zorder": 2.1})
COLUMNS = 3
# Of names that fit over a column of panels.
CHARACTERS = 40
FORMATS = (".png", ".svg", ".pdf")


def figure(runs: dict[str, dict[str, Series]]) -> "Figure":
    """All panels for runs by name, each run in its colour.

    Raises UserError where there is nothing to draw, more runs than colours, or no matplotlib.
    """
    if len(runs) > len(COLOURS):
        raise UserError(f"{len(runs)} runs: at most {len(COLOURS)} colours can be told apart; plot fewer at once")
    panels = present(PANELS, runs)
    if not panels:
        raise UserError(f"{', '.join(runs)}: no step is logged yet; wait for the first, or go on with train --resume")
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    with _styled() as matplotlib:
        page = matplotlib.figure.Figure(figsize=(4.4 * columns, 2.9 * rows + 0.5), layout="constrained")
        page.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
        grid = page.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, panels):
            axes.set_title(panel.title, loc="left")
            draw(axes, panel, runs)
        for axes in grid[len(panels) :]:
            axes.remove()
        handles = [matplotlib.lines.Line2D([], [], color=colour, linewidth=2) for _, colour in zip(runs, COLOURS)]
        beside = max(1, CHARACTERS * columns // max(map(len, runs)))
        legend = page.legend(handles, [""] * len(runs), loc="outside upper left", ncols=min(beside, len(runs)))
        for text, name in zip(legend.get_texts(), runs):
            text.set_text(name)  # set here, for a label may not begin with "_"
            text.set_parse_math(False)
    return page


def panel_figure(panel: Panel, runs: dict[str, dict[str, Series]]) -> "Figure":
    """One panel without its title, small."""
    with _styled() as matplotlib:
        page = matplotlib.figure.Figure(figsize=(4.4, 2.5), layout="constrained")
        draw(page.subplots(), panel, runs)
    return page


def draw(axes: "Axes", panel: Panel, runs: dict[str, dict[str, Series]]) -> None:
    """The panel's series of each run: thin with their running mean where they are noisy, plain lines elsewhere."""
    for series, colour in zip(runs.values(), COLOURS):
        for name, look in zip(panel.names, LOOKS):
            if name not in series:
                continue
            points = thinned(series[name])
            mean = running_mean(series[name]) if panel.noisy else None
            if mean is not None:
                axes.plot(*points, color=colour, gid=name, alpha=0.35)
                axes.plot(*thinned(mean), color=colour, gid=f"{name}-mean", **look)
            else:
                axes.plot(*points, color=colour, gid=name, marker="o" * (len(points.steps) <= STRETCHES), **look)
    axes.set_xlabel("step")
    axes.set_ylabel(panel.unit)
    last = max(series.steps[-1] for named in runs.values() for series in named.values())
    axes.set_xlim(-0.02 * last, 1.02 * last)
    _scale(axes, panel)
    if len(panel.names) > 1:
        _legend(axes, panel)


def _scale(axes, panel):
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    drawn = np.concatenate([line.get_ydata() for line in axes.lines])
    if panel.log and (drawn > 0).any():
        axes.set_yscale("log", nonpositive="mask")
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        return
    if drawn.max() >= 1000:
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    if drawn.min() >= 0:
        axes.set_ylim(0, 1.06 * drawn.max() or 1)


def _legend(axes, panel):
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=INK, **look) for look in LOOKS]
    axes.legend(handles, panel.names.values(), loc="best")


STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 0.7,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 120,
    # Equal figures give equal bytes, and text stays text.
    "svg.hashsalt": "minicoulomb",
    "svg.fonttype": "none",
    "path.simplify": False,
}


@contextmanager
def _styled() -> Iterator[Any]:
    """Matplotlib in this module's style; UserError where it is not installed."""
    try:
        import matplotlib
        import matplotlib.figure
        import matplotlib.lines
    except ImportError as error:
        raise UserError(
            f"matplotlib does not import ({error}): it draws the curves; pip install 'minicoulomb[plot]'"
        ) from None
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a run's name in a script that the font lacks
        yield matplotlib


def matplotlib_version() -> str:
    """UserError where matplotlib is not installed."""
    with _styled() as matplotlib:
        return matplotlib.__version__


def write(page: "Figure", file: BinaryIO, format: str) -> None:
    """The figure as png, svg or pdf, without a date; equal figures give equal bytes."""
    dated = {"svg": "Date", "pdf": "CreationDate"}
    with _styled():
        page.savefig(file, format=format, metadata={dated[format]: None} if format in dated else {})
