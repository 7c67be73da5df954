"""A run on one page that works offline: description, quality, history and settings.

facts.py      the facts of the run             sharing.py    paths as others may read them
page.py       the sections of the page; their words and markup are in page.html
numbers.py    the meaning of metrics            commands.py   command lines for the run
graphs.py     curves as <svg>                   images.py     pictures as data: addresses
html.py       the blocks of page.html           style.css     light and dark, paper and phone

The page loads nothing, and its Content-Security-Policy forbids it. It has no script and no date: equal runs give equal
bytes.
"""

from minicoulomb.report.facts import Facts, gather
from minicoulomb.report.page import page
from minicoulomb.report.sharing import shared

__all__ = ["Facts", "gather", "page", "shared"]
