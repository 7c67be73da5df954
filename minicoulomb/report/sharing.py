"""A report is for others too: its absolute paths end before the folders that are nobody else's business."""

import re
from pathlib import Path

from minicoulomb.config import FILES
from minicoulomb.report.facts import Facts


def shared(facts: Facts, folder: Path) -> Facts:
    """The facts with paths below the working directory, or the place of the run in `folder` or of its files."""
    checkpoint = facts.checkpoint
    named = {name: value for name in FILES if Path(value := checkpoint.config.settings()[name] or "").is_absolute()}
    others = [folder.resolve().parent.parent, *(Path(value).parent for value in named.values())]
    places = [Path.cwd(), *sorted(others, key=lambda place: len(str(place)), reverse=True)]

    def short(text):
        for place in places:
            text = re.sub(rf"(?<![\w/.-]){re.escape(str(place))}/", "", text)
        return text

    config = checkpoint.config.replace(**{name: short(value) for name, value in named.items()})
    return facts._replace(
        path=Path(short(str(facts.path))),
        checkpoint=checkpoint._replace(config=config),
        log=[short(line) for line in facts.log],
        missing=[short(reason) for reason in facts.missing],
    )
