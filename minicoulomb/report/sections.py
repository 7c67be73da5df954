"""The parts of the page, each a function of the facts; one without anything to show is empty."""

from minicoulomb.config import SETTINGS
from minicoulomb.network import Network
from minicoulomb.pictures.metric_curves import PANELS, panel_figure, present
from minicoulomb.presets import nearest_preset
from minicoulomb.report.commands import commands
from minicoulomb.report.facts import Facts
from minicoulomb.report.graphs import inline
from minicoulomb.report.html import Html, joined, table, tag
from minicoulomb.report.images import THUMBNAIL, WIDE, embedded
from minicoulomb.report.numbers import numbers

PAPER = "https://arxiv.org/abs/1708.08819"
NONE = Html("")


def section(name: str, title: str, *children: str) -> Html:
    return tag("section", tag("h2", title, id=f"{name}-title"), *children, id=name, aria_labelledby=f"{name}-title")


def head(facts: Facts) -> Html:
    """What this is: title, step and seed, and two sentences."""
    config, step = facts.checkpoint.config, facts.checkpoint.state.step
    done = f"step {step:,}" + f" of {config.algorithm.steps:,}" * (step != config.algorithm.steps)
    return tag(
        "header",
        tag("p", "minicoulomb · a training run", class_="kicker"),
        tag("h1", facts.name),
        tag("p", facts.title, class_="subtitle"),
        tag("ul", *(tag("li", fact) for fact in (done, f"seed {config.run.seed}", config.run.dtype)), class_="facts"),
        tag(
            "p",
            "A ",
            tag("a", "Coulomb GAN", href=PAPER),
            " learns to make samples like those it is given: given samples attract generated ones and generated ones "
            "repel each other, as electric charges do. A discriminator learns the potential of all these charges, and "
            "a generator moves its samples along the force, until both are spread alike and every force vanishes."
            + " This run is none, but something to compare it with."
            * (config.algorithm.objective != "coulomb"),
            class_="lead",
        ),
    )


def result(facts: Facts) -> Html:
    """The latest picture beside the key numbers."""
    measured = [
        tag("div", tag("dt", number.name), tag("dd", number.value), tag("dd", number.meaning, class_="meaning"))
        for number in numbers(facts)
    ]
    how = f"Of {facts.metrics['samples']:,} samples, as minicoulomb evaluate measures them." if facts.metrics else ""
    latest = NONE
    if facts.pictures:
        step, image = facts.pictures[-1]
        alt = f"What the generator makes at step {step:,}."
        latest = tag(
            "figure", embedded(image, alt, WIDE), tag("figcaption", f"Samples at step {step:,}"), class_="picture"
        )
    return section(
        "result",
        "Result",
        tag(
            "div",
            latest,
            tag("div", tag("dl", *measured, class_="numbers"), *[tag("p", how, class_="note")] * bool(how)),
            class_="beside" if facts.pictures else None,
        ),
        *(tag("p", reason, class_="missing") for reason in facts.missing),
    )


def over_time(facts: Facts) -> Html:
    """Pictures from the first step to the last."""
    if len(facts.pictures) < 2:
        return NONE
    row = [
        tag("figure", embedded(image, f"Samples at step {step:,}.", THUMBNAIL), tag("figcaption", f"step {step:,}"))
        for step, image in facts.pictures
    ]
    return section(
        "time",
        "From noise to data",
        tag("p", "What the generator makes of the same latent vectors as training goes on.", class_="note"),
        tag("div", *row, class_="row"),
    )


def field(facts: Facts) -> Html:
    """The field as it is, and as D has learned it."""
    if facts.field is None:
        return NONE
    about, learned = (
        "Real samples pull, generated samples push",
        facts.checkpoint.config.algorithm.objective == "coulomb",
    )
    if learned:
        about += ": the exact field, and what the discriminator has learned of it, which is what the generator follows"
    about += ". "
    if len(facts.checkpoint.space.shape) == 3:
        about += "Each tells a generated image which pixels to change."
        alt = "Generated images, the exact force on their pixels" + ", and the discriminator's." * learned
        image = tag("div", embedded(facts.field, alt, WIDE), class_="tall")
    else:
        about += "Colours and arrows go by the largest exact values, however small training has made them."
        alt = "The exact potential" + ", the discriminator's regression of it, and how they differ" * learned + "."
        image = tag(
            "div", embedded(facts.field, alt, WIDE), class_="scroll wide", tabindex=0, role="region", aria_label=alt
        )
    return section("field", "The field", tag("p", about, class_="note"), tag("figure", image, class_="picture"))


def curves(facts: Facts) -> Html:
    """A graph for each panel, with a sentence on how to read it."""
    runs = {facts.name: facts.series}
    graphs = [
        tag(
            "figure",
            tag("h3", panel.title),
            inline(panel_figure(panel, runs), f"graph{number}", f"{panel.title}, over the steps of training."),
            tag("figcaption", panel.note),
        )
        for number, panel in enumerate(present(PANELS, runs))
    ]
    if not graphs:
        return section("curves", "Curves", tag("p", "No step is logged yet.", class_="missing"))
    about = "Pale: what was logged. Strong: the running mean. Step 4k is step 4,000."
    return section("curves", "Curves", tag("p", about, class_="note"), tag("div", *graphs, class_="graphs"))


def how(facts: Facts) -> Html:
    lines = [
        tag("div", tag("dt", what), tag("dd", tag("pre", tag("code", command), tabindex=0)))
        for what, command in commands(facts)
    ]
    return section("commands", "How to go on", tag("dl", *lines, class_="commands"))


def settings(facts: Facts) -> Html:
    """Every setting with its meaning: first those that differ from their defaults."""
    config = facts.checkpoint.config
    values = config.settings()
    preset, own = nearest_preset(config)
    changed, left = [], []
    for f in SETTINGS.values():
        value, default, meaning = values[f.name], f.default, f.metadata["help"]
        name = joined([tag("code", f.name), tag("span", "set by hand", class_="mark") if f.name in own else NONE])
        if value == default:
            left.append((name, _shown(value), meaning))
        else:
            changed.append((name, tag("strong", _shown(value)), _shown(default), meaning))
    return section(
        "settings",
        "Settings",
        tag(
            "p",
            f"The nearest preset is {preset}. Whatever differs from it is marked: set by hand.",
            class_="note",
        ),
        table(("setting", "value", "default", "meaning"), changed, "What differs from the defaults", class_="settings"),
        tag(
            "details",
            tag("summary", f"The other {len(left)} settings, which have their default values"),
            table(("setting", "value", "meaning"), left, "Settings with their default values", class_="settings"),
        ),
    )


def networks(facts: Facts) -> Html:
    _, _, G, D, _ = facts.checkpoint
    tables = [_network("Generator G", G), _network("Discriminator D", D)]
    return section("networks", "Networks", tag("div", *tables, class_="pair"))


def versions(facts: Facts) -> Html:
    rows = [tag("li", tag("strong", name), f" {number}") for name, number in facts.versions.items()]
    return section("versions", "Versions", tag("ul", *rows, class_="facts"))


def log(facts: Facts) -> Html:
    if not facts.log:
        return NONE
    return section("log", "The end of the log", tag("pre", "\n".join(facts.log), tabindex=0))


def _network(title: str, network: Network) -> Html:
    rows = [(layer, _sides(shape), f"{parameters:,}") for layer, shape, parameters in network.summary()]
    caption = f"{title}: {_sides(network.input_shape)} to {_sides(network.output_shape)}, {network.size:,} parameters"
    return table(("layer", "output", "parameters"), rows, caption)


def _sides(shape):
    return "×".join(map(str, shape)) or "1"


def _shown(value):
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
