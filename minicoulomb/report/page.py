"""The page: a section for each part of the facts; parts without content are left out."""

from importlib.resources import files

from minicoulomb.config import SETTINGS
from minicoulomb.pictures.metric_curves import panel_figure
from minicoulomb.pictures.metric_panels import PANELS, present
from minicoulomb.presets import nearest_preset
from minicoulomb.report.commands import commands
from minicoulomb.report.facts import Facts
from minicoulomb.report.graphs import inline
from minicoulomb.report.html import Html, block, joined, prose
from minicoulomb.report.images import THUMBNAIL, WIDE, embedded
from minicoulomb.report.numbers import numbers

NONE = Html("")
# Sections with a link at the top of the page.
LINKS = {"result": "Result", "time": "Samples", "field": "Field", "curves": "Curves", "settings": "Settings"}


def page(facts: Facts) -> str:
    """The report as HTML."""
    config, step = facts.checkpoint.config, facts.checkpoint.state.step
    parts = {
        "result": ("Result", _result(facts)),
        "time": ("From noise to data", _time(facts)),
        "field": ("The field", _field(facts)),
        "curves": ("Curves", _curves(facts)),
        "commands": ("How to continue", _commands(facts)),
        "settings": ("Settings", _settings(facts)),
        "networks": ("Networks", _networks(facts)),
        "versions": ("Versions", _versions(facts)),
        "log": ("The end of the log", block("log", lines="\n".join(facts.log)) if facts.log else NONE),
    }
    parts = {name: part for name, part in parts.items() if part[1]}
    return block(
        "page",
        name=facts.name,
        title=facts.title,
        style=Html(files(__package__).joinpath("style.css").read_text(encoding="utf-8")),
        progress=f"step {step:,}" + _left(facts),
        seed=config.run.seed,
        dtype=config.run.dtype,
        baseline=block("baseline") if config.algorithm.objective != "coulomb" else NONE,
        links=joined(block("link", id=name, name=LINKS[name]) for name in parts if name in LINKS),
        sections=joined(block("section", id=name, title=part[0], content=part[1]) for name, part in parts.items()),
    )


def _left(facts):
    """The steps that a run would have, and why it has fewer."""
    config, step = facts.checkpoint.config, facts.checkpoint.state.step
    left = f" of {config.algorithm.steps:,}" * (step != config.algorithm.steps)
    return left + ": the learning rates had fallen to a tenth, and a second plateau ended it" * facts.ended


def _result(facts):
    """The latest picture beside the key numbers."""
    picture = note = NONE
    if facts.pictures:
        step, image = facts.pictures[-1]
        image = embedded(image, f"Generated samples at step {step:,}.", WIDE)
        picture = block("picture", image=image, caption=f"Samples at step {step:,}")
    elif facts.lines:
        picture = block("lines", lines="\n".join(facts.lines))
    if facts.metrics:
        note = block("note", text=f"Of {facts.metrics['samples']:,} samples, measured as by minicoulomb evaluate.")
    return block(
        "result",
        layout="beside" if facts.pictures or facts.lines else "alone",
        picture=picture,
        verdict=joined(block("verdict", text=prose(sentence)) for sentence in facts.verdict),
        numbers=joined(block("number", value=v, name=n, meaning=m) for v, n, m in numbers(facts)),
        note=note,
        missing=joined(block("missing", text=prose(reason)) for reason in facts.missing),
    )


def _time(facts):
    """Pictures from the first step to the last."""
    if len(facts.pictures) < 2:
        return NONE
    found = ((step, embedded(image, f"Samples at step {step:,}.", THUMBNAIL)) for step, image in facts.pictures)
    return block("time", pictures=joined(block("thumbnail", image=i, caption=f"step {step:,}") for step, i in found))


def _field(facts):
    """The exact field, and D's regression of it."""
    if facts.field is None:
        return NONE
    learned = facts.checkpoint.config.algorithm.objective == "coulomb"
    kind, alt = "plane", "The exact potential" + ", the discriminator's, and their difference" * learned
    if len(facts.checkpoint.space.shape) == 3:
        kind, alt = "images", "Generated images, the exact force on their pixels" + ", and D's force" * learned
    image = embedded(facts.field, alt, WIDE)
    return block(kind, image=image, alt=alt, learned=block("learned") if learned else NONE)


def _curves(facts):
    """A graph for each panel, with a sentence on its meaning."""
    runs = {facts.name: facts.series}
    graphs = [
        block(
            "graph",
            title=panel.title,
            svg=inline(panel_figure(panel, runs), f"graph{number}", f"{panel.title}, over the steps of training."),
            about=block(f"about_{next(iter(panel.names))}"),
        )
        for number, panel in enumerate(present(PANELS, runs))
    ]
    return block("curves", graphs=joined(graphs)) if graphs else block("missing", text="No step is logged yet.")


def _commands(facts):
    lines = (block("command", purpose=purpose, command=command) for purpose, command in commands(facts))
    return block("commands", commands=joined(lines))


def _settings(facts):
    """Every setting with its meaning: first those that differ from their defaults."""
    values = facts.checkpoint.config.settings()
    preset, by_hand = nearest_preset(facts.checkpoint.config)
    changed, unchanged = [], []
    for f in SETTINGS.values():
        value, default = values[f.name], f.default
        about = {"name": f.name, "value": _shown(value), "meaning": f.metadata["help"]}
        about["mark"] = block("mark") if f.name in by_hand else NONE
        if value == default:
            unchanged.append(block("unchanged", **about))
        else:
            changed.append(block("changed", default=_shown(default), **about))
    rows = {"changed": joined(changed), "unchanged": joined(unchanged)}
    return block("settings", preset=preset, number=len(unchanged), **rows)


def _networks(facts):
    networks = {"Generator G": facts.checkpoint.G, "Discriminator D": facts.checkpoint.D}
    return block("networks", networks=joined(_network(*network) for network in networks.items()))


def _network(title, network):
    sides = lambda shape: "×".join(map(str, shape)) or "1"
    rows = [
        block("layer", name=layer, shape=sides(shape), parameters=f"{parameters:,}")
        for layer, shape, parameters in network.summary()
    ]
    caption = f"{title}: {sides(network.input_shape)} to {sides(network.output_shape)}, {network.size:,} parameters"
    return block("network", caption=caption, layers=joined(rows))


def _versions(facts):
    rows = (block("version", name=name, number=number) for name, number in facts.versions.items())
    return block("versions", versions=joined(rows))


def _shown(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
