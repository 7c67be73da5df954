import numpy as np
import pytest
from PIL import Image, ImageDraw

from minicoulomb.data.dataset import to_pixels
from minicoulomb.errors import UserError
from minicoulomb.pictures import Plane, draw_points, image_grid, neighbour_rows, save, scatter, square_about
from minicoulomb.pictures.axes import Axis, counted
from minicoulomb.pictures.colours import GREY, VERMILION
from minicoulomb.pictures.line import CELLS, HIGH, WIDE, Curve, axis_about, histogram


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


def test_several_samples_of_a_row_stand_in_one_frame():
    pair, neighbours = np.zeros((3, 2, 4, 4, 1), np.uint8), np.full((3, 2, 4, 4, 1), 120, np.uint8)
    page = np.asarray(neighbour_rows(pair, neighbours))
    rows = [(row == 0).all(axis=1).sum() for row in page]
    assert max(rows) == 2 * 200  # two samples of 4 pixels, each a square of 50 x 50
    assert ((page == 120).all(axis=2)).sum() == 6 * 200**2
    row = page[107]
    assert [int((row == colour).all(axis=1).any()) for colour in (0, 120, VERMILION)] == [1, 1, 1]


@pytest.mark.parametrize(("k", "side"), [(1, 8), (6, 8), (5, 64)])
def test_neighbours_are_of_a_size_to_look_at(k, side):
    width = neighbour_rows(np.zeros((3, side, side, 1)), np.zeros((3, k, side, side, 1))).size[0]
    assert 500 <= width <= 1200


def near(page, colour):
    return (np.abs(np.asarray(page).astype(int) - colour).max(axis=2) < 40).sum()


def test_a_scatter_plot_shows_both_colours_where_the_points_are():
    real, generated = np.full((200, 2), -1.0), np.full((200, 2), 1.0)
    real[:5] = 1  # the square lies around the real points
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


@pytest.mark.parametrize("shift", [0, 1000, -1e6, 1e9])
@pytest.mark.parametrize("factor", [1e-7, 1, 3e5])
def test_labels_are_whole_and_count_from_a_base_far_away(shift, factor):
    points = np.random.default_rng(0).standard_normal((50, 2)) * factor + [shift, -shift]
    plane = Plane(square_about(points))
    left_edge = np.asarray(plane.drawn())[90:-40, :3]
    assert (left_edge == 255).all()  # no label touches the edge
    for axis, middle in zip(plane.axes, (shift, -shift), strict=True):
        numbers = [float(label) + axis.base for _, label in axis.ticks(700)]
        assert 3 <= len(numbers) <= 9
        assert np.abs(np.array(numbers) - middle).max() < 6 * factor
        assert max(len(label) for _, label in axis.ticks(700)) <= 11
    assert Axis(998, 4).base == 0
    assert [label for _, label in Axis(998, 4).ticks(100)] == ["998", "999", "1000", "1001", "1002"]


def test_a_histogram_has_the_heights_of_the_shares_and_tells_who_is_outside():
    real, generated = np.repeat([[0.0], [10.0]], [300, 100], axis=0), np.full((50, 1), 10.0)
    generated[0] = 99
    page = np.asarray(histogram(real, generated))[52 : 52 + HIGH]
    grey = (np.abs(page.astype(int) - GREY).max(axis=2) < 10).sum(axis=0)  # of each column
    assert grey.max() > 2.9 * grey[len(grey) // 2 :].max() / 1.1
    assert near(page[:, : WIDE // 2 - 40], VERMILION) < near(page[:, WIDE // 2 + 40 :], VERMILION)
    assert counted(generated, "generated", axis_about(real)) == "50 generated (1 outside)"


def test_curves_stand_below_on_the_same_axis():
    points = np.random.default_rng(0).standard_normal((100, 1)) + 1e6
    up = Curve("up", VERMILION, np.linspace(0, 1, CELLS))
    page = np.asarray(histogram(points, points, curves=(up,), limits=(0, 1)))
    below = page[-HIGH - 20 : -40]
    left, right = below[:, 80 : WIDE // 2], below[:, WIDE // 2 :]
    rows = [
        np.flatnonzero((np.abs(half.astype(int) - VERMILION).max(axis=2) < 40).any(axis=1)).mean()
        for half in (left, right)
    ]
    assert rows[0] > rows[1] + 100


@pytest.mark.parametrize(("m", "names"), [(3, "1, 2, 3 of 3"), (7, "2, 3, 4, 5, 6 of 7, which vary most")])
def test_more_coordinates_are_drawn_in_pairs_and_named(monkeypatch, m, names):
    said = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, place, text, *args, **kwargs: said.append(text))
    points = np.random.default_rng(0).standard_normal((200, m)) * np.r_[0.1, np.ones(m - 2), 0.2 if m > 3 else 1]
    page = np.asarray(draw_points(points, points, "points"))
    assert f"points (coordinates {names})" in said
    k = min(m, 5)
    pitch = (1000 - 150) // k
    for row in range(k):
        for column in range(k):
            cell = page[
                84 + row * pitch + 5 : 84 + (row + 1) * pitch - 12, 25 + column * pitch : 12 + (column + 1) * pitch
            ]
            reddish = (cell[..., 0].astype(int) - cell[..., 2] > 60).sum()
            assert (reddish > 10) == (column <= row)


def test_points_are_drawn_by_their_number_of_coordinates():
    sizes = {m: draw_points(None, np.random.default_rng(0).standard_normal((20, m))).size for m in (1, 2, 3)}
    assert len(set(sizes.values())) == 3


def test_few_strays_do_not_shrink_a_picture():
    points = np.random.default_rng(0).standard_normal((1000, 2))
    whole = square_about(points)
    points[0] = 1e6
    assert square_about(points).side < 3.5 * whole.side
    assert counted(points, "real", *Plane(square_about(points)).axes) == "1,000 real (1 outside)"
    heap = np.zeros((1000, 2))
    heap[0] = 5
    assert square_about(heap).side > 5


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
    for m in (1, 2):
        with pytest.raises(UserError, match="not finite, or beyond 1e150"):
            draw_points(None, points[:, -m:])
    with pytest.raises(UserError, match="not finite, or beyond 1e150"):
        draw_points(None, np.hstack([points, points]))
    assert scatter(np.eye(2), points).width
