"""Colours, lines, arrows and points of a map, and forces on images."""

import numpy as np
import pytest

from minicoulomb import pictures
from minicoulomb.data.dataset import to_pixels
from minicoulomb.pictures import forces as drawing
from minicoulomb.pictures.colours import INK, diverging
from minicoulomb.pictures.maps import STEPS, arrow_lengths, zero_level


def test_zero_is_white_and_either_sign_deepens_in_its_own_colour():
    values = np.linspace(-1, 1, 41)
    colours = diverging(values)
    red, _, blue = colours.T
    assert colours[20].tolist() == [255, 255, 255]
    assert (np.diff(blue - red) > 0).all()  # the axis that no common form of colour blindness takes away
    assert (np.diff(colours.sum(axis=1)[:21]) > 0).all()
    assert (np.diff(colours.sum(axis=1)[20:]) < 0).all()
    np.testing.assert_array_equal(diverging(np.array([-7.0, 7.0])), colours[[0, -1]])


def test_the_zero_level_is_a_line_where_the_sign_changes_and_nowhere_else():
    x = np.arange(20) - 7.3
    for slope in (0.01, 1, 100):
        line = zero_level(slope * x + np.zeros((20, 1)))
        assert line[:, 7:9].max() > 0.5
        assert line[:, :6].max() == line[:, 10:].max() == 0
        np.testing.assert_allclose(line[5].sum(), 1.5, atol=0.5)
    assert not zero_level(np.zeros((5, 5))).any()
    assert not zero_level(x**2 + np.zeros((20, 1)) + 0.01).any()


def test_arrows_grow_as_the_root_of_the_force_and_end_at_their_spacing():
    forces = np.array([[1.0, 0], [0, -4], [16, 0], [64, 0], [0, 0]])
    expected = [[5, 0], [0, -10], [20, 0], [20, 0], [0, 0]]
    np.testing.assert_allclose(arrow_lengths(forces, 16.0, 20.0), expected)


@pytest.mark.parametrize("length", [20, 8])
@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (-1, 0), (0, -1), (0.6, -0.8)])
def test_an_arrow_points_where_the_force_goes(direction, length):
    """Its head is before its middle, and wider than its tail."""
    plane = pictures.Plane(pictures.Square(-1, -1, 2), 200, unit=1.0)
    plane.paint(np.full((plane.side, plane.side, 3), 255.0))
    plane.arrows(np.array([[0.0, 0.0]]), length * np.array([direction]))
    along, across = plane.centres() @ direction, np.abs(plane.centres() @ (-direction[1], direction[0]))  # y up
    width = (255 - plane.ground.mean(axis=2)) * across
    assert width[along > 0].sum() > 1.5 * width[along < 0].sum() > 0


def test_a_force_of_nothing_is_a_dot():
    plane = pictures.Plane(pictures.Square(-1, -1, 2), 200)
    plane.paint(np.full((plane.side, plane.side, 3), 255.0))
    plane.arrows(np.array([[0.5, 0.5]]), np.zeros((1, 2)))
    row, column = np.argwhere(plane.ground.min(axis=2) < 250).mean(axis=0)
    assert abs(column + 0.5 - 0.75 * plane.side) < 1 > abs(row + 0.5 - 0.25 * plane.side)


@pytest.fixture(scope="module")
def slopes():
    """A map of values that grow from left to right, from -2 to 2, without points: its picture and the panel's box."""
    square, size = pictures.Square(0, 0, 1), 300
    values = np.tile(np.linspace(-2, 2, pictures.CELLS), (pictures.CELLS, 1))
    far = np.array([[9.0, 9.0]])
    picture = pictures.field_map(
        [pictures.FieldPanel("", "", values), pictures.FieldPanel("", "", -values)],
        *(square, far, far, pictures.ColourScale(1.0, 1.0)),
        title="",
        units=("", ""),
        size=size,
    )
    return np.asarray(picture).astype(float)


def test_positive_is_blue_and_negative_vermilion_on_a_map_and_zero_a_line(slopes):
    warmth = slopes[..., 0] - slopes[..., 2]
    middle = slopes.shape[0] // 2
    for start, sign in ((0, 1), (300, -1)):
        row = warmth[middle, start + 40 : start + 280] * sign
        left, right = row[:100], row[-100:]
        assert left.min() > 20 > -20 > right.max()
    near = np.abs(slopes[middle - 20 : middle + 20] - INK).max(axis=2) < 110
    columns = np.flatnonzero(near.all(axis=0))
    assert any(150 < column < 175 for column in columns)


def test_values_beyond_the_scale_have_its_deepest_colours(slopes):
    """|v| > 1 in the outer quarters."""
    row = slopes[slopes.shape[0] // 2]
    assert (row[40:80] == np.rint(diverging(np.array(-1.0)))).all()
    assert (row[240:280] == np.rint(diverging(np.array(1.0)))).all()


def test_a_map_has_steps_of_colour_so_that_level_lines_are_seen(slopes):
    row = slopes[slopes.shape[0] // 2 + 30, 40:280]
    n = len(np.unique(row, axis=0))
    assert STEPS < n <= 2 * STEPS + 1 + 4, "and at the line where they are 0 a few mixed ones"


def test_points_grow_faint_as_they_grow_many(monkeypatch):
    alphas = []
    monkeypatch.setattr(pictures.Plane, "discs", lambda *arguments: alphas.append(arguments[-1]))
    panel, scale = pictures.FieldPanel("", "", np.zeros((200, 200))), pictures.ColourScale(1.0, 1.0)
    for n in (10, 2500, 10_000):
        points = np.zeros((n, 2))
        pictures.field_map([panel], pictures.Square(0, 0, 1), points, points, scale, "", ("", ""), size=200)
    assert alphas == pytest.approx([0.8, 0.8, 0.35, 0.35, 0.175, 0.175])


def test_a_force_is_an_image_that_is_grey_where_nothing_is_to_change(monkeypatch):
    """Shown are x, f over its largest number, and x moved along it: each of them for each of the samples."""
    shown, grid = [], drawing.image_grid
    monkeypatch.setattr(drawing, "image_grid", lambda images, **how: shown.append(images[0]) or grid(images, **how))
    x, force = np.random.default_rng(0).uniform(-1, 1, (2, 3, 4, 4, 1))
    force[0] *= 1e-6
    force[1] = 0
    pictures.force_rows(x, {"f": force}, np.zeros(2), "", "")
    directions = np.stack([force[0] / np.abs(force[0]).max(), force[1], force[2] / np.abs(force[2]).max()])
    np.testing.assert_allclose(shown, np.concatenate([x, directions, x + drawing.STEP * directions]))
    assert to_pixels(shown[4]).min() == to_pixels(shown[4]).max() == 128


def test_rows_of_forces_are_of_one_size_in_all_frames():
    x, rng = np.zeros((2, 4, 4, 3)), np.random.default_rng(0)
    sizes = {
        pictures.force_rows(x, {"f": rng.standard_normal(x.shape)}, np.array(c), "", "").size
        for c in ([0.0, 1.0], [-0.11, -1.0])
    }
    assert len(sizes) == 1
