"""What is said of metrics, and what is advised."""

import re

import pytest

from minicoulomb.config import SETTINGS, Config
from minicoulomb.evaluation.verdict import FINDINGS, verdict

# 2,500 samples of a good run on the grid.
GOOD = {"samples": 2500, "modes": 25, "modes20": 25, "high_quality": 0.95, "spread": 1.15, "reverse_kl": 0.005}
GOOD |= {
    "reference_samples": 2500,
    "mmd2": 0.0008,
    "mmd2_floor": 0.0007,
    "d_correlation": 0.95,
    "d_correlation_limit": 0.98,
}
RING = Config.of(data="ring", eps=0.6, eps_end=0.4, lr_decay=0.003)


def said(config=RING, parts=25, **other):
    return " ".join(verdict({name: n for name, n in (GOOD | other).items() if n is not None}, parts, config))


def test_samples_at_the_floor_are_as_close_as_real_ones_and_need_nothing():
    text = said()
    assert text == (
        "mmd2 is 1.1 times its floor: the samples are as close to 2,500 new real ones as others are. "
        "D follows the potential: its correlation with the potential is 0.95, at most 0.98."
    )


@pytest.mark.parametrize(
    ("metrics", "words", "remedy"),
    [
        ({"mmd2": 0.02}, "far from the data; next", "more --steps, a larger --g-width, a smaller --eps-end"),
        ({"mmd2": 0.0015}, "the samples are near the data; next", "more --steps"),
        ({"mmd2": 0.02, "high_quality": 0.6}, "60% of them lie on the modes", "a smaller --eps-end"),
        ({"mmd2": 0.02, "spread": 1.6}, "wide of the modes' centres, spread 1.60", "a larger --g-width"),
        ({"mmd2": 0.02, "spread": 0.73}, "narrower than the modes, spread 0.73", "a larger --lr-decay-d"),
        ({"mmd2": 0.02, "modes20": 23}, "2 modes are empty or nearly so", "a larger --eps-end"),
        ({"reverse_kl": 0.2}, "but they fill the modes unevenly", "a larger --batch-size"),
        ({"mmd2": 0.02, "nearest_ratio": 1.6}, "1.60 times as far from the data", "a larger --g-width"),
        ({"nearest_ratio": 0.1}, "but they crowd at training samples, 0.10 times", "more data"),
        (
            {"mmd2": None, "nearest_ratio": 0.1},
            "Without a floor of mmd2: they crowd at training samples, 0.10 times",
            "more data",
        ),
    ],
)
def test_what_is_wrong_is_named_with_what_helps_most(metrics, words, remedy):
    text = said(**metrics)
    assert words in text
    assert remedy in text.partition("next: ")[2]


def test_classes_are_told_as_modes_are():
    digits = {"samples": 2500, "reference_samples": 179, "mmd2": 0.01, "mmd2_floor": 0.002, "entropy": 2.0}
    assert "3 classes are empty" in verdict(digits | {"classes": 7}, 10, Config.of(eps=1.0))[0]
    assert "a larger --eps, " in verdict(digits | {"classes": 7}, 10, Config.of(eps=1.0))[0]
    assert "they fill the classes unevenly" in verdict(digits | {"classes": 10}, 10, Config.of(eps=1.0))[0]


@pytest.mark.parametrize(
    ("found", "limit", "words"),
    [
        (0.9, 0.95, "D follows the potential: "),
        (
            0.3,
            0.95,
            "D does not follow the potential: its correlation with the potential is 0.30, at most 0.95; next: ",
        ),
        (-0.4, 0.9, "D does not follow"),
        (0.7, 0.95, "D follows the potential in part: "),
        (0.3, 0.4, "The potential is mostly chance"),
        (0.0, 0.9, "D is constant at the samples"),
    ],
)
def test_whether_d_follows_is_told_against_what_a_perfect_one_would_reach(found, limit, words):
    assert words in said(d_correlation=found, d_correlation_limit=limit)


def test_data_that_training_has_all_of_and_no_modes_leave_nothing_to_say():
    assert verdict({"samples": 10, "frechet": 1.0}, None, Config()) == []


def test_only_options_that_exist_and_that_the_objective_has_are_advised():
    everything = {"mmd2": 0.1, "high_quality": 0.1, "spread": 0.2, "modes20": 3, "reverse_kl": 1, "nearest_ratio": 0.1}
    for objective in ("coulomb", "gan", "field"):
        wrong = [{"mmd2": 0.1, name: everything[name]} for name in everything]
        text = " ".join(said(RING.replace(objective=objective), **one, d_correlation=None) for one in wrong)
        options = {option.replace("-", "_") for option in re.findall(r"--([a-z-]+)", text)}
        assert options <= set(SETTINGS)
        assert ("eps_end" in options) == (objective != "gan")
        assert ("field_share" in options) == (objective == "coulomb")
    assert {word for f in FINDINGS for remedy in f.remedies for word in re.findall(r"\{\w+\}", remedy)} == {"{eps}"}


def test_what_is_tried_already_is_not_advised():
    wrong = {"mmd2": 0.1, "spread": 0.2, "d_correlation": 0.1}
    assert "--lr-decay-d" in said(**wrong)
    assert "--field-share" in said(**wrong)
    tried = RING.replace(field_share=0.2, lr_decay_d=1.0)
    assert "--lr-decay-d" not in said(tried, **wrong)
    assert "--field-share" not in said(tried, **wrong)
    assert "more --d-steps" in said(tried, **wrong)


def test_advice_is_of_the_first_thing_that_is_wrong_so_that_it_does_not_contradict_itself():
    """Missing modes call for a larger eps, and blurred ones for a smaller."""
    text = said(mmd2=0.5, modes20=1, high_quality=0.1, spread=5.0, reverse_kl=1.0, d_correlation=None)
    assert text == (
        "mmd2 is 714.3 times its floor: the samples are far from the data: 24 modes are empty or nearly so, "
        "and 10% of them lie on the modes, real points 99%; next: a larger --eps-end, a larger --batch-size."
    )


def test_few_samples_say_nothing_about_modes_and_their_chance_is_no_unevenness():
    """Of 20 real points on 8 modes the KL is .18 on average."""
    few = {"samples": 100, "modes20": 3, "reverse_kl": 0.5, "d_correlation": None}
    assert said(parts=8, **few).endswith("as others are.")
    chance = {"samples": 200, "modes20": 8, "reverse_kl": 0.03 + 7 / 400 - 0.001, "d_correlation": None}
    assert said(parts=8, **chance).endswith("as others are.")
    assert "unevenly" in said(parts=8, **chance | {"reverse_kl": 0.03 + 7 / 400 + 0.001})


def test_text_has_a_sentence_on_its_n_grams_between_real_lines_and_characters_without_order():
    text = {"samples": 640, "js3": 0.4, "js4": 0.5, "js4_floor": 0.28, "js4_independent": 0.92, "floor_lines": 640}
    levels = "640 new real lines have 0.28, lines of independent characters 0.92."
    assert verdict(text, None, RING) == [f"The 4-grams of the lines diverge from the text's by 0.50: {levels}"]
    worse = text | {"js4": 0.93}
    assert verdict(worse, None, RING) == [
        f"The lines have no order of characters: their 4-grams diverge by 0.93, {levels}"
    ]
    without = {name: value for name, value in text.items() if "floor" not in name}
    assert verdict(without, None, RING)[0].endswith("by 0.50: lines of independent characters 0.92.")
    short = {"samples": 640, "js1": 0.1, "js1_independent": 0.0}  # lines of one character have no order
    assert verdict(short, None, RING) == []
