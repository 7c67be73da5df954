"""How a run goes on, and how it comes about again: lines for a terminal."""

import shlex
from typing import Any

from minicoulomb.config import Config
from minicoulomb.presets import nearest_preset
from minicoulomb.report.facts import Facts


def commands(facts: Facts) -> list[tuple[str, str]]:
    """(what for, command line)."""
    run, step, steps = (
        shlex.quote(str(facts.given)),
        facts.checkpoint.state.step,
        facts.checkpoint.config.algorithm.steps,
    )
    lines = [("train it again, from nothing", again(facts.checkpoint.config))]
    if step < steps and facts.given.is_dir():  # from one of its checkpoints a run would lose what came after
        lines.insert(0, (f"go on from step {step:,} to {steps:,}", f"minicoulomb train --resume {run}"))
    return [
        *lines,
        ("draw samples", f"minicoulomb sample {run} -n 64 -o samples.png"),
        ("measure it", f"minicoulomb evaluate {run}"),
        ("draw the curves alone", f"minicoulomb plot {run} -o curves.png"),
    ]


def again(config: Config) -> str:
    """The shortest `minicoulomb train` that has this configuration."""
    preset, settings = nearest_preset(config)
    return " ".join([f"minicoulomb train --preset {preset}", *(_option(*setting) for setting in settings.items())])


def _option(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return _flag(name) if value else f"--no-{_flag(name)[2:]}"
    return f"{_flag(name)} {shlex.quote(str(value))}"


def _flag(name):
    return "--" + name.replace("_", "-")
