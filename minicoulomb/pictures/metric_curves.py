"""Curves of metrics.jsonl, by matplotlib.

    runs = {"00000-grid": read_metrics(path)}     the series of each run (metric_series.py)
    write(figure(runs), file, "png")              every panel with data (metric_panels.py)
    panel_figure(PANELS[0], runs)                 one panel

Noisy series are thin lines below their running mean. The colours are those of Okabe and Ito, distinguishable in every
form of colour blindness. Matplotlib, of the extra `plot`, is imported on use, as Figure objects without pyplot; its
global settings are the same afterwards.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from minicoulomb.errors import UserError, explained, printable
from minicoulomb.pictures.metric_panels import PANELS, Panel, present
from minicoulomb.pictures.metric_series import STRETCHES, Series, running_mean, thinned

# Blue, vermilion, bluish green, reddish purple, orange, sky blue, black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
INK, MUTED, RULE = "#3c3c3c", "#6e6e6e", "#e4e4e4"
# The second line of a panel is broad and pale, visible below the first.
LOOKS: tuple[dict[str, Any], ...] = ({"linewidth": 1.6, "zorder": 2.2}, {"linewidth": 5, "alpha": 0.3, "zorder": 2.1})
COLUMNS = 3
# Width of a column of panels in characters of a run's name.
CHARACTERS = 40
FORMATS = (".png", ".svg", ".pdf")
# On top of matplotlib's defaults. The salt makes equal figures equal bytes, and fonttype keeps text as text.
STYLE: dict[str, Any] = {
    "font.sans-serif": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "lines.linewidth": 0.7,
    "lines.markersize": 3.5,
    **dict.fromkeys(("axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size", "ytick.minor.size"), 0),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon", "path.simplify"), False),
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "text.color": INK,
    "savefig.dpi": 120,
    "svg.hashsalt": "minicoulomb",
    "svg.fonttype": "none",
}


def figure(runs: dict[str, dict[str, Series]]) -> Any:
    """All panels with data, one colour for each run.

    Raises UserError without data, with more runs than colours, or without matplotlib.
    """
    if len(runs) > len(COLOURS):
        raise UserError(f"{len(runs)} runs: at most {len(COLOURS)} colours are distinguishable; plot fewer at once")
    panels = present(PANELS, runs)
    if not panels:
        raise UserError(f"{', '.join(runs)}: no step is logged yet; wait for the first, or use train --resume")
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
        handles = [_line(color=colour, linewidth=2) for _, colour in zip(runs, COLOURS)]
        beside = max(1, CHARACTERS * columns // max(map(len, runs)))
        legend = page.legend(handles, [""] * len(runs), loc="outside upper left", ncols=min(beside, len(runs)))
        for text, name in zip(legend.get_texts(), runs):
            text.set_text(printable(name))  # not as a label, which must not begin with "_"
            text.set_parse_math(False)
    return page


def panel_figure(panel: Panel, runs: dict[str, dict[str, Series]]) -> Any:
    """One panel, small and without its title."""
    with _styled() as matplotlib:
        page = matplotlib.figure.Figure(figsize=(4.4, 2.5), layout="constrained")
        draw(page.subplots(), panel, runs)
    return page


def draw(axes: Any, panel: Panel, runs: dict[str, dict[str, Series]]) -> None:
    """Draw the panel's series of each run: noisy ones with their running mean, others as plain lines."""
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
    last = max(series.steps[-1] for named in runs.values() for series in named.values()) or 1
    axes.set_xlim(-0.02 * last, 1.02 * last)
    _scale(axes, panel)
    if len(panel.names) > 1:
        axes.legend([_line(color=INK, **look) for look in LOOKS], panel.names.values(), loc="best")


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


def _line(**look):
    from matplotlib.lines import Line2D

    return Line2D([], [], **look)


@contextmanager
def _styled() -> Iterator[Any]:
    """Matplotlib with STYLE, whatever the user's matplotlibrc; UserError if it does not import."""
    with explained("curves need matplotlib", "pip install 'minicoulomb[plot]'", ImportError):
        import matplotlib.figure
        import matplotlib.style
    with matplotlib.style.context(STYLE, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # the font may lack characters of a run's name
        warnings.filterwarnings("ignore", "overflow", RuntimeWarning)  # an axis may reach from 1e-300 to 1e300
        yield matplotlib


def matplotlib_version() -> str:
    """Matplotlib's version; UserError if it does not import."""
    with _styled() as matplotlib:
        return matplotlib.__version__


def write(page: Any, file: BinaryIO, format: str) -> None:
    """Write the figure as png, svg or pdf, without a date; equal figures give equal bytes."""
    dated = {"svg": "Date", "pdf": "CreationDate"}
    with _styled():
        page.savefig(file, format=format, metadata={dated[format]: None} if format in dated else {})
