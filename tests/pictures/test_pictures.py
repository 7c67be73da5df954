import numpy as np
import pytest
from PIL import Image

from minicoulomb.data.dataset import to_pixels
from minicoulomb.errors import UserError
from minicoulomb.pictures import image_grid, neighbour_rows, save, scatter
from minicoulomb.pictures.colours import GREY, VERMILION


def test_numbers_from_minus_one_to_one_become_bytes_and_others_are_clipped():
    values = np.array([-1.7159, -1, 0, 1, 1.7159, 0.5])
    assert to_pixels(values).tolist() == [0, 0, 128, 255, 255, 191]
    assert to_pixels(np.array([3], np.uint8)).tolist() == [3]


def test_a_grid_shows_every_image_in_its_place():
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * 40 + np.zeros((6, 4, 4, 3), np.uint8)
    page = np.asarray(image_grid(images, columns=3, padding=2, zoom=2))
    assert page.shape == (2 * 10 + 2, 3 * 10 + 2, 3)
    for i in range(6):
        top, left = i // 3 * 10 + 2, i % 3 * 10 + 2
        assert (page[top : top + 8, left : left + 8] == 40 * i).all()
    assert (page[0] == 255).all()


@pytest.mark.parametrize(("n", "side"), [(64, 8), (1, 8), (64, 64), (10, 32)])
def test_a_grid_is_of_a_size_to_look_at(n, side):
    width = image_grid(np.zeros((n, side, side, 1))).size[0]
    assert 500 <= width <= 1100


def test_a_single_image_without_frame_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (1, 5, 7, 3), dtype=np.uint8)
    assert (np.asarray(image_grid(image, padding=0, zoom=1)) == image[0]).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_stands_framed_beside_its_neighbours(channels):
    samples = np.full((2, 4, 4, channels), 0, np.uint8)
    neighbours = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * 40 + np.zeros((4, 4, channels), np.uint8)
    page = np.asarray(neighbour_rows(samples, neighbours))
    side, padding = 200, 14  # a pixel is a square of 50 x 50
    assert page.shape == (2 * (side + padding) + padding, 8 * padding + padding + 4 * (side + padding) - 3 * padding, 3)
    for i in range(2):
        top = padding + i * (side + padding)
        assert (page[top : top + side, padding : padding + side] == 0).all()
        frame = page[top - padding : top + side + padding, : side + 2 * padding].reshape(-1, 3)
        assert (frame == VERMILION).all(axis=1).sum() == (side + 2 * padding) ** 2 - side**2
        for j in range(3):
            left = side + 7 * padding + j * (side + padding)
            assert (page[top : top + side, left : left + side] == 40 * (3 * i + j)).all()
    assert (page[:, side + 2 * padding : side + 6 * padding] == 255).all()


@pytest.mark.parametrize(("k", "side"), [(1, 8), (6, 8), (5, 64)])
def test_neighbours_are_of_a_size_to_look_at(k, side):
    width = neighbour_rows(np.zeros((3, side, side, 1)), np.zeros((3, k, side, side, 1))).size[0]
    assert 500 <= width <= 1200


def near(page, colour):
    return (np.abs(np.asarray(page).astype(int) - colour).max(axis=2) < 40).sum()


def test_a_scatter_plot_shows_both_colours_where_the_points_are():
    real, generated = np.full((200, 2), -1.0), np.full((200, 2), 1.0)
    real[0] = 1  # the square lies around the real points
    page = np.asarray(scatter(real, generated))
    h, w, _ = page.shape
    left_below, right_above = page[h // 2 :, : w // 2], page[84 : h // 2, w // 2 :]  # below the legend
    assert near(left_below, GREY) > near(right_above, GREY)
    assert near(right_above, VERMILION) > 10
    assert near(left_below, VERMILION) == 0


def test_without_real_points_nothing_grey_is_drawn():
    points = np.random.default_rng(0).standard_normal((300, 2)).repeat(8, axis=0)
    page = scatter(None, points)
    assert near(np.asarray(page)[90:], VERMILION) > 1000
    assert near(np.asarray(scatter(points, points))[:84], GREY) > near(np.asarray(page)[:84], GREY)


def test_points_outside_change_only_the_legend():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50, 2))
    inside = np.asarray(scatter(points, points))
    outside = np.asarray(scatter(points, np.vstack([points, [[100, 100]]])))
    changed = (inside != outside).any(axis=(1, 2))
    assert changed.any()
    assert not changed[90:].any()


@pytest.mark.parametrize("m", [1, 3])
def test_other_dimensions_are_drawn_by_their_first_two(m):
    points = np.random.default_rng(0).standard_normal((20, m))
    assert scatter(points, points, title="points").size[0] == 800


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    save(Image.new("RGB", (4, 4)), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (4, 4)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    before = (tmp_path / "a.png").read_bytes()
    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(UserError, match="No space left"):
        save(Image.new("RGB", (5, 5)), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_a_place_that_cannot_be_written_and_a_wrong_suffix_are_told(tmp_path):
    for path in (tmp_path / "no" / "a.png", tmp_path / "a.jpg"):
        with pytest.raises(UserError, match=path.name):
            save(Image.new("RGB", (4, 4)), path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_points_that_no_picture_shows_are_told(value):
    """As the generated points of a run that diverged, alone or beside real ones."""
    points = np.array([[0.0, 0.0], [1.0, value]])
    with pytest.raises(UserError, match="not finite, or beyond 1e150"):
        scatter(None, points)
    assert scatter(np.eye(2), points).width
