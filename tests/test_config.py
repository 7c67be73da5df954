import inspect
import json
from dataclasses import fields

import numpy as np
import pytest

from minicoulomb.cli.common import configure
from minicoulomb.config import SETTINGS, Algorithm, Config, Data, Networks, Run
from minicoulomb.conv.winograd_plan import ALGORITHMS
from minicoulomb.data.mixtures import grid
from minicoulomb.errors import UserError
from minicoulomb.models import SampleSpace, build
from minicoulomb.presets import PRESETS, resolve


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr_g", 0.0),
        ("lr_g", float("nan")),
        ("d", -1.0),
        ("eps", float("inf")),
        ("batch_size", 0),
        ("steps", 1.5),
        ("steps", True),
        ("seed", -1),
        ("beta1_g", 1.0),
        ("average", 1.5),
        ("generator", "big"),
        ("data", 3),
        ("channels", 2),
        ("hold_out_every", 1),
        ("dtype", "float16"),
        ("convolution", "fft"),
        ("threads", 0),
        ("device", -1),
        ("tf32", 1),
        ("backend", "torch"),
        ("field_share", 1.0),
        ("field_share", -0.1),
        ("lr_decay_d", 0.0),
    ],
)
def test_a_value_that_no_run_could_use_is_refused_by_name(name, value):
    with pytest.raises(UserError, match=name):
        Config.of(**{name: value})


@pytest.mark.parametrize("objective", ["gan", "field"])
def test_a_field_share_belongs_to_algorithm_1(objective):
    with pytest.raises(UserError, match=f"field_share 0.3: objective {objective} has no such setting; use .* 0, or"):
        Config.of(objective=objective, field_share=0.3)


def test_an_integer_serves_where_a_number_is_asked_for():
    assert Config.of(d=2, eps_end=1).algorithm.d == 2


def test_a_configuration_survives_the_way_through_json():
    config = resolve("grid", seed=7)
    assert Config.of(**json.loads(config.to_json())) == config


def test_a_setting_of_another_version_is_named():
    with pytest.raises(UserError, match="settings momentum: unknown here; .* --help"):
        Config.of(**{**Config().settings(), "momentum": 0.9})


def test_the_algorithms_are_those_of_convolution():
    choices = next(f.metadata["choices"] for f in SETTINGS.values() if f.name == "convolution")
    assert choices == ALGORITHMS


def test_every_field_says_what_it_is():
    assert all(len(f.metadata["help"]) > 3 for f in SETTINGS.values())


@pytest.mark.parametrize("name", [name for name in PRESETS if "data" in PRESETS[name]])
def test_every_preset_with_data_resolves(name):
    assert resolve(name).data.data in ("grid", "ring", "digits")


@pytest.mark.parametrize("name", ["celeba", "lsun", "cifar10", "paper-images"])
def test_the_paper_s_image_presets_have_the_settings_of_the_paper_and_the_official_command(name, tmp_path):
    config = resolve(name, "images", data=str(tmp_path))
    assert (config.algorithm.batch_size, config.algorithm.steps) == (128, 1_000_000)
    assert config.networks.latent == {"cifar10": 16}.get(name, 32)
    assert (config.algorithm.l2, config.algorithm.l2_g) == (1e-7, 1e-7)
    assert (config.algorithm.d, config.algorithm.eps, config.algorithm.potential_scale, config.algorithm.noise) == (
        1.0,
        1.0,
        1.0,
        0.0,
    )
    assert (config.algorithm.lr_g, config.algorithm.lr_d, config.algorithm.l2) == (1e-4, 5e-5, 1e-7)
    assert (config.networks.generator, config.networks.discriminator, config.algorithm.average) == ("my", "my-big", 0.0)
    assert config.data.size == {"celeba": 64, "lsun": 64, "cifar10": 32, "paper-images": None}[name]
    assert config.data.crop == {"celeba": 108}.get(name)
    G, D = build(config.networks, SampleSpace((config.data.size or 64,) * 2 + (3,)))
    assert (4, 4, 1024) in [shape for _, shape, _ in G.summary()]
    assert D.summary()[0][1] == ((config.data.size or 64) // 2,) * 2 + (128,)


def test_the_paper_s_grid_has_the_exponent_of_the_paper_s_other_experiments():
    """The text says d = 3 in all of them; the code that gave the results computes with the exponent -1/2."""
    assert resolve("paper-grid").algorithm.d == resolve("celeba", data="faces").algorithm.d == 1.0


def configured(preset, **chosen):
    """The configuration that the command line makes of these options."""
    return configure(preset, chosen)[0]


def test_the_crop_of_a_preset_is_meant_for_image_files(tmp_path):
    np.save(tmp_path / "faces.npy", np.zeros((4, 64, 64, 3), np.uint8))
    assert configured("celeba", data=str(tmp_path)).data.crop == 108
    assert configured("celeba", data=str(tmp_path), crop=140).data.crop == 140
    for data in (str(tmp_path / "faces.npy"), "digits"):
        assert configured("celeba", data=data).data.crop is None
        assert configured("celeba", data=data, crop=140).data.crop == 140
    assert resolve("celeba", data="a path that is not looked at").data.crop == 108


def test_a_chosen_setting_wins_over_the_preset():
    assert resolve("ring", eps=1.0).algorithm.eps == 1.0


def test_no_preset_and_no_data_mean_the_grid():
    assert resolve() == resolve("grid") == configured(None)


def test_the_data_choose_the_preset(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((4, 8, 8, 3), np.uint8))
    assert configured(None, data="digits") == resolve(data="digits") == resolve("digits")
    for data in (tmp_path, tmp_path / "images.npy"):
        assert configured(None, data=str(data)).networks.discriminator == "dcgan"
        assert configured("paper-images", data=str(data)).networks.discriminator == "my-big"


def test_a_preset_reads_no_file(monkeypatch):
    monkeypatch.setattr("builtins.open", None)
    monkeypatch.setattr("os.stat", None)
    assert resolve(kind="images", data="/nowhere").networks.generator == "dcgan"
    assert resolve("points", points=grid(), data="/nowhere").data.data == "/nowhere"


def points_config(tmp_path, points, **chosen):
    np.save(tmp_path / "points.npy", points)
    return configured(None, data=str(tmp_path / "points.npy"), **chosen)


def test_the_kernel_width_follows_the_distances_of_points(tmp_path):
    points = np.random.default_rng(0).standard_normal((2000, 2))
    config = points_config(tmp_path, points).algorithm
    # |a - b|^2 / 4 is exponential
    expected = [2 * np.sqrt(-np.log(1 - share)) for share in (0.1, 0.02)]
    assert [config.eps, config.eps_end] == pytest.approx(expected, rel=0.1)
    moved = points_config(tmp_path, 1e-3 * points + 7).algorithm
    assert [moved.eps, moved.eps_end] == pytest.approx([1e-3 * config.eps, 1e-3 * config.eps_end])
    assert points_config(tmp_path, points, eps=5.0).algorithm.eps == 5.0
    with pytest.raises(UserError, match="distances of points"):
        configured("points", data=str(tmp_path))


@pytest.mark.parametrize(
    ("unit", "dtype"), [(1e-14, "float64"), (1e-8, "float32"), (1e8, "float32"), (1e14, "float64")]
)
def test_points_of_any_unit_have_a_kernel_within_the_range_of_their_dtype(tmp_path, unit, dtype):
    points = np.random.default_rng(0).standard_normal((100, 2))
    config = points_config(tmp_path, points * unit)
    assert config.run.dtype == dtype
    assert points_config(tmp_path, points * unit, dtype="float64").run.dtype == "float64"


@pytest.mark.parametrize("m", [1, 2, 10, 50])
def test_outliers_and_equal_points_leave_the_kernel_width_what_it_is(tmp_path, m):
    points = np.random.default_rng(0).standard_normal((2000, m))
    eps = points_config(tmp_path, points).algorithm.eps
    assert eps == points_config(tmp_path, points).algorithm.eps
    points[:20] *= 1e4
    points[20:420] = points[420]
    assert points_config(tmp_path, points).algorithm.eps == pytest.approx(eps, rel=0.3)
    points[1:] = points[1]
    assert points_config(tmp_path, points).algorithm.eps > 0


def test_points_of_many_coordinates_come_from_as_many_latent_ones(tmp_path):
    points = np.random.default_rng(0).standard_normal((50, 30))
    found = [points_config(tmp_path, points[:, :m]).networks.latent for m in (1, 2, 3, 10, 30)]
    assert found == [2, 2, 3, 10, 16]
    assert points_config(tmp_path, points, latent=5).networks.latent == 5


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"preset": "moon", "data": "grid"}, "preset 'moon'"),
        ({"preset": "images"}, "--data"),
        ({"data": "/nowhere/at/all"}, "data '/nowhere/at/all': must be grid"),
    ],
)
def test_what_cannot_be_resolved_is_told(chosen, said):
    with pytest.raises(UserError, match=said):
        configured(**{"preset": None} | chosen)


def test_the_docstrings_list_every_setting_with_its_default():
    for part in (Data, Networks, Algorithm, Run):
        text = inspect.getdoc(part)
        assert text.splitlines()[2:4] == ["Parameters", "----------"]
        for f in fields(part):
            assert f"\n{f.name} : " in text
            assert f", default {f.default!r}\n    {f.metadata['help']}" in text
    assert "objective : {'coulomb', 'gan', 'field'}, default 'coulomb'" in Algorithm.__doc__
    assert "eps_end : float | None, default None" in Algorithm.__doc__


@pytest.mark.parametrize("number", [np.float32, np.float64, np.int64, np.array])
def test_a_number_of_numpy_becomes_python_s(number):
    algorithm = Algorithm(d=number(1), eps=number(2), lr_g=number(1))
    assert algorithm == Algorithm(d=1, eps=2, lr_g=1)
    assert {type(value) for value in (algorithm.d, algorithm.eps, algorithm.lr_g)} <= {int, float}
    assert Config.of(eps=number(3)) == Config.of(eps=3)


def test_integers_and_booleans_of_numpy_are_settings_too():
    config = Config.of(steps=np.int64(5), seed=np.uint8(3), relative_potential=np.bool_(True), data=np.str_("ring"))
    assert config == Config.of(steps=5, seed=3, relative_potential=True, data="ring")
    json.loads(config.to_json())
    for name, value in (("steps", np.float64(5)), ("steps", np.bool_(True)), ("d", np.ones(2)), ("seed", np.int64(-1))):
        with pytest.raises(UserError, match=name):
            Config.of(**{name: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"d": 1000.0},  # 3^1000 overflows
        {"d": 1000.0, "dtype": "float64"},
        {"d": 100.0},  # 3^102 is beyond float32
        {"eps": 1e-15},
        {"eps": 1e-200, "dtype": "float64"},
        {"eps": 1e30},
        {"eps_end": 1e-15},
        {"potential_scale": 1e39},
        {"potential_scale": 1e30, "eps": 1e4},
        {"potential_scale": 1e-45},
    ],
)
def test_scales_beyond_the_dtype_s_range_are_refused(settings):
    with pytest.raises(
        UserError, match=r"d .*, eps .*: scale and eps\^\(d\+2\) must be within the range of float.*; use"
    ):
        Config.of(**settings)


def test_the_range_is_that_of_the_dtype():
    assert Config.of(d=100.0, dtype="float64").algorithm.d == 100
    assert Config.of(d=1000.0, eps=1.0).algorithm.d == 1000
    assert Config.of(d=42.0, eps=7.5).algorithm.eps == 7.5  # 44 log 7.5 = 88.66, and float32's limit is 88.72
    with pytest.raises(UserError, match="within the range of float32"):
        Config.of(d=42.0, eps=7.52)  # 88.77


def test_a_part_of_another_class_is_refused():
    with pytest.raises(UserError, match=r"algorithm \{'d': 1\}: must be of type Algorithm; use Config.of"):
        Config(algorithm={"d": 1})
    with pytest.raises(UserError, match="data Networks.*: must be of type Data; use"):
        Config(Networks())
