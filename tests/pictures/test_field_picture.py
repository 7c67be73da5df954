"""The picture of a field: what it shows of a run, and where."""

import numpy as np
import pytest
import strict_cupy
from field_cases import EXPERIMENTS, IMAGES, PLANE, start

from minicoulomb import pictures
from minicoulomb.arrays.backend import on_gpu
from minicoulomb.data.digits import digits
from minicoulomb.data.mixtures import ring
from minicoulomb.data.sources import open_dataset
from minicoulomb.errors import UserError
from minicoulomb.evaluation.field_values import (
    charges,
    cosines,
    exact_force,
    exact_potential,
    follows,
    in_words,
    learned_force,
    learned_potential,
)
from minicoulomb.models import SampleSpace
from minicoulomb.pictures.field_picture import draw, field_picture, plane_field
from minicoulomb.pictures.line import CELLS
from minicoulomb.pictures.line_field import line_field
from minicoulomb.presets import resolve
from minicoulomb.training import checkpoint as checkpoints


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
