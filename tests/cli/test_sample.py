"""minicoulomb sample: samples, interpolations and neighbours as pictures and arrays."""

import numpy as np
import pytest
from cli_cases import pixels, run, tree


def test_samples_depend_on_seed_and_index_alone(trained_images, tmp_path):
    for n in (3, 64, 100):
        run("sample", trained_images, "-n", n, "-o", tmp_path / f"{n}.npz", "--seed", 5)
    three, many = (np.load(tmp_path / f"{n}.npz")["images"] for n in (3, 100))
    assert many.shape == (100, 8, 8, 1)
    assert many.dtype == np.uint8
    assert (three == many[:3]).all()
    assert not (many[:36] == many[64:]).all()
    run("sample", trained_images, "-n", 3, "-o", tmp_path / "other.npz", "--seed", 6)
    assert not (np.load(tmp_path / "other.npz")["images"] == three).all()


def test_batch_statistics_give_the_official_code_s_samples(trained_images, tmp_path):
    run("sample", trained_images, "-n", 4, "-o", tmp_path / "a.npz")
    run("sample", trained_images, "-n", 4, "-o", tmp_path / "b.npz", "--batch-statistics")
    assert not (np.load(tmp_path / "a.npz")["images"] == np.load(tmp_path / "b.npz")["images"]).all()


def test_a_folder_a_grid_and_an_archive_hold_the_same_samples(trained_images, tmp_path):
    for name in ("samples.npz", "grid.png", "folder"):
        run("sample", trained_images, "-n", 4, "-o", tmp_path / name)
    images = np.load(tmp_path / "samples.npz")["images"]
    assert tree(tmp_path / "folder") == {f"00000{i}.png" for i in range(4)}
    for i, image in enumerate(images):
        assert (pixels(tmp_path / "folder" / f"00000{i}.png") == image[..., 0]).all()
    assert pixels(tmp_path / "grid.png").shape[1] > 100


def test_points_come_as_a_scatter_plot_or_floats(trained, tmp_path):
    run("sample", trained, "-n", 10, "-o", tmp_path / "points.png")
    run("sample", trained, "-n", 10, "-o", tmp_path / "points.npz")
    assert np.load(tmp_path / "points.npz")["x"].shape == (10, 2)
    run("sample", trained, "-n", 10, "-o", tmp_path / "points", status=1)


def test_an_interpolation_leads_from_each_sample_to_the_next(trained_images, tmp_path):
    output = run("sample", trained_images, "--interpolate", "-n", 3, "--steps", 4, "-o", tmp_path / "ways.png")
    assert output == f"3 rows, each from one sample to the next: {tmp_path / 'ways.png'}\n"
    run("sample", trained_images, "-n", 4, "-o", tmp_path / "ends.npz")
    ends, page = np.load(tmp_path / "ends.npz")["images"], pixels(tmp_path / "ways.png")
    zoom = 25  # 4 images of 8 pixels are 800 wide
    for i in range(3):
        for column, end in ((0, ends[i]), (3, ends[i + 1])):
            top, left = (2 + k * (8 * zoom + 2) for k in (i, column))
            shown = page[top : top + 8 * zoom : zoom, left : left + 8 * zoom : zoom]
            assert np.abs(shown - end[..., 0].astype(int)).max() <= 1
    run("sample", trained_images, "--interpolate", "-o", tmp_path / "defaults.png")
    assert pixels(tmp_path / "defaults.png").shape == (8 * 82 + 2, 10 * 82 + 2)


def test_neighbours_are_of_the_run_s_data_or_of_others(trained_images, tmp_path):
    output = run("sample", trained_images, "--neighbours", 3, "-n", 2, "-o", tmp_path / "near.png")
    assert "beside the nearest of 1618 training images, at a distance of" in output
    own = pixels(tmp_path / "near.png")
    assert own.shape[2] == 3
    white = tmp_path / "white.npy"
    np.save(white, np.full((4, 8, 8), 255, np.uint8))
    run("sample", trained_images, "--neighbours", 3, "-n", 2, "--data", white, "-o", tmp_path / "white.png")
    other = pixels(tmp_path / "white.png")
    half = own.shape[1] // 2
    assert other.shape == own.shape
    assert (other[:, : half // 3] == own[:, : half // 3]).all()  # the samples
    assert (other[:, half:] == 255).all()


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--interpolate", "-o", "a.npz"], 1, "a.npz: --interpolate draws one picture; use -o a.png"),
        (["--neighbours", "2", "-o", "folder"], 1, "folder: --neighbours draws one picture; use -o folder.png"),
        (["--interpolate", "-n", "500", "-o", "a.png"], 1, "at most 4096 images, not 500 rows of 10"),
        (["--neighbours", "1619", "-n", "1", "-o", "a.png"], 1, "neighbours 1619: digits has 1618 training samples"),
        (["--neighbours", "1", "--data", "/nowhere", "-o", "a.png"], 1, "/nowhere"),
        (["--interpolate", "--neighbours", "2", "-o", "a.png"], 2, "drop one of them"),
        (["--interpolate", "--steps", "1", "-o", "a.png"], 2, "--steps"),
        (["--steps", "3", "-o", "a.png"], 2, "applies only to --interpolate"),
        (["--data", "digits", "-o", "a.png"], 2, "add --neighbours K"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_told(trained_images, tmp_path, monkeypatch, options, status, said):
    monkeypatch.chdir(tmp_path)
    assert said in " ".join(run("sample", trained_images, *options, status=status).split())
    assert not tree(tmp_path)


def test_points_are_neither_interpolated_nor_compared(trained, tmp_path):
    for options in (["--interpolate"], ["--neighbours", 2]):
        output = run("sample", trained, *options, "-o", tmp_path / "a.png", status=1)
        assert f"{options[0]}: draws images, but these samples are points of 2 numbers" in output


@pytest.mark.parametrize("name", ["samples.gif", "here/there.png", "full"])
def test_a_place_that_samples_cannot_go_to_is_told_and_left_as_it_was(trained_images, tmp_path, name):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    before = tree(tmp_path)
    output = run("sample", trained_images, "-o", tmp_path / name, status=1)
    assert name.split("/")[-1].split(".")[0] in output
    assert tree(tmp_path) == before
