"""Command lines that continue, repeat or examine a run."""

import shlex
from typing import Any

from minicoulomb.config import Config
from minicoulomb.presets import nearest_preset
from minicoulomb.report.facts import Facts


def commands(facts: Facts) -> list[tuple[str, str]]:
    """(purpose, command line)."""
    config, step = facts.checkpoint.config, facts.checkpoint.state.step
    run, steps = shlex.quote(str(facts.path)), config.algorithm.steps
    lines = [("train it again from the start", again(config))]
    is_run = facts.path.resolve().name == facts.name
    if step < steps and is_run and not facts.ended:  # resumed from one of its checkpoints, a run loses all later steps
        lines.insert(0, (f"continue from step {step:,} to {steps:,}", f"minicoulomb train --resume {run}"))
    return [
        *lines,
        (
            "draw samples",
            f"minicoulomb sample {run} -n 64 -o samples.{'txt' if facts.checkpoint.space.alphabet else 'png'}",
        ),
        ("measure its quality", f"minicoulomb evaluate {run}"),
        ("draw the curves alone", f"minicoulomb plot {run} -o curves.png"),
    ]


def again(config: Config) -> str:
    """The shortest `minicoulomb train` with this configuration."""
    preset, settings = nearest_preset(config)
    return " ".join([f"minicoulomb train --preset {preset}", *(_option(*setting) for setting in settings.items())])


def _option(name: str, value: Any) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {shlex.quote(str(value))}"
