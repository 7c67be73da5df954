"""Matplotlib's figures as <svg> in a page, in the page's colours and with ids of their own."""

import io
import re
from html import escape
from typing import Any

from minicoulomb.pictures.metric_curves import COLOURS, INK, MUTED, RULE, write
from minicoulomb.report.html import Html

VARIABLES = {COLOURS[0]: "var(--line)", INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)"}


def inline(figure: Any, name: str, label: str) -> Html:
    """The figure as <svg role="img"> with `label` for screen readers; `name`, unique on the page, begins its ids."""
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set_visible(False)
    file = io.BytesIO()
    write(figure, file, "svg")
    svg = file.getvalue().decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    box = svg.partition('viewBox="')[2].partition('"')[0]
    svg = re.sub(r"<svg[^>]*>", f'<svg viewBox="{box}" role="img" aria-label="{escape(label)}">', svg, count=1)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r' d="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    return Html(svg.strip() + "\n")
