"""A run's metrics.jsonl -> curves, one panel for each thing that is to rise, fall or hold.

    runs = {"00000-grid": read_metrics(path)}          of each run its series by name: steps (n,) and values (n,)
    write(figure(runs), file, "png")                   all panels of which any run has something
    panel_figure(PANELS[0], runs)                      one of them

series.py     read_metrics, and series to be drawn
panels.py     PANELS: what is drawn together, and how to read it
drawing.py    figure, panel_figure, write: the only file that uses matplotlib
"""

from minicoulomb.pictures.metric_drawing import (
    COLOURS,
    FORMATS,
    INK,
    MUTED,
    RULE,
    figure,
    matplotlib_version,
    panel_figure,
    write,
)
from minicoulomb.pictures.metric_panels import PANELS, Panel, present
from minicoulomb.pictures.metric_series import Series, read_metrics

__all__ = [
    "COLOURS",
    "FORMATS",
    "INK",
    "MUTED",
    "PANELS",
    "RULE",
    "Panel",
    "Series",
    "figure",
    "matplotlib_version",
    "panel_figure",
    "present",
    "read_metrics",
    "write",
]
