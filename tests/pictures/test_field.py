"""minicoulomb field: its numbers against the formulas, what its pictures show and where, and the command."""

from pathlib import Path

import numpy as np
import pytest
import strict_cupy
from cli_cases import SMALL, SMALL_IMAGES, pixels, run
from click.testing import CliRunner
from PIL import Image

from minicoulomb import pictures
from minicoulomb.arrays.backend import on_gpu
from minicoulomb.cli.main import main
from minicoulomb.config import Config
from minicoulomb.data.dataset import to_pixels
from minicoulomb.data.digits import digits
from minicoulomb.data.mixtures import ring
from minicoulomb.data.sources import open_dataset
from minicoulomb.errors import UserError
from minicoulomb.evaluation import field_values
from minicoulomb.evaluation.field_values import (
    GROUPS,
    Charges,
    charges,
    cosines,
    exact_force,
    exact_potential,
    follows,
    group_potentials,
    in_words,
    learned_force,
    learned_potential,
)
from minicoulomb.gan import target_scale
from minicoulomb.models import SampleSpace
from minicoulomb.pictures import forces as drawing
from minicoulomb.pictures.colours import INK, diverging
from minicoulomb.pictures.field_picture import FRAME_SIZE, draw, field_frames, field_picture, plane_field
from minicoulomb.pictures.line import CELLS
from minicoulomb.pictures.line_field import line_field
from minicoulomb.pictures.maps import STEPS, arrow_lengths, zero_level
from minicoulomb.presets import resolve
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.sampling import BLOCK

# Smooth activations, for finite differences.
PLANE = Config.of(data="ring", g_width=8, d_width=8, g_activation="tanh", d_activation="elu", d=1.5, eps=0.7,
               potential_scale=3.0, dtype="float64")  # fmt: skip
# With batch normalization in both networks.
IMAGES = Config.of(data="digits", generator="dcgan", discriminator="my", g_width=4, d_width=4, d=1.0, eps=0.5,
                dtype="float64", batch_size=BLOCK)  # fmt: skip
EXPERIMENTS = {
    "plane": (PLANE, ring()),
    "relative": (PLANE.replace(relative_potential=True, eps_end=0.4, steps=10), ring()),
    "images": (IMAGES, digits()),
}


def start(config, dataset, step=0, xp=np):
    checkpoint = checkpoints.initial(config, SampleSpace(dataset.shape, dataset.scale, dataset.bound), xp)
    checkpoint.state.step = step
    return checkpoint


@pytest.fixture(scope="module", params=list(EXPERIMENTS))
def experiment(request):
    """(checkpoint, dataset, charges) at half of its way, D's regression far from right."""
    config, dataset = EXPERIMENTS[request.param]
    checkpoint = start(config, dataset, 5)
    return checkpoint, dataset, charges(checkpoint, dataset, BLOCK)


# Numbers


def test_the_exact_potential_is_the_sum_over_all_charges(experiment):
    _, _, (x, y, d, eps) = experiment
    a = x[:3]
    for point, phi in zip(a, exact_potential(a, experiment[2]), strict=True):
        k = [((point - other) ** 2).sum() + eps**2 for others in (y, x) for other in others]
        k = (np.array(k) / eps**2) ** (-d / 2)  # in units of eps^-d
        assert phi == pytest.approx(k[: len(y)].mean() - k[len(y) :].mean(), rel=1e-9)


def test_eps_is_that_of_the_step_and_after_the_last_step_the_last():
    config, dataset = EXPERIMENTS["relative"]
    eps = [charges(start(config, dataset, step), dataset, 2).eps for step in (0, 5, 10, 11)]
    assert eps == pytest.approx([0.7, np.sqrt(0.7 * 0.4), 0.4, 0.4])


def test_what_d_has_learned_is_told_in_the_units_of_the_potential(experiment):
    checkpoint, _, given = experiment
    d = checkpoint.D.forward(checkpoint.state.w, given.x)[0]
    phi = given.eps**given.d * d / target_scale(checkpoint.config.algorithm, given.eps)
    np.testing.assert_allclose(learned_potential(given.x, checkpoint, given.eps), phi, rtol=1e-12)


@pytest.mark.parametrize("which", ["exact", "learned"])
def test_forces_are_the_slopes_of_the_potentials(experiment, which):
    """Along a random direction, of the sum over all points; eps^(d+1) is one eps more than the potentials have."""
    checkpoint, _, given = experiment
    if which == "exact":
        potential, force = (lambda a: exact_potential(a, given)), exact_force(given.x, given)
    else:
        potential = lambda a: learned_potential(a, checkpoint, given.eps)
        force = learned_force(given.x, checkpoint, given.eps)
    assert force.shape == given.x.shape
    h, v = 1e-6, np.random.default_rng(0).standard_normal(given.x.shape)
    slope = (potential(given.x + h * v) - potential(given.x - h * v)).sum() / (2 * h)
    assert (force * v).sum() / given.eps == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_a_charge_is_left_out_of_the_potential_at_its_place(experiment):
    """One pair at a time; the self-term would shift it by eps^-d over the number of charges."""
    x, y, d, eps = given = experiment[2]
    n, k = len(x), lambda a, b: (((a - b) ** 2).sum() / eps**2 + 1) ** (-d / 2)
    for a, others in ((x, y), (y, x)):
        phi = group_potentials(a, given)
        assert phi.shape == (GROUPS, n)
        for g, i in ((0, 0), (3, 7), (GROUPS - 1, n - 1), (5, n // 2)):
            start, stop = (g * n // GROUPS, (g + 1) * n // GROUPS)
            near = np.mean([k(a[i], a[j]) for j in range(start, stop) if j != i])
            far = np.mean([k(a[i], others[j]) for j in range(start, stop)])
            assert phi[g, i] == pytest.approx(far - near if a is x else near - far, rel=1e-9)


def test_the_fit_is_that_of_d_and_the_potential_of_all_charges(experiment):
    checkpoint, _, given = experiment
    phi = [group_potentials(a, given).mean(axis=0) for a in (given.x, given.y)]
    d = [learned_potential(a, checkpoint, given.eps) for a in (given.x, given.y)]
    found = follows(given, checkpoint)
    for k, suffix in enumerate(("", "_real")):
        assert found[f"d_correlation{suffix}"] == pytest.approx(np.corrcoef(d[k], phi[k])[0, 1])
        error = np.square(d[k] - phi[k]).sum() / np.square(phi[k] - phi[k].mean()).sum()
        assert found[f"d_r2{suffix}"] == pytest.approx(1 - error)
    groups = group_potentials(given.x, given)
    groups = groups - groups.mean(axis=1, keepdims=True)  # an offset changes no correlation
    chance = groups.var(axis=0, ddof=1).mean() / GROUPS / phi[0].var()
    assert found["d_correlation_limit"] ** 2 == pytest.approx(max(0, 1 - chance), abs=1e-9)


@pytest.mark.parametrize("shift", [0.05, 0.5, 2.0])
def test_the_limit_is_the_correlation_of_the_expected_potential(shift, monkeypatch):
    """A D that knows the potential of many other charges of the same distributions; the medians of ten draws."""
    rng, found = np.random.default_rng(0), []
    more = [rng.standard_normal((20_000, 2)) + move for move in (shift, 0)]
    monkeypatch.setattr(field_values, "learned_potential", lambda a, *_: exact_potential(a, Charges(*more, 2.0, 0.5)))
    for _ in range(10):
        charges_of = Charges(rng.standard_normal((300, 2)) + shift, rng.standard_normal((300, 2)), 2.0, 0.5)
        found.append(follows(charges_of, None))
    reached, limit = (np.median([one[name] for one in found]) for name in ("d_correlation", "d_correlation_limit"))
    assert reached == pytest.approx(limit, abs=0.15 if shift < 0.1 else 0.05)
    assert limit < 0.6 if shift < 0.1 else limit > 0.9
    if shift > 0.1:  # else the 20,000 charges have too much chance
        assert np.median([one["d_r2"] for one in found]) == pytest.approx(limit**2, abs=0.1)


def test_a_constant_d_has_no_correlation_and_few_or_constant_charges_no_fit(experiment, monkeypatch):
    checkpoint, _, given = experiment
    monkeypatch.setattr(field_values, "learned_potential", lambda a, *_: np.full(len(a), 0.1))
    assert follows(given, checkpoint)["d_correlation"] == 0
    few = given._replace(x=given.x[:19], y=given.y[:19])
    assert follows(few, checkpoint) == {}
    same = given._replace(x=np.repeat(given.x[:1], len(given.x), axis=0))
    assert follows(same, checkpoint) == {}


def test_charges_come_from_the_weights_that_d_meets_and_not_from_their_average():
    config, dataset = IMAGES.replace(average=0.9), digits()
    checkpoint = start(config, dataset)
    before = charges(checkpoint, dataset, 3).x
    checkpoint.state.average[:] = 0
    checkpoint.state.average_statistics[:] = 1
    np.testing.assert_array_equal(charges(checkpoint, dataset, 3).x, before)


def test_points_pass_through_d_in_blocks(experiment, monkeypatch):
    checkpoint, _, given = experiment
    compute = lambda: (
        learned_potential(given.x, checkpoint, given.eps),
        learned_force(given.x, checkpoint, given.eps),
    )
    whole = compute()
    monkeypatch.setattr(field_values, "BLOCK", 7)
    for blocks, together in zip(compute(), whole, strict=True):
        np.testing.assert_allclose(blocks, together, rtol=1e-9, atol=1e-12)


def test_the_cosine_of_forces_is_1_along_minus_1_against_and_0_of_nothing():
    a = np.random.default_rng(0).standard_normal((4, 2, 3, 1))
    b = np.stack([2 * a[0], -a[1], 0 * a[2], a[3][::-1]])
    expected = (a[3] * b[3]).sum() / (a[3] ** 2).sum()
    np.testing.assert_allclose(cosines(a, b), [1, -1, 0, expected])


def test_data_of_another_shape_are_told():
    with pytest.raises(UserError, match=r"digits.*\(8, 8, 1\).*data of that shape"):
        charges(start(PLANE, ring()), digits(), 5)


# Colours, lines, arrows


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


# Pictures


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


def test_the_panels_show_the_exact_and_the_learned_potential_at_their_places():
    config, dataset = EXPERIMENTS["relative"]
    checkpoint = start(config, dataset)
    field = plane_field(checkpoint, dataset, 30, 0)
    plane = pictures.Plane(field.square)
    given = charges(checkpoint, dataset, 30)
    np.testing.assert_array_equal(field.x, given.x)
    for i, j in ((0, 0), (0, 199), (120, 7)):
        a = plane.centres(pictures.CELLS)[i, j][None]
        assert field.potentials[0][i, j] == pytest.approx(exact_potential(a, given)[0])
        assert field.potentials[1][i, j] == pytest.approx(learned_potential(a, checkpoint, given.eps)[0])
    a = plane.centres(pictures.ARROWS)[3, 15][None]
    np.testing.assert_allclose(field.forces[0][3, 15], exact_force(a, given)[0])
    np.testing.assert_allclose(field.forces[1][3, 15], learned_force(a, checkpoint, given.eps)[0])
    assert plane.centres(pictures.CELLS)[0, -1].min() > 2.5, "not the upper right corner"


def test_the_third_panel_is_what_d_has_too_much(monkeypatch):
    shown = []
    monkeypatch.setattr(pictures, "field_map", lambda panels, *_: shown.extend(panels))
    config, dataset = EXPERIMENTS["relative"]
    field = plane_field(start(config, dataset), dataset, 30, 0)
    draw(field, field.scale)
    phi, d = field.potentials
    for panel, values in zip(shown, (phi, d, d - phi), strict=True):
        np.testing.assert_array_equal(panel.values, values)
    assert [panel.title.partition(",")[0] for panel in shown] == ["Phi", "D", "D - Phi"]
    assert f"{field.fit['d_correlation']:.2f} of at most {field.fit['d_correlation_limit']:.2f}" in shown[1].title
    np.testing.assert_array_equal(shown[0].forces, field.forces[0])
    np.testing.assert_array_equal(shown[1].forces, field.forces[1])


def test_beside_images_stand_the_exact_force_and_then_the_learned_one_with_their_cosines(monkeypatch):
    shown = []
    monkeypatch.setattr(pictures, "force_rows", lambda *arguments: shown.extend(arguments))
    checkpoint, dataset = start(IMAGES, digits()), digits()
    field_picture(checkpoint, dataset, 3)
    given = charges(checkpoint, dataset, 2000)
    x, forces, cosine = shown[:3]
    exact, learned = forces["grad Phi"], forces["grad D"]
    np.testing.assert_array_equal(x, given.x[:3])
    np.testing.assert_allclose(exact, exact_force(given.x[:3], given))
    batch = given.x[: IMAGES.algorithm.batch_size]  # as in training
    np.testing.assert_allclose(learned, learned_force(batch, checkpoint, given.eps)[:3])
    np.testing.assert_allclose(cosine, cosines(exact, learned))
    assert list(forces) == ["grad Phi", "grad D"]


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


def test_the_picture_is_the_same_where_the_arrays_are_on_a_device():
    dense = IMAGES.replace(generator="mlp", discriminator="mlp")  # convolutions take the stand-in's compiler seconds
    for config, dataset in (EXPERIMENTS["relative"], (dense, digits())):
        device = start(config, dataset).to(strict_cupy)
        assert on_gpu(charges(device, dataset, 4).y)
        pages = [np.asarray(field_picture(c, dataset, 40), int) for c in (start(config, dataset), device)]
        # Rounding may move the corner of an arrow by a quarter of a pixel.
        assert (np.abs(pages[0] - pages[1]) > 1).mean() < 1e-4


def test_curves_on_a_line_are_phi_and_d():
    dataset = ring()
    dataset.shape, dataset.draw = (1,), lambda rng, n, held_out=False: rng.standard_normal((n, 1))
    checkpoint = start(EXPERIMENTS["relative"][0].replace(data="points"), dataset, 5)
    sources = charges(checkpoint, dataset, 40)
    field = line_field(checkpoint, sources, "title")
    a = np.linspace(field.axis.start, field.axis.start + field.axis.span, CELLS)[:, None]
    np.testing.assert_allclose(field.curves[0].values, exact_potential(a, sources))
    np.testing.assert_allclose(field.curves[1].values, learned_potential(a, checkpoint, sources.eps))
    assert in_words(follows(sources, checkpoint)) in field.curves[1].name
    assert field.scale == (-field.curves[0].values.min(), field.curves[0].values.max())
    picture = field_picture(checkpoint, dataset, 40)
    assert picture.size[1] > 2 * 320
    baseline = checkpoint._replace(config=checkpoint.config.replace(objective="gan"))
    assert len(line_field(baseline, sources, "title").curves) == 1


def test_only_lines_planes_and_images_have_a_picture():
    dataset = ring()
    dataset.shape = (3,)
    with pytest.raises(UserError, match=r"3 coordinates.*\(n, 1\), \(n, 2\)"):
        field_picture(start(PLANE.replace(data="points"), dataset), dataset)
    with pytest.raises(UserError, match="101 rows.*100"):
        field_picture(start(IMAGES, digits()), digits(), 101)


# Animations


def test_an_animation_keeps_the_colours_of_its_frames_and_their_times(tmp_path):
    colours = [(255, 255, 255), (200, 30, 9), (254, 255, 255), (0, 0, 90)]
    frames = (Image.new("RGB", (6, 4), colour) for colour in colours)
    pictures.save_animation(frames, tmp_path / "a.gif", seconds=0.2, hold=1.0)
    with Image.open(tmp_path / "a.gif") as gif:
        shown = []
        for i in range(gif.n_frames):
            gif.seek(i)
            shown.append((gif.convert("RGB").getpixel((3, 2)), gif.info["duration"]))
    assert next(colour for colour, _ in shown) == (255, 255, 255)
    assert shown[-1] == ((0, 0, 90), 1000)
    assert shown[0][1] == 200


def test_an_animation_of_many_colours_keeps_its_white_and_is_close_in_all_others(tmp_path):
    page = np.stack([*np.meshgrid(np.arange(256), np.arange(256)), np.full((256, 256), 90)], axis=-1).astype(np.uint8)
    page[:100] = np.random.default_rng(0).integers(245, 256, (100, 256, 3))
    page[:10] = 255
    pictures.save_animation(iter([Image.fromarray(page)] * 2), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        shown = np.asarray(gif.convert("RGB")).astype(int)
    assert (shown[:10] == 255).all()
    assert np.abs(shown - page).max() < 20


# The command


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run in the plane with 4 checkpoints, the directory of runs being the working directory's."""
    out = tmp_path_factory.mktemp("runs")
    run("train", *SMALL, "--steps", 30, "--checkpoint-every", 10, "--keep-checkpoints", 9, "--out", out)
    return out / "00000-ring"


def test_the_command_draws_a_run_a_checkpoint_and_a_preset(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = trained / "checkpoints" / "step-0000000.npz"
    for name, target in (("run", trained), ("checkpoint", first), ("preset", "ring")):
        said = run("field", target, "-n", 50, "-o", f"{name}.png")
        assert f"{name}.png" in said
        assert f"step {30 if name == 'run' else 0}:" in said
    pages = [pixels(f"{name}.png") for name in ("run", "checkpoint", "preset")]
    assert all(page.shape == pages[0].shape for page in pages)
    assert (pages[0] != pages[1]).any()
    assert (pages[1] != pages[2]).any()
    assert {path.name for path in tmp_path.iterdir()} == {"run.png", "checkpoint.png", "preset.png"}


def test_the_command_draws_forces_on_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("train", *SMALL_IMAGES, "--steps", 2, "--out", "runs")
    run("field", "runs/00000-digits-conv", "-n", 3, "-o", "force.png")
    assert np.abs(pixels("force.png").astype(int) - (213, 94, 0)).max(axis=2).min() == 0  # the frames of samples


def test_the_command_animates_all_checkpoints_and_says_how_to_get_more(trained, tmp_path):
    said = run("field", trained, "-n", 50, "--animate", "-o", tmp_path / "a.gif")
    assert "at 4 checkpoints" in said
    assert "a smaller --checkpoint-every" in said  # the run keeps them all
    run("train", *SMALL, "--steps", 2, "--checkpoint-every", 1, "--keep-checkpoints", 2, "--out", tmp_path)
    few = ["-n", 50, "--animate", "-o", tmp_path / "b.gif"]
    assert "--keep-checkpoints 100" in run("field", tmp_path / "00000-ring", *few)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 4


def test_frames_share_their_axes_and_the_largest_scale(trained):
    paths = sorted((trained / "checkpoints").glob("*.npz"))
    frames = field_frames(paths, np, ring(), 50)
    fields = [plane_field(checkpoints.load(path), ring(), 50, 0) for path in paths]
    assert len({field.square for field in fields}) == 1
    assert len({frame.size for frame in frames}) == 1
    limit = max(np.abs(field.potentials[0]).max() for field in fields)
    longest = max(np.linalg.norm(field.forces[0], axis=-1).max() for field in fields)
    expected = draw(fields[1], pictures.ColourScale(limit, longest), FRAME_SIZE)
    np.testing.assert_array_equal(np.asarray(frames[1]), np.asarray(expected))


@pytest.mark.parametrize(
    ("arguments", "told", "status"),
    [
        (["nothing", "-o", "a.png"], "neither a run nor a preset; use a run directory", 1),
        (["ring", "-o", "a.gif"], "without --animate the output is a PNG file; use a.png", 1),
        (["ring", "--animate", "-o", "a.gif"], "draws the checkpoints of a run", 2),
        (["RUN", "--animate", "-o", "a.png"], "with --animate the output is a GIF file; use a.gif", 1),
        (["points", "-o", "a.png"], "add --data", 1),
        (["RUN", "--data", "digits", "-o", "a.png"], "has shape (8, 8, 1), the run's samples have (2,)", 1),
        (["RUN", "-n", "1", "-o", "a.png"], "x>=2", 2),
        (["EMPTY", "--animate", "-o", "a.gif"], "holds no checkpoints", 1),
        (["EMPTY", "-o", "a.png"], "holds no checkpoints", 1),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(trained, tmp_path, monkeypatch, arguments, told, status):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "ring"):
        Path(name).mkdir()
    names = {"RUN": str(trained), "EMPTY": "empty"}
    result = CliRunner().invoke(main, ["field", *(names.get(word, word) for word in arguments)])
    assert (result.exit_code, told in " ".join(result.output.split())) == (status, True), result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "ring"]


@pytest.mark.parametrize(("data", "objective"), [("ring", "gan"), ("digits", "field")])
def test_of_a_baseline_the_exact_field_alone_is_drawn(tmp_path, data, objective):
    """Its D is no regression of Phi, or untrained."""
    config = resolve(data, objective=objective, steps=1)
    dataset = open_dataset(config, tmp_path)
    space = SampleSpace(dataset.shape, dataset.scale, dataset.bound)
    drawn = {}
    for name in ("coulomb", objective):
        checkpoint = checkpoints.initial(config.replace(objective=name), space)
        drawn[name] = field_picture(checkpoint, dataset, 5)
    assert drawn[objective].width < drawn["coulomb"].width
    if data == "ring":
        field = plane_field(checkpoint, dataset, 50, 0)
        assert field.fit == {}
        assert len(field.potentials) == len(field.forces) == 1
