"""Curves: what is read from metrics.jsonl, and what of it is in the figure."""

import builtins
import io
import json
import os

import numpy as np
import pytest
from cli_cases import SMALL, run, tree
from PIL import Image

from minicoulomb.cli.plot import _names
from minicoulomb.errors import UserError
from minicoulomb.pictures.metric_curves import figure, panel_figure
from minicoulomb.pictures.metric_curves import write as write_figure
from minicoulomb.pictures.metric_panels import PANELS, present
from minicoulomb.pictures.metric_series import DRAWN, STRETCHES, Series, read_metrics, running_mean, thinned

DRAWING = "matplotlib draws the curves; pip install '.[plot]'"


@pytest.fixture
def draws():
    pytest.importorskip("matplotlib", reason=DRAWING)


def write(folder, *lines):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_bytes("".join(lines).encode(errors="surrogateescape"))
    return folder


def logged(*entries):
    return [json.dumps(entry) + "\n" for entry in entries]


def series_of(values, first=1):
    return Series(np.arange(first, first + len(values), dtype=float), np.asarray(values, float))


def drawn(page, name):
    """Steps and values of each line that was drawn for a metric."""
    return [line.get_data() for axes in page.axes for line in axes.lines if line.get_gid() == name]


def test_series_are_those_of_the_file(tmp_path):
    lines = logged({"step": 1, "mmd2": 0.5, "modes": 3}, {"step": 100, "mmd2": 0.25}, {"step": 200, "mmd2": 0, "r2": 1})
    found = read_metrics(write(tmp_path, *lines))
    assert {name: (s.steps.tolist(), s.values.tolist()) for name, s in found.items()} == {
        "mmd2": ([1, 100, 200], [0.5, 0.25, 0]),
        "modes": ([1], [3]),
        "r2": ([200], [1]),
    }


@pytest.mark.parametrize(
    "bad",
    [
        '{"step": 3, "r2": 0.',
        "",
        "\x00\x00",
        "[1, 2]",
        "7",
        '{"r2": 5}',
        '{"step": "x", "r2": 5}',
        '{"step": NaN}',
        '{"step": -1, "r2": 5}',
        '{"step": null, "r2": 5}',
        pytest.param(f'{{"step": {"9" * 400}, "r2": 5}}', id="a large step"),
        pytest.param(f'{{"step": {"9" * 5000}, "r2": 5}}', id="a larger step"),
        pytest.param(f'{{"step": 3, "r2": 5, "x": "{"x" * 2**17}"}}', id="a long line"),
        pytest.param("[" * 2**17, id="nested lists"),
        pytest.param('{"a":' * 2**17, id="nested dicts"),
        pytest.param('\udcff\udcfe{"step": 3, "r2": 5}', id="no UTF-8"),
    ],
)
def test_a_line_that_is_torn_or_none_is_left_out(tmp_path, bad):
    found = read_metrics(write(tmp_path, *logged({"step": 1, "r2": 0.5}), bad + "\n", *logged({"step": 9, "r2": 0.75})))
    assert found["r2"].steps.tolist() == [1, 9]
    found = read_metrics(write(tmp_path, *logged({"step": 1, "r2": 0.5}), bad))
    assert found["r2"].values.tolist() == [0.5]


@pytest.mark.parametrize("bad", ["null", "NaN", "Infinity", "-Infinity", "true", '"high"', "[1]", "1e400", "9" * 400])
def test_a_value_that_is_no_finite_number_is_left_out(tmp_path, bad):
    lines = [*logged({"step": 1, "r2": 0.5}), f'{{"step": 2, "r2": {bad}, "mmd2": 3}}\n']
    found = read_metrics(write(tmp_path, *lines))
    assert found["r2"].steps.tolist() == [1]
    assert found["mmd2"].values.tolist() == [3]


def test_of_several_lines_of_a_step_the_last_one_counts_in_any_order(tmp_path):
    steps = [1, 3, 2, 3, 5, 3, 1]
    found = read_metrics(write(tmp_path, *logged(*({"step": step, "r2": i} for i, step in enumerate(steps)))))
    assert (found["r2"].steps.tolist(), found["r2"].values.tolist()) == ([1, 2, 3, 5], [6, 2, 5, 4])


def test_names_beyond_any_number_of_metrics_are_left_out(tmp_path):
    found = read_metrics(write(tmp_path, *logged({"step": 1, **{f"x{i}": i for i in range(3000)}})))
    assert len(found) == 1000


def test_a_file_that_would_take_minutes_is_refused(tmp_path):
    os.truncate(write(tmp_path) / "metrics.jsonl", 2**33)
    with pytest.raises(UserError, match="has 8,589,934,592 bytes: at most"):
        read_metrics(tmp_path)


@pytest.mark.parametrize("values", [[1e300, -1e300], [5e-324, 1e300, 1], [0, 0], [-1e300], [10**299]])
@pytest.mark.parametrize("name", ["mmd2", "loss_g"])
def test_any_finite_values_are_drawn(draws, tmp_path, name, values):
    panel = next(panel for panel in PANELS if name in panel.names)
    entries = [{"step": step, name: value} for step, value in enumerate(values)]
    page = panel_figure(panel, {"run": read_metrics(write(tmp_path, *logged(*entries)))})
    write_figure(page, io.BytesIO(), "png")


def test_a_legend_is_text_whatever_a_run_is_called(draws):
    name = "a\x1b[2J\n\udcff\x00<script>\u202e$\\frac{1}$"
    file = io.BytesIO()
    write_figure(figure({name: {"mmd2": series_of([1, 2])}, "_b": {"mmd2": series_of([1, 2])}}), file, "svg")
    assert r"a\x1b[2J\n\udcff\x00&lt;script&gt;\u202e$\frac{1}$" in file.getvalue().decode()


def test_few_points_are_drawn_of_many_and_no_outlier_is_lost():
    values = np.random.default_rng(0).standard_normal(100_000)
    values[[777, 50_001]] = 100, -100
    found = thinned(series_of(values))
    assert len(found.steps) <= DRAWN
    assert (np.diff(found.steps) > 0).all()
    assert (found.values == values[found.steps.astype(int) - 1]).all()
    assert {100, -100, values[0], values[-1]} <= set(found.values)
    short = series_of(values[:DRAWN])
    assert thinned(short) is short


def test_the_running_mean_is_the_mean_about_each_point():
    values = np.random.default_rng(0).standard_normal(10 * STRETCHES)
    found = running_mean(series_of(values))
    reach = len(values) // STRETCHES // 2
    for i in (0, 1, 99, len(values) - 1):
        assert found.values[i] == pytest.approx(values[max(i - reach, 0) : i + reach + 1].mean())
    assert running_mean(series_of(values[: 2 * STRETCHES - 1])) is None


def test_the_lines_of_the_figure_are_the_numbers_of_the_files(draws):
    """Two runs of different lengths, of which one has no modes and no R2."""
    rng = np.random.default_rng(0)
    first = {name: series_of(rng.uniform(0.1, 1, 60)) for name in ("mmd2", "loss_d", "loss_g", "lr_g", "lr_d")}
    second = {**first, "mmd2": series_of(rng.uniform(size=5)), "modes": series_of([1, 2]), "r2": series_of([-1, 0.5])}
    page = figure({"one": first, "other": second})
    for name in ("mmd2", "loss_d", "lr_d", "modes", "r2"):
        expected = [runs[name] for runs in (first, second) if name in runs]
        for line, series in zip(drawn(page, name), expected, strict=True):
            np.testing.assert_array_equal(line, series)
    (mean,) = drawn(page, "mmd2-mean")
    np.testing.assert_array_equal(mean[1], running_mean(first["mmd2"]).values)
    titles = [axes.get_title(loc="left") for axes in page.axes]
    assert titles == [panel.title for panel in present(PANELS, {"one": first, "other": second})]
    assert "FID: must fall" not in titles
    assert [text.get_text() for text in page.legends[0].get_texts()] == ["one", "other"]
    colours = {line.get_color() for axes in page.axes for line in axes.lines}
    assert len(colours) == 2


def test_a_log_axis_is_left_out_where_nothing_is_positive(draws):
    for values, scale in (([0, 0, 0], "linear"), ([0.1, 0, 0.2], "log")):
        page = panel_figure(PANELS[0], {"a": {"sample_mmd2": series_of(values)}})
        assert page.axes[0].get_yscale() == scale


def test_what_is_told_to_fall_is_of_fresh_samples_with_its_floor_and_noise_says_so(draws):
    """A mini-batch's squared MMD was under "must fall"; it depends on eps, too, and rests at its own floor."""
    falling = {name for panel in PANELS if "must fall" in panel.title for name in panel.names}
    assert falling == {"sample_mmd2", "mmd2_floor", "js4", "js4_floor", "reverse_kl", "fid"}
    assert all("noisy" in panel.title for panel in PANELS if {"mmd2", "r2"} & set(panel.names))
    series = {"sample_mmd2": series_of([0.5, 0.1]), "mmd2_floor": series_of([0.01, 0.01]), "mmd2": series_of([1, 2])}
    page = figure({"a": series})
    both = [line.get_gid() for line in page.axes[0].lines]
    assert both == ["sample_mmd2", "mmd2_floor"]
    assert "floor" in page.axes[0].get_legend().get_texts()[1].get_text()
    old = figure({"a": {"mmd2": series_of([1, 2])}})  # a run without them
    assert [axes.get_title(loc="left") for axes in old.axes] == ["MMD of a mini-batch: noisy, eps changes"]


def test_lines_have_room_above_and_axes_that_are_not_logarithmic_begin_at_0(draws):
    for panel in PANELS:
        page = panel_figure(panel, {"a": {name: series_of([2900.0, 3000.0]) for name in panel.names}})
        low, high = page.axes[0].get_ylim()
        assert low < 2900 if panel.log else low == 0
        assert high > 3000 if panel.log else high > 3100


def test_more_runs_than_colours_are_refused():
    with pytest.raises(UserError, match="8 runs: at most 7 colours are distinguishable"):
        figure({str(i): {} for i in range(8)})


@pytest.mark.parametrize(("suffix", "begins"), [(".PNG", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_the_command_draws_the_same_each_time(draws, tmp_path, suffix, begins):
    folder = write(tmp_path / "run", *logged({"step": 1, "mmd2": 1, "modes": 2, "modes20": 1}))
    outputs = [tmp_path / f"{i}{suffix}" for i in range(2)]
    for output in outputs:
        assert run("plot", folder, "-o", output) == f"curves of {folder}: {output}\n"
    content = outputs[0].read_bytes()
    assert content == outputs[1].read_bytes()
    assert content.startswith(begins)
    assert tree(tmp_path) == {"run/metrics.jsonl", f"0{suffix}", f"1{suffix}"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    run("train", *SMALL, "--steps", 20, "--sample-every", 10, "--out", out)
    return out / "00000-ring"


def test_runs_of_one_name_are_told_apart_by_their_paths(draws, trained, tmp_path):
    odd = tmp_path / r"$\frac$ 図" / "00000-ring"
    write(odd, (trained / "metrics.jsonl").read_text())
    output = run("plot", trained, odd, trained / "checkpoints/step-0000020.npz", "-o", tmp_path / "a.png")
    assert output == f"curves of {trained}, {odd}: {tmp_path / 'a.png'}\n"
    assert _names([trained, odd]) == [str(trained), str(odd)]
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 1000


def test_a_legend_tells_in_what_runs_differ(tmp_path):
    configs = {"a": {"data": "ring", "seed": 0, "d": 1}, "b": {"data": "ring", "seed": 1, "d": 1}, "c": {}}
    for name, config in configs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    assert _names([tmp_path / "a"]) == ["a"]
    assert _names([tmp_path / "a", tmp_path / "b"]) == ["a, seed 0", "b, seed 1"]
    assert _names([tmp_path / "b", tmp_path / "c", tmp_path / "d"]) == ["b, data ring, seed 1, d 1", "c", "d"]
    (tmp_path / "b/config.json").write_text('{"data": "grid", "seed": 1, "d": 2, "eps": 1}')
    assert _names([tmp_path / "b", tmp_path / "c"]) == ["b", "c"]


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b"[" * 10**5, b'{"seed": [[1]], "d": {"a": 1}}', b""])
def test_a_damaged_config_is_left_out_of_the_legend(tmp_path, content):
    """The curves do not depend on it."""
    for name, text in (("a", content), ("b", b'{"seed": 1, "d": "' + 1000 * b"x" + b'"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes(text)
    assert _names([tmp_path / "b", tmp_path / "a"]) == [f"b, seed 1, d {'x' * 40}", "a"]


@pytest.mark.parametrize(
    ("run_name", "output", "said"),
    [
        ("run", "a.gif", "a.gif: curves are written to a .png, .svg, .pdf file; use -o a.png"),
        ("run", "there/a.png", "there/a.png: cannot be written"),
        ("nothing", "a.png", "nothing: has no readable metrics.jsonl"),
        ("empty", "a.png", "empty: no step is logged yet; wait for the first, or use train --resume"),
    ],
)
def test_a_mistake_is_told_in_a_line(draws, tmp_path, monkeypatch, run_name, output, said):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "empty")
    write(tmp_path / "run", *logged({"step": 1, "mmd2": 1}))
    assert said in run("plot", run_name, "-o", output, status=1)
    assert tree(tmp_path) == {"empty/metrics.jsonl", "run/metrics.jsonl"}


@pytest.mark.parametrize("command", ["plot", "report"])
def test_without_matplotlib_the_remedy_is_told(trained, tmp_path, monkeypatch, command):
    real = builtins.__import__

    def without(name, *args):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError("No module named 'matplotlib'")
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.chdir(tmp_path)
    (line,) = run(command, trained, status=1).splitlines()
    assert line == "Error: curves need matplotlib (No module named 'matplotlib'); pip install 'minicoulomb[plot]'"
    assert not tree(tmp_path)
