"""One page about a run, in one file that opens without a network: what it is, how good, how it came about.

facts.py      what is known of the run
sections.py   the parts of the page
numbers.py    what metrics mean                 commands.py   how to go on
graphs.py     curves as <svg>                   images.py     pictures as data: addresses
html.py       elements                          style.css     light and dark, paper and phone

Nothing is loaded from elsewhere, and the page itself forbids it (Content-Security-Policy). It has no script and no
date: equal runs give equal bytes.
"""

from importlib.resources import files

import minicoulomb.report.sections as sections
from minicoulomb.report.facts import Facts, gather
from minicoulomb.report.html import Html, tag

# Nothing but pictures and styles within the page.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
LINKS = {"result": "Result", "time": "Samples", "field": "Field", "curves": "Curves", "settings": "Settings"}


def page(facts: Facts) -> str:
    """The report as HTML."""
    parts = (
        *(sections.result, sections.over_time, sections.field, sections.curves, sections.how),
        *(sections.settings, sections.networks, sections.versions, sections.log),
    )
    body = [part(facts) for part in parts]
    links = [tag("a", name, href=f"#{target}") for target, name in LINKS.items() if f'id="{target}"' in "".join(body)]
    return Html("<!doctype html>\n") + tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", f"{facts.name}: {facts.title}"),
            tag("style", Html(files(__name__).joinpath("style.css").read_text(encoding="utf-8"))),
        ),
        tag("body", sections.head(facts), tag("nav", *links, aria_label="Sections"), tag("main", *body)),
        lang="en",
    )


__all__ = ["Facts", "gather", "page"]
