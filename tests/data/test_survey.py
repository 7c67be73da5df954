"""Size, channels and padding that suit images, from a look at a few of them."""

import json
import shlex

import numpy as np
import pytest
from cli_cases import run
from data_files import write_tar, write_zip
from PIL import Image

from minicoulomb.cli.common import configure
from minicoulomb.config import Config
from minicoulomb.data import sources, survey
from minicoulomb.data.folder import Folder
from minicoulomb.data.images import decode_image, look
from minicoulomb.data.sources import find, suit
from minicoulomb.errors import UserError
from minicoulomb.report.commands import again
from minicoulomb.training.run import load

TINY = ["--g-width", 2, "--d-width", 2, "--batch-size", 4, "--threads", 1]


def grey(side, level=9, mode="L"):
    """An image of one level with a white dot in the middle."""
    width, height = side if isinstance(side, tuple) else (side, side)
    image = Image.new("L", (width, height), level)
    image.putpixel((width // 2, height // 2), 255)
    return image.convert(mode)


def folder_of(path, images):
    path.mkdir()
    for i, image in enumerate(images):
        image.save(path / f"{i:03}.png")
    return path


def settings_for(data, **chosen):
    found, settings = suit(find(str(data)), {"data": str(data), **chosen})
    return found, {name: settings[name] for name in ("size", "channels", "pad") if name in settings}


GREY = {
    "L": grey(9),
    "1": grey(9, 0).convert("1"),
    "I;16": Image.fromarray(np.full((9, 9), 30_000, np.uint16)),
    "LA": grey(9, mode="LA"),
    "P": grey(9, mode="P"),
    "RGB": grey(9, mode="RGB"),
    "RGBA": Image.new("RGBA", (9, 9), (50, 50, 50, 99)),
}


def content(path, image, **options):
    image.save(path, **options)
    return path.read_bytes()


@pytest.mark.parametrize("mode", GREY)
def test_grey_is_told_in_every_mode(tmp_path, mode):
    size, is_grey = look(content(tmp_path / "a.png", GREY[mode]))
    assert (size, is_grey()) == ((9, 9), True)


def test_grey_photographs_stored_in_colour_are_grey_and_faint_colours_are_not(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    photograph = Image.fromarray(levels).convert("RGB")
    assert look(content(tmp_path / "a.jpg", photograph, quality=40))[1]()
    sepia = Image.merge("RGB", [photograph.getchannel(0), photograph.getchannel(0), Image.new("L", (40, 40), 90)])
    for image in (sepia, Image.new("RGB", (9, 9), (100, 100, 120))):
        assert not look(content(tmp_path / "b.png", image))[1]()


def test_images_of_one_small_size_keep_it_and_all_others_are_resized(tmp_path):
    colour = [Image.new("RGB", (640, 480), (200, 30, i)) for i in range(3)]
    cases = {
        "digits": ([grey(28)] * 3, (28, 1, False), "3 images of 28x28 -> 28x28 grey"),
        "odd": ([grey(30)] * 3, (32, 1, True), "3 images of 30x30 -> 32x32 grey, padded"),
        "tall": ([grey((20, 27))] * 3, (28, 1, True), "3 images of 20x27 -> 28x28 grey, padded"),
        "tiny": ([grey(4)] * 3, (8, 1, False), "3 images of 4x4 -> 8x8 grey"),
        "large": ([grey(64)] * 3, (32, 1, False), "3 images of 64x64 -> 32x32 grey; --size 64 for larger ones, "),
        "photos": ([*colour, grey(70)], (32, 3, False), "4 images of 640x480 and other sizes -> 32x32 colour; --size"),
        "mixed": ([grey(28)] * 3 + [grey(29)], (32, 1, False), "4 images of 28x28 and other sizes -> 32x32 grey"),
    }
    for name, (images, expected, said) in cases.items():
        found, settings = settings_for(folder_of(tmp_path / name, images))
        assert tuple(settings.values()) == expected, name
        assert found.about.startswith(f"{name}: {said}"), found.about
        assert found.about.endswith("--preset paper-images for the paper's networks")


def test_the_working_directory_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(folder_of(tmp_path / "digits", [grey(28)] * 3))
    assert settings_for(".")[0].about.startswith("digits: 3 images of 28x28")


def test_chosen_settings_come_first(tmp_path):
    digits, photos = folder_of(tmp_path / "a", [grey(28)] * 3), folder_of(tmp_path / "b", [grey((50, 40))] * 3)
    for chosen, expected in (
        ({"size": 32}, (32, 1, True)),  # a little larger: padded
        ({"size": 64}, (64, 1, False)),  # enlarged
        ({"size": 16, "channels": 3}, (16, 3, False)),
        ({"crop": 16}, (16, 1, False)),
        ({"pad": False, "size": 32}, (32, 1, False)),
    ):
        assert tuple(settings_for(digits, **chosen)[1].values()) == expected
    assert settings_for(photos, pad=True)[1]["pad"]
    assert "--size" not in settings_for(photos, size=8)[0].about


def test_arrays_of_a_fitting_size_stay_as_they_are_and_others_follow_the_rules_of_files(tmp_path):
    for shape, expected in (
        ((5, 28, 28), (28, 1, False)),
        ((5, 64, 64, 3), (64, 3, False)),
        ((5, 30, 30), (32, 1, True)),
        ((5, 100, 75, 3), (32, 3, False)),
    ):
        np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
        assert tuple(settings_for(tmp_path / "a.npy")[1].values()) == expected
        networks = {"generator": "mlp", "discriminator": "mlp"}
        assert settings_for(tmp_path / "a.npy", **networks)[1] == {}  # they take any shape


def test_a_survey_does_not_depend_on_the_order_and_reads_few_images(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "a", [grey(8 + i % 3) for i in range(40)])
    read, listed = [], []

    class Watched(Folder):
        def entries(self):
            for entry in sorted(super().entries(), reverse=self.reverse):
                listed.append(entry.name)
                yield entry

        def reader(self):
            return super().reader()

    monkeypatch.setattr(survey, "look", lambda content: read.append(1) or look(content))
    found = []
    for reverse in (False, True):
        source = Watched(folder)
        source.reverse = reverse
        found.append(survey.survey(source))
    assert found[0] == found[1]
    assert (found[0].n, len(found[0].sizes), len(read)) == (40, survey.LOOKED, 2 * survey.LOOKED)
    monkeypatch.setattr(survey, "LISTED", 10)
    listed.clear()
    assert survey.survey(source).n is None
    assert len(listed) == 11


def test_bad_images_are_passed_over_by_the_survey_and_told_by_decoding(tmp_path):
    folder = folder_of(tmp_path / "a", [grey(28)] * 3)
    (folder / "000.png").write_bytes(b"\x89PNG no image")
    assert settings_for(folder)[1] == {"size": 28, "channels": 1, "pad": False}
    assert "000.png: begins with" in run("train", "--data", folder, *TINY, "--steps", 1, status=1)
    for path in folder.iterdir():
        path.write_bytes(b"no image")
    assert settings_for(folder)[1] == {}
    (tmp_path / "b").mkdir()
    assert settings_for(tmp_path / "b")[1] == {}


def test_archives_are_looked_at_as_folders_are(tmp_path):
    files = {f"x/{i}.png": content(tmp_path / "a.png", grey(28, i)) for i in range(40)}
    for path in (
        write_zip(tmp_path / "a.zip", files),
        write_tar(tmp_path / "a.tar", files, "w"),
        write_tar(tmp_path / "a.tar.gz", files),
    ):
        found, settings = settings_for(path)
        assert settings == {"size": 28, "channels": 1, "pad": False}
        assert found.about.startswith(
            f"{path.name}: {'' if path.suffix == '.gz' else '40 '}images of 28x28 -> 28x28 grey"
        )


def test_padding_keeps_the_whole_image_on_the_colour_of_its_border(tmp_path):
    pixels = np.full((28, 20, 3), (10, 200, 30), np.uint8)
    pixels[5:20, 5:15] = np.random.default_rng(0).integers(0, 256, (15, 10, 3))
    padded = decode_image(pixels, 32, pad=True)
    np.testing.assert_array_equal(padded[2:30, 6:26], pixels)
    padded[2:30, 6:26] = (10, 200, 30)
    assert (padded == (10, 200, 30)).all()
    wide = decode_image(content(tmp_path / "a.png", Image.new("L", (90, 30), 77)), 8, None, 1, pad=True)
    assert (wide == 77).all()
    run(
        "prepare",
        folder_of(tmp_path / "wide", [Image.new("L", (90, 30), 77)]),
        tmp_path / "a.npy",
        "--pad",
        "--size",
        8,
    )
    assert (np.load(tmp_path / "a.npy") == 77).all()
    with pytest.raises(UserError, match="drop one"):
        decode_image(pixels, 32, 8, pad=True)


def test_prepare_chooses_as_train_does_and_options_force(tmp_path):
    """Once it made 64x64 in colour of any images, which train refused or took for another size."""
    folder = folder_of(tmp_path / "odd", [grey(30, 10 * i) for i in range(3)])
    made = tmp_path / "a.npy"
    about = "odd: 3 images of 30x30 -> 32x32 grey"
    for options, shape, said in (
        ([], (3, 32, 32, 1), f"{about}, padded\n3 images: {made}\n"),
        (["--no-pad"], (3, 32, 32, 1), about),
        (["--size", 16, "--channels", 3], (3, 16, 16, 3), "odd: 3 images of 30x30 -> 16x16 colour"),
        (["--crop", 20], (3, 20, 20, 1), "odd: 3 images of 30x30 -> 20x20 grey"),
    ):
        assert run("prepare", folder, made, *options).startswith(said)
        assert np.load(made).shape == shape
        assert (np.load(made)[1, 0, 0] == 10).all()
    (tmp_path / "cache").mkdir()
    config, found = configure(None, {"data": str(folder)})
    run("prepare", folder, made)
    dataset = sources.open_dataset(config, tmp_path / "cache", found=found)
    np.testing.assert_array_equal(dataset.array, np.load(made))
    photos = folder_of(tmp_path / "photos", [Image.new("RGB", (640, 480), (200, 30, 9))])
    said = "photos: 1 image of 640x480 -> 32x32 colour; --size 64 for larger ones\n"
    assert run("prepare", photos, made).startswith(said)
    for path in photos.iterdir():
        path.write_bytes(b"no image")
    assert run("prepare", photos, made, status=1).startswith(f"Error: {photos}: 000.png")


@pytest.mark.parametrize("form", ["folder", "array", "floats"])
def test_a_run_on_images_of_an_odd_size_trains_resumes_and_evaluates(tmp_path, form):
    """Once three messages sent the user from --size 28 to --size 32, to prepare, and back."""
    images = [grey(30, 10 * i) for i in range(24)]
    path = folder_of(tmp_path / "odd", images) if form == "folder" else tmp_path / "odd.npy"
    if form != "folder":
        array = np.array([np.asarray(image) for image in images])
        np.save(path, array if form == "array" else array / 127.5 - 1)
    dry = json.loads(run("train", "--data", path, "--dry-run"))
    assert (dry["size"], dry["channels"], dry["pad"]) == (32, 1, True)
    said = run("train", "--data", path, *TINY, "--steps", 2, "--out", tmp_path / "runs")
    assert f"{path.name}: 24 images of 30x30 -> 32x32 grey, padded; --preset paper-images" in said
    made = tmp_path / "runs/00000-odd"
    if form == "folder":  # what a resumed run is trained on does not depend on what is in the folder now
        grey(30, mode="L").save(path / "new.png")
        Image.new("RGB", (50, 60), "red").save(path / "newer.png")
    run("train", "--resume", made, "--steps", 3)
    config, space, *_ = load(made)
    assert space.shape == (32, 32, 1)
    assert (config.data.size, config.data.channels, config.data.pad) == (32, 1, True)
    cached = np.load(next((tmp_path / "runs/cache").glob("*.npy")))
    np.testing.assert_array_equal(cached[3, 1:31, 1:31, 0], np.asarray(images[3]))
    assert (cached[3, 0] == 30).all()
    assert "nearest_ratio" in json.loads(run("evaluate", made, "-n", 8, "--json"))
    run("sample", made, "-n", 2, "-o", tmp_path / "made.npz")
    run("sample", made, "-n", 2, "--neighbours", 2, "-o", tmp_path / "near.png")
    run("field", made, "-n", 4, "-o", tmp_path / "force.png")


def test_padding_of_what_is_no_image_file_is_a_mistake(tmp_path):
    for data in ("ring", "digits"):
        assert "leave --pad out" in run("train", "--data", data, "--pad", "--out", tmp_path, status=1)


def test_a_padded_run_meets_other_data(tmp_path):
    """Its padding is for images that must be decoded to its size."""
    run("train", "--data", folder_of(tmp_path / "a", [grey(31)] * 20), *TINY, "--steps", 1, "--out", tmp_path)
    np.save(tmp_path / "fits.npy", np.zeros((20, 32, 32), np.uint8))
    np.save(tmp_path / "odd.npy", np.zeros((20, 29, 31, 3), np.uint8))
    for data in ("fits.npy", "odd.npy"):
        json.loads(run("evaluate", tmp_path / "00000-a", "--data", tmp_path / data, "-n", 4, "--json"))
    said = run("evaluate", tmp_path / "00000-a", "--data", "digits", status=1)
    assert "has shape (8, 8, 1), the run's samples have (32, 32, 1)" in said


def test_options_resize_an_array_as_they_do_files(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 30, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    options = ["--size", 16, "--channels", 1, "--crop", 18]
    run("train", "--data", tmp_path / "a.npy", *TINY, *options, "--steps", 1, "--out", tmp_path)
    cached = np.load(next((tmp_path / "cache").glob("*.npy")))
    np.testing.assert_array_equal(cached[7], decode_image(pixels[7], 16, 18, 1))


def test_the_command_that_repeats_a_run_names_what_the_images_chose(tmp_path):
    """Then it repeats the run whatever lies in the folder by then, and with --no-pad where padding was refused."""
    folder = folder_of(tmp_path / "a", [grey(28)] * 3)
    for chosen in ({}, {"size": 32}, {"size": 32, "pad": False}):
        config, _ = configure(None, {"data": str(folder), **chosen})
        program, command, *arguments = shlex.split(again(config))
        assert (program, command, *arguments[:2]) == ("minicoulomb", "train", "--preset", "images")
        assert Config.of(**json.loads(run("train", *arguments, "--dry-run"))) == config


def test_a_folder_with_the_name_of_built_in_data_is_told(tmp_path, monkeypatch):
    """Once `--data digits` trained on the 8x8 digits although a folder of MNIST's had that name."""
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "digits", [grey(28)] * 3)
    said = run("train", "--data", "digits", "--g-width", 2, "--d-width", 2, "--batch-size", 4, "--steps", 1)
    assert said.startswith("digits: the built-in data; write ./digits for what lies here\n")
    assert json.loads(run("train", "--data", "./digits", "--dry-run"))["size"] == 28
    assert find("ring").about is None


def test_the_networks_are_small_and_small_images_have_a_layer_that_relates_their_parts(tmp_path):
    folder = folder_of(tmp_path / "a", [grey(28)] * 3)
    for options, layers in (([], 1), (["--size", 32], 0), (["--extra-layers", 2], 2)):
        dry = json.loads(run("train", "--data", folder, *options, "--dry-run"))
        assert (dry["generator"], dry["g_width"], dry["d_width"], dry["extra_layers"]) == ("dcgan", 32, 32, layers)


def test_the_paper_s_presets_do_not_look_at_the_images(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "a", [grey(28)] * 3)
    monkeypatch.setattr(sources, "survey", None)
    for preset, size in (("paper-images", None), ("celeba", 64), ("cifar10", 32)):
        dry = json.loads(run("train", "--preset", preset, "--data", folder, "--dry-run"))
        assert (dry["size"], dry["channels"]) == (size, size and 3)
        assert dry["generator"] == "my"
