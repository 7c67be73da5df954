"""HTML from the blocks of page.html, with every value escaped.

    block("note", text="a < b")     <p class="note">a &lt; b</p>

A block begins after its name in a comment; $names in it stand for values, which are text or in turn Html.
"""

import re
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from string import Template

from minicoulomb.errors import printable


class Html(str):
    """Markup, exempt from escaping."""


_TEXT = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
BLOCKS = {name: Template(text) for name, text in re.findall(r"<!-- (\w+) -->\n(.*?)\n(?=<!-- |\Z)", _TEXT, re.DOTALL)}


def block(name: str, /, **values: str | int) -> Html:
    """The block with its values; KeyError if one of them is missing."""
    html = {key: value if isinstance(value, Html) else _escaped(str(value)) for key, value in values.items()}
    return Html(BLOCKS[name].substitute(html))


def _escaped(text):
    """Text as markup, without what is no character of HTML or UTF-8."""
    return escape("\n".join(map(printable, text.split("\n"))))


def prose(text: str) -> Html:
    """Text in which no option, such as --lr-g, breaks at its hyphens."""
    return Html(re.sub(r"--[\w-]+", r'<span class="option">\g<0></span>', _escaped(text)))


def joined(parts: Iterable[Html]) -> Html:
    """Html of all parts, a line for each."""
    return Html("\n".join(parts))
