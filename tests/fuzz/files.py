"""The parts damage and flips: damaged files of every kind, each read in a forked process."""

import io
import random
import shutil
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from . import damage
from .kinds import Kind, kinds, make_world
from .trial import DIVERGED, KEPT, Failure, Fault, Outcome, fault, forked, place, spread, tree


class Attack:
    """The world, and the outcome of each whole file."""

    def __init__(self, root: Path, least_share: float = 0.0):
        self.root, self.world = root, make_world(root / "world")
        self.kinds = {name: kind for name, kind in kinds().items() if kind.share >= least_share}
        self.whole = {name: self.read(name, None, "whole")[:2] for name in self.kinds}
        wrong = {name: outcome.output for name, (outcome, _) in self.whole.items() if fault(outcome)}
        assert not wrong, wrong

    def read(self, name: str, content: bytes | None, scratch: str) -> tuple[Outcome, dict[str, bytes], str]:
        """(outcome, new and changed files, what is half done) of reading a kind of file with this content."""
        kind, folder = self.kinds[name], self.root / scratch
        folder.mkdir()
        try:
            place(self.world, list(dict.fromkeys((*kind.needs, *[kind.path] * (not kind.needs)))), folder)
            path = folder / kind.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((self.world / kind.path).read_bytes() if content is None else content)
            before = tree(folder)
            outcome = forked(kind.action, folder)
            after = tree(folder)
        finally:
            shutil.rmtree(folder)
        new = {key: value for key, value in after.items() if before.get(key) != value}
        return outcome, new, _half_done(outcome, before, after, new)

    def fault(self, name: str, content: bytes, scratch: str, exact: bool) -> tuple[Fault | None, str]:
        """What went wrong with this content, and what the command printed."""
        outcome, new, half = self.read(name, content, scratch)
        found = fault(outcome)
        if half:
            found = found or Fault(half)
        if exact and outcome.status == 0 and not _results(new) <= _results(self.whole[name][1]):
            found = found or Fault("other numbers, without a word")
        return found, outcome.output

    def case(self, part: str, seed: int, number: int) -> Failure | None:
        """The failure of one case, with its edits made as few as possible."""
        rng = random.Random(f"{part} {seed} {number}")
        flips = part == "flips"
        names = [name for name, kind in self.kinds.items() if kind.checked or not flips]
        name = names[number % len(names)]
        kind: Kind = self.kinds[name]
        if rng.random() > kind.share:
            name = names[(number + 1) % len(names)]
            kind = self.kinds[name]
        form = "" if flips else rng.choice(("", *kind.layers))
        content, wrap = damage.layer(form, (self.world / kind.path).read_bytes(), rng)
        edits = (damage.flip if flips else damage.draw)(rng, content)
        scratch = f"case-{number}"

        def look(edits):
            return self.fault(name, wrap(damage.apply(content, edits)), scratch, flips)

        found, output = look(edits)
        if found is None:
            return None
        edits = damage.shrunk(edits, content, lambda fewer: look(fewer)[0] == found)
        what = f"{name}{f' ({form})' * bool(form)}: " + ", ".join(map(_in_words, edits))
        return Failure(found, what, kind.room, look(edits)[1] or output, wrap(damage.apply(content, edits)))


def _in_words(edit):
    start, stop, new = edit
    return f"bytes {start}:{stop} -> {new[:24]!r}{'...' * (len(new) > 24)}"


def _results(files):
    """The numbers that a command made; of a prepared array its rows, for names in a zip archive have no checksum."""
    found = set()
    for name, content in files.items():
        if name == "out.npy":
            found |= {row.tobytes() for row in np.load(io.BytesIO(content))}
        elif name.endswith(".npz"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                found |= {(name, part, archive.read(part)) for part in archive.namelist() if part != "about.npy"}
        elif name == "out.numbers":
            found.add(content)
    return found


def _half_done(outcome, before, after, new):
    """What an error left behind, or took away; "" if nothing."""
    drafts = sorted(name for name in after if name.endswith(".tmp"))
    if drafts:
        return f"half-written {Path(drafts[0]).suffixes[0]} left"
    if outcome.status == 0 or DIVERGED in outcome.output:
        return ""
    if lost := sorted(set(before) - set(after)):
        return f"an error removed {lost[0]}"
    made = sorted(name for name in new if not KEPT & set(Path(name).parts))
    return f"an error left {made[0]}" if made else ""


def attack(part: str, seed: int, numbers: range, root: Path, workers: int) -> Iterator[Failure | None]:
    """The failure, or None, of each case."""
    return spread(partial(Attack(root).case, part, seed), numbers, workers)
