"""The report: a page that is whole, loads nothing, escapes everything, and comes about whatever a run lacks."""

import base64
import io
import json
import os
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from cli_cases import SMALL, SMALL_IMAGES, run, tree
from PIL import Image

from minicoulomb.cli.common import configure
from minicoulomb.cli.report import report
from minicoulomb.config import Config
from minicoulomb.errors import UserError
from minicoulomb.pictures.metric_panels import PANELS
from minicoulomb.presets import PRESETS, nearest_preset
from minicoulomb.report import gather, images, page, shared
from minicoulomb.report.commands import again
from minicoulomb.report.html import BLOCKS, Html, block
from minicoulomb.report.images import chosen, embedded, read
from minicoulomb.training.checkpoint import load
from minicoulomb.training.run import find_checkpoint

VOID = {"meta", "img"}


class Page(HTMLParser):
    """What a browser would see: elements, texts by element, and whether each tag is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts, self.styles = [], [], [], ""
        self.feed(re.sub(r'<span class="option">(.*?)</span>', r"\1", text))  # words of a sentence
        self.close()
        assert not self.open
        self.text = " ".join(self.texts)

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        assert "svg" in self.open, name  # HTML's own elements do not close themselves
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.styles += data
        else:
            self.texts.append(data.strip())

    def all(self, name):
        return [attributes for element, attributes in self.elements if element == name]

    def sections(self):
        return [attributes["id"] for attributes in self.all("section")]


@pytest.fixture(scope="module")
def draws():
    pytest.importorskip("matplotlib", reason="matplotlib draws the report's curves; pip install '.[plot]'")


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    run("train", *SMALL, "--steps", 20, "--sample-every", 2, "--until", 10, "--out", out)
    return out / "00000-ring"


@pytest.fixture(scope="module")
def ring_report(draws, ring):
    """Text and page of an unfinished run."""
    run("report", ring, "-o", ring.parent / "report.html")
    text = (ring.parent / "report.html").read_text()
    return text, Page(text)


def reported(run_path, tmp_path):
    """The page of a run, with one graph only, which takes less time."""
    log = (run_path.parent.parent if run_path.is_file() else run_path) / "metrics.jsonl"
    entries = map(json.loads, log.read_text().splitlines())
    log.write_text("".join(json.dumps({"step": e["step"], "mmd2": e["mmd2"]}) + "\n" for e in entries if "mmd2" in e))
    run("report", run_path, "-o", tmp_path / "page.html")
    return Page((tmp_path / "page.html").read_text())


@pytest.fixture(scope="module")
def few_facts(draws, ring):
    """Of the same run, without what takes long to draw."""
    facts = gather(ring, ring, load(find_checkpoint(ring)), {"minicoulomb": "1"}, UserError("gone"))
    return facts._replace(series={"mmd2": facts.series["mmd2"]}, pictures=facts.pictures[:1])


def test_a_page_has_all_that_is_known_of_a_run(ring_report, ring):
    text, seen = ring_report
    parts = ["result", "time", "field", "curves", "commands", "settings", "networks", "versions", "log"]
    assert seen.sections() == parts
    assert {link["href"] for link in seen.all("a") if link["href"][0] == "#"} <= {f"#{part}" for part in parts}
    assert "step 10 of 20" in seen.texts
    metrics = json.loads(run("evaluate", ring, "--json"))
    assert f"{metrics['modes']} of 8" in seen.text
    assert f"{100 * metrics['high_quality']:.1f}%" in seen.text
    said = [line for line in run("evaluate", ring).splitlines() if line.startswith(("mmd2 is ", "D "))]
    assert len(said) == 2
    assert all(sentence in seen.texts for sentence in said)
    assert {"its floor", "correlation of D", "its limit"} <= set(seen.texts)
    assert f"minicoulomb train --resume {ring.parent.name}/{ring.name}" in seen.text
    config = json.loads((ring / "config.json").read_text())
    assert set(config) <= set(seen.texts)
    last = (ring / "log.txt").read_text().splitlines()[-1]
    assert last.replace(str(ring), f"{ring.parent.name}/{ring.name}") in seen.text
    G = load(find_checkpoint(ring)).G
    assert f"{G.size:,} parameters" in seen.text
    assert all(f"{number:,}" in seen.texts for _, _, number in G.summary())
    captions = re.findall(r"<figcaption>step ([\d,]+)</figcaption>", text)
    assert captions == ["0", "2", "4", "6", "8", "10"]
    assert "squared MMD" in seen.text
    assert not re.search("#3c3c3c|#6e6e6e|#e4e4e4", text), "curves have the page's colours"
    assert len([attributes for attributes in seen.all("svg") if attributes["aria-label"]]) >= 8


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(ring_report):
    text, seen = ring_report
    for name, attributes in seen.elements:
        for key in ("src", "srcset", "data", "poster", "xlink:href", "action", "background"):
            assert attributes.get(key, "#").startswith(("#", "data:image/")), (name, key)
        if name != "a":
            assert attributes.get("href", "#")[0] == "#"
        assert not [key for key in attributes if key.startswith("on")]
    assert {name for name, _ in seen.elements}.isdisjoint({"script", "link", "iframe", "object", "embed", "base"})
    assert re.findall(r"https?://[^\"]*", text) == ["https://arxiv.org/abs/1708.08819"]
    assert "url(" not in seen.styles
    assert "@import" not in seen.styles
    (policy,) = [meta["content"] for meta in seen.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")


def test_a_page_is_for_light_and_dark_for_phones_and_for_screen_readers(ring_report):
    text, seen = ring_report
    light, dark = re.findall(r":root \{([^}]*)\}", seen.styles)[:2]
    names = [set(re.findall(r"--\w+(?=:)", scheme)) for scheme in (light, dark)]
    assert names[0] == names[1]
    assert set(re.findall(r"var\((--\w+)\)", text)) == names[0]
    assert "prefers-color-scheme: dark" in seen.styles
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in seen.all("meta")
    assert all(image["alt"] for image in seen.all("img"))
    assert seen.all("html")[0]["lang"] == "en"
    assert all(f'id="{part["aria-labelledby"]}"' in text for part in seen.all("section"))
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]*)', text)) <= set(ids)


def contrast(one, other):
    """Of WCAG, between two colours #rrggbb."""
    light = []
    for colour in (one, other):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        light.append(np.dot([0.2126, 0.7152, 0.0722], linear) + 0.05)
    return max(light) / min(light)


def test_text_can_be_read_in_both_schemes(ring_report):
    for scheme in re.findall(r":root \{([^}]*)\}", ring_report[1].styles):
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", scheme))
        for ground in ("page", "card"):
            if ground in colours:
                assert all(
                    contrast(colours[name], colours[ground]) >= 4.5 for name in ("ink", "muted", "line", "accent")
                )


def test_no_caption_claims_that_what_d_cannot_do_late_is_chance_alone(ring_report):
    """The potential of a mini-batch is not chance alone where D lags behind; the limit beside D's correlation tells."""
    assert "no discriminator can predict, and" not in ring_report[1].text
    assert "limit is that of a perfect discriminator" in " ".join(ring_report[1].text.split())
    assert "Distance to the data: must fall to the floor" in ring_report[1].texts


def test_large_images_have_metrics_too(draws, tmp_path):
    np.save(tmp_path / "photos.npy", np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8))
    small = ["--generator", "dcgan", "--discriminator", "dcgan", "--g-width", 4, "--d-width", 4, "--batch-size", 8]
    run("train", "--data", tmp_path / "photos.npy", *small, "--steps", 1, "--sample-every", 0, "--out", tmp_path)
    seen = reported(tmp_path / "00000-photos", tmp_path)
    assert "Of 416 samples, measured as by minicoulomb evaluate." in seen.texts
    assert {"squared MMD", "its floor", "nearest neighbours", "correlation of D"} <= set(seen.texts)


def test_equal_facts_give_equal_bytes(few_facts):
    assert page(few_facts) == page(few_facts)


def test_a_report_lies_in_its_run_s_directory_by_default(draws, tmp_path, monkeypatch):
    for _ in range(2):
        run("train", *SMALL, "--steps", 1, "--out", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    first, second = sorted((tmp_path / "runs").glob("0*"))
    assert run("report", "runs/00000-ring") == "00000-ring, step 1: runs/00000-ring/report.html\n"
    before = (first / "report.html").read_bytes()
    run("report", second / "checkpoints/step-0000001.npz")
    assert (first / "report.html").read_bytes() == before != (second / "report.html").read_bytes()
    assert not (tmp_path / "report.html").exists()
    run("train", "--resume", second, "--steps", 2)
    assert (second / "report.html").exists()


def test_a_report_has_no_absolute_paths(few_facts, tmp_path, monkeypatch):
    """Those below the working directory work from there; of others the last part is shown."""
    data, far = tmp_path / "it's" / "photos", f"/mnt{tmp_path}/inception.pth"
    config = few_facts.checkpoint.config.replace(data=str(data), inception=far)
    log = [f"{data}: told", f"continue with: minicoulomb train --resume {few_facts.path}"]
    facts = few_facts._replace(checkpoint=few_facts.checkpoint._replace(config=config), log=log)
    for folder, name in ((tmp_path, "it's/photos"), (Path("/"), "photos")):
        monkeypatch.chdir(folder)
        text = Page(page(shared(facts, few_facts.path))).text
        assert not any(path in text for path in (str(tmp_path), "/mnt", str(few_facts.path.parent.parent)))
        assert f" --data {shlex.quote(name)} " in text
        assert " --inception inception.pth" in text
        assert f"{name}: told" in text
        run_path = f"{few_facts.path.parent.name}/{few_facts.path.name}"
        assert f"--resume {run_path}" in text
        assert f"minicoulomb evaluate {run_path}" in text


def test_names_are_escaped_wherever_they_stand(draws, tmp_path):
    name = """<b>"x"&'y'"""
    np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).standard_normal((50, 3)))
    run("train", "--data", tmp_path / f"{name}.npy", "--steps", 2, "--out", tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("0*")
    (path / "log.txt").write_text("</pre><script>alert(1)</script>\n")
    seen = reported(path, tmp_path)
    assert not seen.all("b")
    assert not seen.all("script")
    assert f"00000-{name}" in seen.texts
    assert f"A Coulomb GAN on {name}.npy, points of 3 numbers" in seen.texts
    assert "</pre><script>alert(1)</script>" in seen.texts
    assert "field" not in seen.sections()  # of points in space it is not drawn
    command = next(text for text in seen.texts if text.startswith("minicoulomb train"))
    assert shlex.split(command)[2:4] == ["--preset", "points"]
    assert f"{name}.npy" in shlex.split(command)
    assert str(tmp_path) not in seen.text  # a report is for others too


def test_a_run_whose_data_are_gone_or_whose_pictures_are_broken_has_its_page(draws, tmp_path):
    np.save(tmp_path / "points.npy", np.random.default_rng(0).standard_normal((50, 2)))
    run("train", "--data", tmp_path / "points.npy", "--steps", 4, "--sample-every", 1, "--out", tmp_path / "runs")
    (tmp_path / "points.npy").unlink()
    path = tmp_path / "runs" / "00000-points"
    whole = (path / "samples/step-0000002.png").read_bytes()
    (path / "samples/step-0000002.png").write_bytes(whole[:3000])
    (path / "samples/step-0000004.png").write_bytes(b"")
    (path / "samples/step-mine.png").write_bytes(b"")
    (path / "log.txt").unlink()
    seen = reported(path, tmp_path)
    assert "The samples are not compared with the data, which are missing" in seen.text
    assert "Damaged or too large pictures, left out: step-0000002.png, step-0000004.png." in seen.texts
    assert seen.sections() == ["result", "time", "curves", "commands", "settings", "networks", "versions"]
    assert "Samples at step 3" in seen.texts
    last = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])["mmd2"]
    assert f"{last:.3g}" in seen.texts


def test_a_page_is_text_whatever_stands_in_a_run(draws, ring, tmp_path):
    """Names that are no UTF-8, control characters, pipes, and loops of links."""
    run_path = tmp_path / os.fsdecode(b"run \xff\x1b[2J\x01<b>")
    shutil.copytree(ring, run_path)
    (run_path / "log.txt").write_bytes(b"\xff\x00\x1b[2J line\n" * 10_000)
    shutil.copy(run_path / "samples/step-0000002.png", run_path / "whole.png")
    for name in ("step-0000002", "step-0000004", "step-0000006", "step-0000008"):
        (run_path / f"samples/{name}.png").unlink(missing_ok=True)
    (run_path / "samples/step-0000002.png").symlink_to(run_path / "whole.png")
    os.mkfifo(run_path / "samples/step-0000004.png")
    (run_path / "samples/step-0000006.png").symlink_to("step-0000004.png")
    (run_path / "samples/step-0000008.png").symlink_to("step-0000008.png")
    (run_path / "samples/step-٣.png").mkdir()
    odd = {"minicoulomb": "\x1b\udc80"}
    facts = gather(run_path, run_path, load(find_checkpoint(run_path)), odd, UserError("\udcff"))
    facts = facts._replace(series={})
    text = page(facts).encode().decode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", text)
    seen = Page(text)
    assert r"run \udcff\x1b[2J\x01<b>" in seen.texts
    assert not seen.all("b")
    assert text.count(r"\x00\x1b[2J line") == 20
    assert [step for step, _ in facts.pictures] == [0, 2, 10]
    shutil.rmtree(run_path / "samples")
    (run_path / "samples").write_bytes(b"")
    (run_path / "log.txt").unlink()
    os.mkfifo(run_path / "log.txt")
    facts = gather(run_path, run_path, facts.checkpoint, {}, UserError("gone"))
    assert (facts.pictures, facts.log) == ([], [])


def test_a_run_without_pictures_or_metrics_has_its_page(draws, ring, tmp_path):
    shutil.copytree(ring, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/samples")
    (tmp_path / "run/metrics.jsonl").write_text('{"step": 1')
    folder = tmp_path / "run"
    seen = Page(page(gather(folder, folder, load(find_checkpoint(folder)), {}, UserError("gone"))))
    assert "No step is logged yet." in seen.texts
    assert "time" not in seen.sections()


def test_a_run_that_diverged_says_why(draws, tmp_path):
    run("train", *SMALL, "--steps", 50, "--lr-g", 1e25, "--lr-d", 1e25, "--out", tmp_path, status=1)
    seen = reported(tmp_path / "00000-ring", tmp_path)
    assert "not finite at step" in seen.text
    assert "The samples are not compared with the data: 2500 of 2500 samples: must be finite" in seen.text
    assert "of 50" in seen.text


def test_an_image_run_is_told_of_by_one_of_its_checkpoints(draws, tmp_path):
    run("train", *SMALL_IMAGES, "--steps", 4, "--checkpoint-every", 2, "--sample-every", 2, "--out", tmp_path)
    seen = reported(tmp_path / "00000-digits-conv/checkpoints/step-0000002.npz", tmp_path)
    assert "step 2 of 4" in seen.texts
    assert "Samples at step 2" in seen.texts
    assert "--resume" not in seen.text
    assert "classes covered" in seen.texts
    assert {"field", "time"} <= set(seen.sections())
    assert "A Coulomb GAN on handwritten digits of 8×8 pixels" in seen.texts


def test_a_baseline_is_not_called_a_coulomb_gan(few_facts):
    checkpoint = few_facts.checkpoint
    baseline = checkpoint._replace(config=checkpoint.config.replace(objective="gan"))
    seen = Page(page(few_facts._replace(checkpoint=baseline)))
    assert "A baseline, objective gan, on 8 Gaussians on a circle" in seen.texts
    assert "This run is not a Coulomb GAN, but a baseline for comparison." in seen.text


@pytest.mark.parametrize(
    ("run_name", "output", "said"),
    [
        ("ring", "a.png", "a.png: a report is an .html file; use -o a.html"),
        ("ring", "there/a.html", "there/a.html: cannot be written"),
        ("nothing", "a.html", "nothing: does not exist"),
    ],
)
def test_a_mistake_is_told_in_a_line(draws, ring, tmp_path, monkeypatch, run_name, output, said):
    monkeypatch.chdir(tmp_path)
    assert said in run("report", ring if run_name == "ring" else run_name, "-o", output, status=1)
    assert not tree(tmp_path)


# Its parts


def test_a_block_escapes_text_and_attributes_but_no_markup():
    assert block("note", text='a < b & "c" $text') == '<p class="note">a &lt; b &amp; &quot;c&quot; $text</p>'
    assert block("link", id='"<', name=Html("<i></i>")) == '<a href="#&quot;&lt;"><i></i></a>'
    with pytest.raises(KeyError):
        block("note")


def test_values_stand_in_elements_and_quoted_attributes_and_each_curve_has_its_sentence():
    for name, text in BLOCKS.items():
        assert not re.search(r"=\s*\$|<[^>]*\son\w+=|<script", text.template), name
    assert {f"about_{next(iter(panel.names))}" for panel in PANELS} == {n for n in BLOCKS if n.startswith("about_")}


def test_no_option_in_a_sentence_breaks_at_its_hyphens(few_facts):
    """Once a line ended in "--" and the next one began with "steps"."""
    sentences = ["D lags; next: a larger --lr-decay-d, more --steps."], ["data <x>: gone; use --hold-out-every 2"]
    text = page(few_facts._replace(verdict=sentences[0], missing=sentences[1]))
    assert ".option { white-space: nowrap; }" in text
    bare = re.sub(r"<(style|pre|svg).*?</\1>", "", text, flags=re.DOTALL)  # commands do not wrap
    assert re.findall(r"(.{21})--([\w-]+)(.{7})", bare) == [
        ('<span class="option">', name, "</span>") for name in ("lr-decay-d", "steps", "hold-out-every")
    ]
    assert "data &lt;x&gt;: gone" in text


def test_pictures_are_chosen_evenly_with_the_first_and_the_last():
    assert chosen(list(range(5)), 8) == [0, 1, 2, 3, 4]
    picked = chosen(list(range(1001)), 8)
    assert (picked[0], picked[-1], len(picked)) == (0, 1000, 8)
    assert np.ptp(np.diff(picked)) <= 1


def decoded(made):
    kind, content = re.search(r"data:image/(\w+);base64,([^\"]*)", made).groups()
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert image.format.lower() == kind
    return image


def test_a_drawing_keeps_its_pixels_and_a_photograph_becomes_small():
    drawing = Image.new("RGB", (300, 200), "white")
    drawing.paste("red", (10, 10, 50, 60))
    np.testing.assert_array_equal(np.asarray(decoded(embedded(drawing, "a", 400))), np.asarray(drawing))
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    image = decoded(embedded(Image.fromarray(noise), "a", 400))
    assert image.size == (400, 300)
    assert image.format == "JPEG"


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg/>"])
def test_what_is_no_png_file_is_none(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    assert read(tmp_path / "a.png") is None


def test_a_picture_that_would_fill_the_memory_is_none(tmp_path, monkeypatch):
    for side in (9, 12, 15):
        Image.new("1", (side, side)).save(tmp_path / f"{side}.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow warns beyond, and refuses the double
    assert read(tmp_path / "9.png").size == (9, 9)
    assert read(tmp_path / "12.png") is None
    assert read(tmp_path / "15.png") is None
    monkeypatch.setattr(images, "PIXELS", 80)
    assert read(tmp_path / "9.png") is None


@pytest.mark.parametrize(
    "chosen_settings", [{}, {"seed": 3, "l2": 1e-3}, {"d": 1.5, "average": 0.0, "eps": 3.0, "eps_end": 2.0}]
)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_command_of_a_report_gives_the_configuration_again(tmp_path, preset, chosen_settings):
    if "data" not in PRESETS[preset]:
        np.save(
            tmp_path / "my data.npy",
            np.random.default_rng(0).uniform(-1, 1, (20, 2) if preset == "points" else (20, 8, 8)),
        )
        chosen_settings = {**chosen_settings, "data": str(tmp_path / "my data.npy"), "size": None}
    config, _ = configure(preset, chosen_settings)
    name, settings = nearest_preset(config)
    assert name == preset or len(settings) <= len(chosen_settings) + 3
    program, command, *arguments = shlex.split(again(config))
    assert (program, command) == ("minicoulomb", "train")
    assert Config.of(**json.loads(run("train", *arguments, "--dry-run"))) == config


def test_every_option_of_the_command_is_a_setting_of_sampling():
    assert {parameter.name for parameter in report.params} == {
        *("run", "output", "data", "batch_statistics", "backend", "device", "tf32", "threads")
    }
