"""HTML with nothing to forget: text is escaped unless it is markup already, and every tag is closed.

tag("p", "a < b, ", tag("b", "bold"), class_="note")     <p class="note">a &lt; b, <b>bold</b></p>
"""

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Markup, which is not escaped again."""


VOID = ("img", "meta")
BLOCKS = ("section", "div", "figure", "table", "tr", "p", "h2", "h3", "pre", "ul", "li", "header", "footer", "main")


def tag(element: str, /, *children: str, **attributes: str | int | bool | None) -> Html:
    """One element. Attributes are named as in HTML with _ for -, and class_; None and False leave one out."""
    given = "".join(
        f" {key.strip('_').replace('_', '-')}" + (f'="{escape(str(value))}"' if value is not True else "")
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if element in VOID:
        return Html(f"<{element}{given}>\n")
    return Html(f"<{element}{given}>{joined(children)}</{element}>" + "\n" * (element in BLOCKS))


def joined(children: Iterable[str]) -> Html:
    """Children one after the other, those that are no markup escaped."""
    return Html("".join(child if isinstance(child, Html) else escape(str(child)) for child in children))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str, class_: str = "") -> Html:
    """A table that scrolls by itself where it is wider than the page. The first column heads its row."""
    body = [tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest)) for first, *rest in rows]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head))),
            tag("tbody", *body),
        ),
        class_=f"scroll {class_}".strip(),
        tabindex=0,
        role="region",
        aria_label=caption,
    )
