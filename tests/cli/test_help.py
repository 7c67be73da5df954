"""What `--help`, `-V` and the completion of a shell show."""

import json
import re

import numpy as np
import pytest
from cli_cases import run
from click.testing import CliRunner

from minicoulomb import __version__
from minicoulomb.cli.main import COMMANDS, main
from minicoulomb.cli.options import EXAMPLES, HEADINGS
from minicoulomb.config import SETTINGS
from minicoulomb.presets import PRESETS

# The rows of `train --help` at 120 columns: the first option's name, and the value in brackets at the end.
ROW = re.compile(r"^  --([a-z0-9-]+).*?(?=^  -|^\S|\Z)", re.MULTILINE | re.DOTALL)


def help_of(*args, columns=120):
    result = CliRunner().invoke(main, [*map(str, args), "--help"], terminal_width=columns)
    assert result.exit_code == 0
    return result.output


def values_of(*args):
    """{setting: what stands in brackets} of `train --help` with these options."""
    rows = {match[1].replace("-", "_"): " ".join(match[0].split()) for match in ROW.finditer(help_of("train", *args))}
    return {name: match[1] for name, text in rows.items() if (match := re.search(r"\[([^\[\]]*)\]$", text))}


@pytest.mark.parametrize(
    "chosen", [[], ["--preset", "ring"], ["--preset", "paper-grid"], ["--data", "digits"], ["--preset", "digits-conv"]]
)
def test_the_help_of_train_shows_the_settings_that_a_run_uses(chosen):
    used, shown = json.loads(run("train", *chosen, "--dry-run")), values_of(*chosen)
    as_shown = {True: "on", False: "off"}
    assert {n: shown[n] for n in used if used[n] is not None} == {
        n: as_shown[value] if isinstance(value, bool) else str(value) for n, value in used.items() if value is not None
    }


def test_the_help_of_train_knows_the_user_s_data_and_presets_without_data(tmp_path, monkeypatch):
    np.save(tmp_path / "points.npy", 100 * np.random.default_rng(0).standard_normal((300, 2)))
    used = json.loads(run("train", "--data", tmp_path / "points.npy", "--dry-run"))
    assert values_of("--data", tmp_path / "points.npy")["eps"] == str(used["eps"])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert values_of("--data", "~/points.npy")["eps"] == str(used["eps"])
    assert values_of("--preset", "points")["eps"] == "from the data"
    assert values_of("--preset", "images")["size"] == "from the data"
    assert values_of("--preset", "celeba")["crop"] == "108"
    assert "data" not in values_of("--preset", "celeba")
    assert values_of("--data", "/nowhere", "--preset", "ring")["steps"] == str(PRESETS["ring"]["steps"])


def test_the_help_of_train_has_headings_and_examples():
    text = help_of("train", columns=80)
    headings = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert headings == ["Run", *HEADINGS.values(), "Examples"]
    assert set(HEADINGS) <= set(SETTINGS)
    assert all(f"  {command} " in text for command, _ in EXAMPLES)
    parts = dict(zip(headings, re.split(r"^\S.*:$", text, flags=re.MULTILINE)[1:]))
    for heading, option in {
        "Run": "--resume",
        "Data": "--hold-out-every",
        "Field": "--eps-end",
        "Adam": "--beta2",
    }.items():
        assert f"  {option} " in parts[heading]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_help_is_wider_than_the_terminal(columns):
    for command in [[], *([name] for name in COMMANDS)]:
        assert max(map(len, help_of(*command, columns=columns).splitlines())) <= columns


def test_every_command_is_listed_with_its_whole_first_sentence():
    text = " ".join(help_of(columns=60).partition("Commands:")[2].split())
    assert "..." not in text
    assert "Train a Coulomb GAN, by default on 25 Gaussians in the plane. sample" in text


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_is_printed(option):
    assert run(option).strip().endswith(__version__)


def completed(line):
    """What bash would be offered at the end of a line."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_MINICOULOMB_COMPLETE": "bash_complete"}
    return CliRunner().invoke(main, prog_name="minicoulomb", env=words).output.split()


def test_commands_options_choices_and_paths_are_completed():
    assert completed("minicoulomb tr") == ["plain,train"]
    assert completed("minicoulomb train --pres") == ["plain,--preset"]
    assert completed("minicoulomb train --preset paper-g") == ["plain,paper-grid"]
    paths = [
        "train --data p",
        "train --resume r",
        "train --out r",
        "sample r",
        "sample runs/00000-ring -o s",
        "field r",
    ]
    for line in [*paths, "plot runs/00000-ring r", "report r", "prepare photos p", "evaluate r --reference p"]:
        assert completed(f"minicoulomb {line}") == [f"file,{line.split()[-1]}"]  # by which bash completes paths


def test_the_help_says_how_to_complete():
    for shell in ("bash", "zsh", "fish"):
        assert f"_MINICOULOMB_COMPLETE={shell}_source minicoulomb" in help_of(columns=80)
        source = CliRunner().invoke(main, prog_name="minicoulomb", env={"_MINICOULOMB_COMPLETE": f"{shell}_source"})
        assert "minicoulomb" in source.output
