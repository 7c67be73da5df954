import io
import json
import random
import tracemalloc
import zipfile

import numpy as np
import pytest
from data_files import check_flips

from minicoulomb.config import Config
from minicoulomb.errors import UserError
from minicoulomb.models import SampleSpace
from minicoulomb.training import checkpoint as checkpoints

SPACE = SampleSpace((8, 8, 1))
CONFIG = Config.of(generator="my", discriminator="my", latent=3, g_width=4, d_width=4, average=0.9)


@pytest.fixture
def path(tmp_path):
    checkpoint = checkpoints.initial(CONFIG, SPACE)
    checkpoint.state.step = 12
    checkpoint.state.average += 1
    checkpoints.save(tmp_path / "step-0000012.npz", checkpoint)
    return tmp_path / "step-0000012.npz"


def rewrite(path, changes, remove=(), compress=zipfile.ZIP_STORED):
    """Write the archive again with some members changed: name -> array, or bytes as they are."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, value in changes.items():
        if not isinstance(value, bytes):
            file = io.BytesIO()
            np.save(file, value, allow_pickle=True)
            value = file.getvalue()
        members[name + ".npy"] = value
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, data in members.items():
            if name.removesuffix(".npy") not in remove:
                archive.writestr(name, data)


def about(path, **changes):
    with np.load(path) as file:
        values = json.loads(file["about"].tobytes())
    return np.frombuffer(json.dumps({**values, **changes}).encode(), np.uint8)


def test_a_checkpoint_comes_back_as_it_was(path):
    loaded, fresh = checkpoints.load(path), checkpoints.initial(CONFIG, SPACE)
    assert (loaded.config, loaded.space, loaded.state.step) == (CONFIG, SPACE, 12)
    assert (loaded.state.theta == fresh.state.theta).all()
    assert (loaded.state.average == fresh.state.average + 1).all()
    assert loaded.state.moments_d.shape == (2, loaded.D.size)


def test_a_setting_that_came_later_has_its_default(path):
    """A run of an earlier version goes on."""
    earlier = {name: value for name, value in CONFIG.settings().items() if name != "convolution"}
    rewrite(path, {"about": about(path, config=earlier)})
    loaded = checkpoints.load(path)
    assert loaded.config == CONFIG
    assert loaded.config.networks.convolution == "auto"


def test_equal_states_give_equal_bytes(path, tmp_path):
    checkpoints.save(tmp_path / "again.npz", checkpoints.load(path))
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_without_averaging_there_is_no_average(tmp_path):
    checkpoints.save(tmp_path / "c.npz", checkpoints.initial(Config(), SampleSpace((2,))))
    state = checkpoints.load(tmp_path / "c.npz").to(np).state
    assert (state.average, state.average_statistics) == (None, None)


@pytest.mark.parametrize("target_averages", [0.0, 0.9])
@pytest.mark.parametrize("source_averages", [0.0, 0.9])
def test_copied_weights_are_the_source_s_and_averages_start_from_them(source_averages, target_averages):
    """A source with averages once left them in theta of a target without."""
    source, target = (
        checkpoints.initial(CONFIG.replace(average=average, seed=seed), SampleSpace((8, 8, 1)))
        for seed, average in enumerate((source_averages, target_averages))
    )
    if source_averages:
        source.state.average += 1
    checkpoints.copy_weights(source, target)
    for name in ("theta", "w", "statistics"):
        np.testing.assert_array_equal(getattr(target.state, name), getattr(source.state, name))
    if target_averages:
        expected = source.state.average if source_averages else source.state.theta
        np.testing.assert_array_equal(target.state.average, expected)
    else:
        assert target.state.average is None


def test_weights_of_other_networks_are_refused():
    source, target = (checkpoints.initial(CONFIG.replace(g_width=width), SampleSpace((8, 8, 1))) for width in (4, 8))
    with pytest.raises(UserError, match=r"mine.npz: networks of G [\d,]+ and D .* this run's, G [\d,]+ and D"):
        checkpoints.copy_weights(source, target, "mine.npz")


def test_weights_of_networks_that_are_equally_large_but_not_equal_are_refused():
    source, target = (
        checkpoints.initial(Config.of(latent=latent, g_width=width, g_depth=1), SampleSpace((2,)))
        for latent, width in ((2, 4), (7, 2))
    )
    assert source.G.size == target.G.size
    with pytest.raises(UserError, match="mine.npz: .* layer by layer"):
        checkpoints.copy_weights(source, target, "mine.npz")


def test_a_location_comes_back_and_a_file_from_before_there_was_one_has_0(tmp_path):
    path, space = tmp_path / "c.npz", SampleSpace((2,), 3.0, 9.0, (1e6, -0.1))
    checkpoints.save(path, checkpoints.initial(Config(), space))
    assert checkpoints.load(path).space == space
    rewrite(path, {"about": about(path, space={"shape": [2], "scale": 3.0, "bound": 9.0})})
    assert checkpoints.load(path).space == SampleSpace((2,), 3.0, 9.0, 0.0)
    for location in ([1.0], [1.0, 2.0, 3.0], [], [1.0, "2"], "far"):
        space = {"shape": [2], "scale": 3.0, "bound": 9.0, "location": location}
        rewrite(path, {"about": about(path, space=space)})
        with pytest.raises(UserError, match="space location .* damaged"):
            checkpoints.load(path)


@pytest.mark.parametrize("alphabet", ["`ab", "`你🦉", '\x1b\r"\\'])
def test_an_alphabet_comes_back(tmp_path, alphabet):
    path, space = tmp_path / "c.npz", SampleSpace((4, len(alphabet) + 1), alphabet=alphabet)
    config = Config.of(generator="text", discriminator="text", g_width=2, d_width=2, g_depth=1, d_depth=1)
    checkpoints.save(path, checkpoints.initial(config, space))
    assert checkpoints.load(path).space == space
    for wrong in (alphabet[1:], alphabet + "c", alphabet[:-1] + alphabet[0], 3 * [1], None, 7, alphabet[1:] + "\ud800"):
        rewrite(path, {"about": about(path, space={**space._asdict(), "alphabet": wrong})})
        with pytest.raises(UserError, match="space alphabet .*no text has it"):
            checkpoints.load(path)


def test_no_member_is_a_pickle(path):
    with np.load(path, allow_pickle=False) as file:
        assert {file[name].dtype.kind for name in file.files} == {"f", "u"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"theta": np.zeros(3, np.float32)}, "theta is float32 \\(3,\\)"),
        ({"theta": np.zeros(100, np.float64)}, "theta is float64"),
        ({"w": np.array([{"a": 1}], dtype=object)}, "w is object"),
        ({"extra": np.zeros(3)}, "extra"),
        ({"theta": b"nonsense"}, "not a whole checkpoint .*magic"),
        ({"about": np.zeros(2**21, np.uint8)}, "declares"),
        ({"about": np.frombuffer(b"{", np.uint8)}, "not a whole checkpoint"),
        ({"about": np.frombuffer(b"{}", np.uint8)}, "format"),
        ({"about": np.frombuffer(b"[" * 100_000, np.uint8)}, "not a whole checkpoint"),
        ({"about": np.frombuffer(b'{"format": "\xff"}', np.uint8)}, "not a whole checkpoint"),
        ({"about": np.frombuffer(b"[2]", np.uint8)}, "not a whole checkpoint"),
        ({"about": np.zeros((2, 2), np.uint8)}, "declares uint8"),
    ],
)
def test_a_checkpoint_with_wrong_content_is_refused(path, changes, said):
    rewrite(path, changes)
    with pytest.raises(UserError, match=said):
        checkpoints.load(path)


WHOLE = {"shape": [8, 8, 1], "scale": 1, "bound": 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 1}, "format 1, written by minicoulomb .*train again"),
        ({"format": None, "versions": [1]}, "not a whole checkpoint"),
        ({"versions": "1.0"}, "not a whole checkpoint"),
        ({"step": -1}, "step -1"),
        ({"step": "12"}, "step '12'"),
        ({"step": True}, "step True"),
        ({"step": 10**400}, "step 1000"),
        ({"step": 12.0}, r"step 12\.0"),
        ({"config": []}, "not a whole checkpoint"),
        ({"config": {"lr_g": -1.0}}, "lr_g"),
        ({"config": {"unheard_of": 1}}, "unheard_of"),
        ({"config": {"cls": 1, "self": 2}}, "settings cls, self: unknown"),
        ({"config": {"x" * 10_000: 1}}, "settings x{200}: unknown"),
        ({"config": {"lr_g": float("nan")}}, "lr_g nan: must be finite"),
        ({"config": {"lr_g": float("inf")}}, "lr_g inf: must be finite"),
        ({"config": {"lr_g": 10**400}}, r"lr_g 10{79}: must be finite"),
        ({"config": {"latent": [[2]]}}, r"latent \[\[2\]\]: must be of type int"),
        ({"config": {"latent": True}}, "latent True: must be of type int"),
        ({"config": {"latent": "2"}}, "latent '2': must be of type int"),
        ({"config": {"generator": {"my": 1}}}, "generator .*: must be of type str"),
        ({"config": {"data": None}}, "data None: must be of type str"),
        ({"space": []}, "not a whole checkpoint"),
        ({"space": {**WHOLE, "shape": [9, 9, 1]}}, "side"),
        ({"space": {**WHOLE, "shape": [8.0, 8, 1]}}, "space shape"),
        ({"space": {**WHOLE, "shape": [8, -8, 1]}}, "space shape"),
        ({"space": {**WHOLE, "shape": []}}, "space shape"),
        ({"space": {**WHOLE, "shape": 4 * [8]}}, "space shape"),
        ({"space": {**WHOLE, "shape": [True, 8, 1]}}, "space shape"),
        ({"space": {**WHOLE, "scale": 0}}, "space scale 0"),
        ({"space": {**WHOLE, "scale": [1, 2]}}, "space scale"),
        ({"space": {**WHOLE, "scale": float("nan")}}, "space scale nan"),
        ({"space": {**WHOLE, "bound": 10**400}}, "space bound 1000"),
        ({"space": {"shape": [8, 8, 1], "scale": 1}}, "space bound None"),
        ({"space": {**WHOLE, "shake": 1}}, "space shake 1"),
    ],
)
def test_a_checkpoint_with_a_wrong_description_is_refused(path, changes, said):
    rewrite(path, {"about": about(path, **changes)})
    with pytest.raises(UserError, match=said) as error:
        checkpoints.load(path) and checkpoints.versions(path)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(
    "networks",
    [
        {"g_depth": 10**6},
        {"g_depth": 1000, "d_depth": 1000},
        {"d_depth": 10**9},
        {"extra_layers": 10**7, "generator": "my"},
        {"g_width": 10**5, "d_width": 10**9},
        {"latent": 10**300, "generator": "dcgan"},
        {"latent": 10**308},
    ],
)
def test_a_small_file_that_declares_large_networks_is_refused_before_they_are_built(path, networks):
    rewrite(path, {"about": about(path, config=networks)})
    tracemalloc.start()
    with pytest.raises(UserError, match="at most 1000|layers in a file|calls for|side|too large"):
        checkpoints.load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_small_file_that_inflates_to_large_arrays_is_refused_before_it_does(path):
    rewrite(path, {"theta": np.zeros(2**24)}, compress=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(UserError, match="theta is float64 .* calls for"):
        checkpoints.load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


KINDS = {
    "mlp": (CONFIG.replace(generator="mlp", discriminator="mlp", g_depth=1, d_depth=1), (2,)),
    "my": (CONFIG.replace(g_width=1, d_width=1), (8, 8, 1)),
    "dcgan": (CONFIG.replace(generator="dcgan", discriminator="dcgan", dtype="float64"), (8, 8, 1)),
    "resnet": (CONFIG.replace(generator="resnet", discriminator="resnet", g_width=1, d_width=1, average=0), (8, 8, 3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_with_any_bit_flipped_is_refused_or_loaded_as_it_was(tmp_path, kind):
    config, shape = KINDS[kind]
    path, draw = tmp_path / "step-0000000.npz", random.Random(kind)
    checkpoints.save(path, checkpoints.initial(config, SampleSpace(shape)))
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        headers = [byte for info in archive.infolist() for byte in range(info.header_offset, info.header_offset + 184)]
        headers += range(archive.start_dir, len(whole))
    found = [*draw.sample(headers, 60), *draw.sample(range(len(whole)), 20)]

    def check(loaded):
        checkpoints.save(path, loaded)
        assert path.read_bytes() == whole

    check_flips(path, [8 * byte + draw.randrange(8) for byte in found], checkpoints.load, check)


def test_a_checkpoint_of_another_model_is_refused(path):
    rewrite(path, {"about": about(path, config={**json.loads(CONFIG.to_json()), "g_width": 8})})
    with pytest.raises(UserError, match="theta .* calls for"):
        checkpoints.load(path)


@pytest.mark.parametrize("name", ["about", "theta", "average_statistics"])
def test_a_missing_array_is_told(path, name):
    rewrite(path, {}, remove=(name,))
    with pytest.raises(UserError, match=name):
        checkpoints.load(path)


def test_a_declared_size_that_is_not_the_array_s_is_refused_before_it_is_read(path):
    with zipfile.ZipFile(path) as archive:
        header_and_more = archive.read("theta.npy") + bytes(1000)
    rewrite(path, {"theta": header_and_more})
    with pytest.raises(UserError, match="theta declares"):
        checkpoints.load(path)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_state_that_is_not_finite_is_refused(path, value):
    with np.load(path) as file:
        average = file["average"]
    average[-1] = value
    rewrite(path, {"average": average})
    with pytest.raises(UserError, match="average holds NaN or infinity"):
        checkpoints.load(path)


@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_a_truncated_file_is_told(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="not a whole checkpoint"):
        checkpoints.load(path)


def test_a_flipped_bit_is_found(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="not a whole checkpoint"):
        checkpoints.load(path)


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    for path in (tmp_path / "no.npz", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            checkpoints.load(path)


def test_a_failing_disk_leaves_the_old_checkpoint_and_no_other_file(path, monkeypatch):
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match="No space left"):
        checkpoints.save(path, checkpoints.initial(CONFIG, SPACE))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
