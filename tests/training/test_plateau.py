"""The paper's schedule on synthetic curves, and runs that it ends: resumed, they are the uninterrupted ones."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from cli_cases import SMALL, run

from minicoulomb.arrays.backend import open_backend
from minicoulomb.config import Config
from minicoulomb.data.mixtures import ring
from minicoulomb.errors import UserError
from minicoulomb.models import SampleSpace
from minicoulomb.pictures.metric_series import read_metrics
from minicoulomb.report.facts import Facts
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.loop import train
from minicoulomb.training.plateau import Plateau, check_watched
from minicoulomb.training.run import RunDirectory, find_checkpoint, load
from minicoulomb.training.signals import StopRequest


def config(patience=3, **settings):
    return Config.of(plateau=patience, **settings)


def followed(plateau, curve):
    """(plateaus, share) after each value of the curve, and the lines of a log."""
    after, lines = [], []
    for step, value in curve:
        entry = {"step": step, "sample_mmd2": value}
        lines.append(entry | plateau.count(step, entry))
        after.append((plateau.plateaus, plateau.share))
    return after, json.loads(json.dumps(lines))


# It falls to 2 and stays; at a tenth of the rate it falls to 1 and stays. A fall by less than 1% is none.
VALUES = [9.0, 5.0, 6.0, 2.0, 2.1, 1.99, 2.0, 1.2, 1.3, 1.0, 1.1, 0.995, 1.2]
CURVE = [(100 * (i + 1), value) for i, value in enumerate(VALUES)]
PLATEAUS = [0] * 6 + [1] * 6 + [2]


def test_at_a_plateau_the_rates_fall_to_a_tenth_and_at_the_next_one_the_run_ends():
    plateau = Plateau(config())
    after, _ = followed(plateau, CURVE)
    assert after == [(n, pytest.approx(0.1**n)) for n in PLATEAUS]
    assert plateau.ended
    assert plateau.in_words() == (
        "plateau 2 at step 1300: the mmd2 did not fall below 1 in 3 measurements, and the run ends"
    )


@pytest.mark.parametrize("k", range(len(CURVE)))
def test_what_it_knows_comes_from_the_log(k):
    whole, lines = followed(Plateau(config()), CURVE)
    first, second = CURVE[:k], CURVE[k:]
    lines = lines[: len(first)] + [{"step": 100 * k + 50, "loss_d": 1.0}]  # a line without a value that counts
    resumed = Plateau(config(), lines)
    assert (resumed.plateaus, resumed.share) == (whole[k - 1] if k else (0, 1.0))
    assert followed(resumed, second)[0] == whole[k:]


def test_a_falling_curve_has_no_plateau_and_a_noisy_one_has():
    falling = [(step, 0.9**step) for step in range(1, 300)]
    assert followed(Plateau(config()), falling)[0][-1] == (0, 1.0)
    rng = np.random.default_rng(0)
    noisy = [(step, float(1 + 0.2 * rng.standard_normal())) for step in range(1, 300)]
    plateau = Plateau(config(10))
    followed(plateau, noisy)
    assert plateau.ended


def test_without_a_patience_nothing_counts_and_nothing_ends():
    plateau = Plateau(config(0), [{"step": 1, "sample_mmd2": 1.0, "plateaus": 2}])
    assert followed(plateau, CURVE)[0] == [(0, 1.0)] * len(CURVE)
    assert not plateau.lacks(1000)


@pytest.mark.parametrize("value", [None, "low", {}, True])
def test_what_is_no_number_is_not_lower(value):
    plateau = Plateau(config(2), [{"step": n, "sample_mmd2": value, "plateaus": "two"} for n in (1, 2)])
    assert plateau.count(3, {"sample_mmd2": value}) == {"plateaus": 0}
    assert plateau.count(4, {"sample_mmd2": value}) == {"plateaus": 1}
    assert Plateau(config(2), [{"step": 1, "plateaus": n} for n in (-5, 10**9)]).share == pytest.approx(0.01)


def test_with_fids_their_plateau_counts():
    plateau = Plateau(config(1, fid_every=500, inception="weights.pth"))
    assert plateau.every == 500
    assert plateau.count(500, {"sample_mmd2": 1.0}) == {}
    assert plateau.count(500, {"fid": 9.0, "sample_mmd2": 1.0}) == {"plateaus": 0}
    assert plateau.count(1000, {"fid": 9.0}) == {"plateaus": 1}
    assert plateau.in_words().startswith("plateau 1 at step 1000: the FID did not fall below 9 in 1 measurements")


@pytest.mark.parametrize(("settings", "held_out"), [({"sample_every": 0}, True), ({}, False)])
def test_a_run_with_nothing_to_measure_is_refused(settings, held_out, tmp_path):
    np.save(tmp_path / "points.npy", np.random.default_rng(0).standard_normal((300, 2)))
    options = ["--data", tmp_path / "points.npy", "--plateau", 2, "--hold-out-every", 10 * held_out]
    options += ["--sample-every", settings.get("sample_every", 1)]
    output = run("train", *options, "--out", tmp_path / "runs", status=1)
    assert "plateau 2: has nothing to measure; add --fid-every" in output
    assert not list(tmp_path.glob("runs/0*"))
    with pytest.raises(UserError, match="nothing to measure"):
        check_watched(config(sample_every=0), ring())
    check_watched(config(sample_every=0, fid_every=1, inception="weights.pth"), ring())


# Runs that end by it


STUCK = [*SMALL, "--lr-g", 1e-9, "--lr-decay", 1, "--steps", 50, "--sample-every", 3, "--log-every", 2]
STUCK += ["--checkpoint-every", 12]


def lines_of(path):
    lines = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in ("seconds", "samples_per_second")} for line in lines]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run whose samples do not change: values at the steps 3, 6, 9, ...; plateaus of 2 end it at the step 15."""
    out = tmp_path_factory.mktemp("runs")
    output = run("train", *STUCK, "--plateau", 2, "--out", out)
    return out / "00000-ring", output


def test_a_run_ends_at_the_second_plateau_and_says_so(ended):
    path, output = ended
    assert find_checkpoint(path).name == "step-0000015.npz"
    assert "plateau 1 at step 9: the mmd2 did not fall below" in output
    assert "plateau 2 at step 15" in output
    assert "continue with" not in output
    assert "samples/step-0000015.png" in output
    assert "plateau 2 at step 15" in (path / "log.txt").read_text()
    assert [line["plateaus"] for line in lines_of(path) if "plateaus" in line] == [0, 0, 1, 1, 2]
    rates = {line["step"]: line["lr_g"] for line in lines_of(path)}
    assert rates[9] == pytest.approx(1e-9)
    assert rates[10] == rates[15] == pytest.approx(1e-10)


def test_an_ended_run_has_nothing_to_resume_and_its_report_says_why(ended):
    path, _ = ended
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    output = run("train", "--resume", path)
    assert "finished at step 15, its second plateau; a new run with --init-from" in output
    assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    run("report", path, "-o", path.parent / "ended.html")
    page = (path.parent / "ended.html").read_text()
    assert "step 15 of 50: the learning rates had fallen to a tenth, and a second plateau ended it" in page
    assert "continue from step" not in page
    series = read_metrics(path)
    ended = [
        Facts.ended.fget(SimpleNamespace(checkpoint=load(of), series=series)) for of in RunDirectory(path).checkpoints()
    ]
    assert ended == [False, False, True]  # at the steps 0, 12 and 15


def test_resumed_it_is_the_uninterrupted_run_bit_for_bit(ended, tmp_path):
    path, _ = ended
    run("train", *STUCK, "--plateau", 2, "--until", 10, "--out", tmp_path)
    halves = tmp_path / "00000-ring"
    run("train", "--resume", halves)
    assert find_checkpoint(halves).read_bytes() == find_checkpoint(path).read_bytes()
    counted = [[line for line in lines_of(run) if "plateaus" in line] for run in (path, halves)]
    assert counted[0] == counted[1]


def test_a_last_step_between_two_measurements_does_not_count(tmp_path):
    """A run of 10 steps measures once more at its end; extended, it counts as the uninterrupted run does."""
    constant = [10 if option == 50 else option for option in STUCK]
    run("train", *constant, "--eps-end", 0.6, "--lr-decay-d", 1, "--plateau", 2, "--out", tmp_path)
    short = tmp_path / "00000-ring"
    assert "plateaus" not in lines_of(short)[-1]
    run("train", "--resume", short, "--steps", 50)
    assert [line["plateaus"] for line in lines_of(short) if "plateaus" in line] == [0, 0, 1, 1, 2]


def test_an_fid_that_was_stopped_is_made_up_for(tmp_path):
    """A signal during the FID of step 4 saves that step without it; the resumed run measures it before it goes on."""

    def trained(name, fids, until=50):
        """The steps and plateaus that a run logs with these FIDs; None: a signal stops it meanwhile."""
        settings = {"fid_every": 2, "sample_every": 0, "checkpoint_every": 0, "inception": "x", "steps": 50}
        resolved = config(2, data="ring", g_width=4, d_width=4, **settings)
        backend, dataset, stop, values = open_backend("numpy"), ring(), StopRequest(), iter(fids)
        if (tmp_path / name).exists():
            made = RunDirectory.open(tmp_path / name / "00000-ring")
            checkpoint = load(made.path)
        else:
            checkpoint = checkpoints.initial(resolved, SampleSpace.of(dataset))
            made = RunDirectory.create(tmp_path / name, "ring", checkpoint)

        def fid():
            if (value := next(values)) is None:
                stop.signal = 15
            return value

        ignored = lambda *args: {}
        train(made, checkpoint, dataset, backend, until, stop, ignored, ignored, fid, False)
        return [(line["step"], line["fid"], line["plateaus"]) for line in lines_of(made.path) if "plateaus" in line]

    whole = trained("whole", [5.0, 4.0, 6.0, 6.0, 6.0, 6.0])
    assert whole == [(2, 5.0, 0), (4, 4.0, 0), (6, 6.0, 0), (8, 6.0, 1), (10, 6.0, 1), (12, 6.0, 2)]
    assert trained("halves", [5.0, None]) == whole[:1]
    assert trained("halves", [4.0, 6.0, 6.0, 6.0, 6.0]) == whole
    last = "00000-ring/checkpoints/step-0000012.npz"
    assert (tmp_path / "whole" / last).read_bytes() == (tmp_path / "halves" / last).read_bytes()
