"""What NumPy has saved becomes a data set, or is refused with the reason."""

import io
import re
import tracemalloc
import zipfile

import numpy as np
import pytest

from minicoulomb.data.arrays import array_dataset, load_array
from minicoulomb.data.dataset import decode
from minicoulomb.errors import UserError

PIXELS = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)


def saved(tmp_path, array, name="a.npy"):
    np.save(tmp_path / name, array)
    return tmp_path / name


def test_a_npy_file_stays_on_disk(tmp_path):
    array = load_array(saved(tmp_path, PIXELS))
    assert isinstance(array, np.memmap)
    assert (array == PIXELS).all()


def test_greys_without_an_axis_get_one(tmp_path):
    assert load_array(saved(tmp_path, PIXELS[..., 0])).shape == (2, 8, 8, 1)


def test_float_images_and_points_are_kept_as_they_are(tmp_path):
    images = np.linspace(-1, 1, 2 * 8 * 8).reshape(2, 8, 8)
    assert (load_array(saved(tmp_path, images))[..., 0] == images).all()
    points = np.random.default_rng(0).standard_normal((5, 3)) * 100
    assert (load_array(saved(tmp_path, points)) == points).all()


@pytest.mark.parametrize("names", [["only"], ["images", "labels"], ["x", "y"], ["arr_0", "arr_1"]])
def test_an_archive_s_array_is_found(tmp_path, names):
    np.savez(tmp_path / "a.npz", **{name: PIXELS if i == 0 else np.zeros(3) for i, name in enumerate(names)})
    assert (load_array(tmp_path / "a.npz") == PIXELS).all()


def test_the_absence_of_an_archive_s_array_is_told(tmp_path):
    np.savez(tmp_path / "a.npz", faces=PIXELS, cats=PIXELS)
    with pytest.raises(UserError, match="cats, faces"):
        load_array(tmp_path / "a.npz")


def with_value(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (with_value(np.zeros((9, 8, 8, 3), np.float32), (4, 0, 0, 0), np.nan), "row 4 is not finite"),
        (with_value(np.zeros((9, 2)), (7, 1), np.inf), "row 7 is not finite"),
        (with_value(np.zeros((9, 8, 8)), (3, 0, 0), 255), "x / 127.5 - 1"),
        (np.zeros((2, 3, 8, 8), np.uint8), "transpose\\(0, 2, 3, 1\\)"),
        (np.zeros((2, 8, 8, 4), np.uint8), "4 channels"),
        (np.zeros((2, 8, 8), np.int64), "int64"),
        (np.zeros((4, 8), np.uint8), "flat pixels"),
        (np.zeros((0, 8, 8, 3), np.uint8), "empty"),
        (np.array(8.0), "shape"),
        (np.zeros((5, 2), bool), "dtype bool"),
        (np.zeros((5, 2), complex), "dtype complex128"),
        (np.zeros((5, 2), ">i4"), "dtype >i4: .* points native floats or integers"),
        (np.zeros(5, [("x", float), ("y", float)]), r"dtype \[\('x', '<f8'\)"),
        (np.zeros(5, np.uint8), r"flat pixels .* or x.astype\(float\) for points"),
        (np.zeros((2, 2, 2, 2, 1)), "shape"),
        (np.array([{}, {}]), "not a whole array"),
    ],
)
def test_an_array_that_cannot_be_trained_on_is_refused(tmp_path, array, said):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=said) as caught:
        load_array(tmp_path / "a.npy")
    assert "a.npy" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"\x93NUMPY",
        b"\x93NUMPY\x03\x00\xff\xff\xff\xff{",
        b"\x93NUMPY\x01\x00v\x00{'descr'",
        b"PK\x03\x04 broken",
    ],
)
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_damaged_file_is_refused(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        load_array(tmp_path / name)


def test_a_truncated_file_is_refused(tmp_path):
    path = saved(tmp_path, PIXELS)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"a\.npy"):
        load_array(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.npy"):
        load_array(tmp_path / "nowhere.npy")


def test_points_know_their_scale_and_bound(tmp_path):
    points = np.random.default_rng(0).standard_normal((5000, 2)) * 3 + [100, -50]
    data = array_dataset(saved(tmp_path, points))
    assert data.scale == pytest.approx(3, rel=0.05)
    assert data.location == pytest.approx(points.mean(axis=0))
    assert data.bound == pytest.approx(2 * np.abs(points - points.mean(axis=0)).max(), rel=0.02)
    assert data.name == "a"
    images = array_dataset(saved(tmp_path, PIXELS))
    assert (images.scale, images.bound, images.location, images.shape) == (1, 1, 0, (8, 8, 3))


def test_points_that_do_not_differ_are_refused(tmp_path):
    with pytest.raises(UserError, match="variance 0"):
        array_dataset(saved(tmp_path, np.ones((5, 2))))


def test_values_are_checked_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("minicoulomb.data.arrays.BLOCK", 4)
    points = np.random.default_rng(0).standard_normal((50, 2))
    data = array_dataset(saved(tmp_path, points))
    assert data.scale == pytest.approx(points.std(axis=0).mean(), rel=0.02)
    with pytest.raises(UserError, match="row 49"):
        array_dataset(saved(tmp_path, with_value(points, (49, 0), np.nan)))


def npz_of(path, content, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.npy", content)
    return path


def test_an_archive_that_would_unfold_or_lies_about_its_size_is_refused_before_it_is_read(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2)})
    tracemalloc.start()
    with pytest.raises(UserError, match="declares 100 bytes of numbers: float64"):
        load_array(npz_of(tmp_path / "a.npz", header.getvalue() + bytes(100)))
    with (
        zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w") as member,
    ):
        for _ in range(300):
            member.write(bytes(2**20))
    with pytest.raises(UserError, match="would unfold to 314,572,800"):
        load_array(tmp_path / "b.npz")
    assert tracemalloc.get_traced_memory()[1] < 10**8
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\1\0\x60\xea" + b"(" * 60000, b"\x93NUMPY\1\0"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_LZMA])
def test_a_member_that_is_no_array_ends_in_a_message(tmp_path, content, method):
    with pytest.raises(UserError, match="not a whole array|method 14"):
        load_array(npz_of(tmp_path / "a.npz", content, method))


def moons(n=400):
    """Two half circles, as points (n, 2)."""
    rng = np.random.default_rng(0)
    angles, upper = np.pi * rng.random(n), rng.random(n) < 0.5
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.where(upper[:, None], x, [1, 0.5] - x) + 0.07 * rng.standard_normal((n, 2))


@pytest.mark.parametrize("factor", [1e-12, 1e-3, 1, 1e12])
@pytest.mark.parametrize("offset", [0, 5, -1000, 1e6])
def test_points_elsewhere_and_of_another_size_are_the_same_after_normalisation(tmp_path, offset, factor):
    here = array_dataset(saved(tmp_path, moons(), "here.npy"))
    there = array_dataset(saved(tmp_path, (moons() + [offset, 0]) * factor, "there.npy"))
    assert there.scale == pytest.approx(factor * here.scale)
    assert there.bound == pytest.approx(factor * here.bound)
    drawn, expected = (data.draw(np.random.default_rng(1), 50) for data in (there, here))
    assert np.abs(decode(drawn, np.float32) / there.scale - decode(expected, np.float32) / here.scale).max() < 1e-6
    assert np.abs(there.rows() + there.location - there.array).max() < 1e-9 * factor


@pytest.mark.parametrize("n", [5, 20, 400])
def test_a_single_wrong_number_is_named_and_moves_neither_location_nor_scale(tmp_path, n):
    clean = array_dataset(saved(tmp_path, np.delete(moons(n), 3, axis=0), "clean.npy"))
    data = array_dataset(saved(tmp_path, with_value(moons(n), (3, 1), 1e5)))
    assert "far" not in (clean.remark or "")
    assert (data.scale, data.location) == (pytest.approx(clean.scale), pytest.approx(clean.location))
    assert data.bound < 10 * data.scale
    assert "a.npy: 1 of the points lie far from all others, the first in row 3" in data.remark


@pytest.mark.parametrize("value", [1e7, -1e20, 1e200, 1.7e308])
def test_numbers_that_no_training_survives_are_refused_with_the_row(tmp_path, value):
    with pytest.raises(UserError, match=r"a\.npy: row 3 is the first that is too far: points lie up to .* away"):
        array_dataset(saved(tmp_path, with_value(moons(), (3, 1), value)))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.85])
def test_clusters_and_equal_points_are_no_wrong_numbers(tmp_path, share):
    points = np.where(np.arange(1000)[:, None] < 1000 * share, 0.0, moons(1000) + 50)
    for name, array in {"one.npy": points, "two.npy": np.hstack([moons(1000), points])}.items():
        data = array_dataset(saved(tmp_path, array, name))
        assert "far" not in (data.remark or "")
        assert data.scale == pytest.approx(np.sqrt(array.var(axis=0).mean()))


def test_a_constant_coordinate_stays_and_constant_points_are_refused(tmp_path):
    data = array_dataset(saved(tmp_path, np.c_[moons(), np.full(400, 7)]))
    assert data.location[2] == 7
    assert (data.draw(np.random.default_rng(0), 9)[:, 2] == 0).all()
    for factor in (0, 1e-30, 1e30, 1e200):
        with pytest.raises(UserError, match=r"variance .*: must be between 1e-30 and 1e\+30; .* another unit"):
            array_dataset(saved(tmp_path, moons() * factor))


def test_points_that_their_dtype_cannot_tell_apart_are_told(tmp_path):
    data = array_dataset(saved(tmp_path, (moons() + 1e6).astype(np.float32)))
    assert "float32 has steps of 0.062 here, the points a scale of 0.7" in data.remark
    assert array_dataset(saved(tmp_path, moons() + 1e6)).remark is None


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0, 1, "2 [*] x - 1"), (0.2, 0.9, "2 [*] x - 1"), (0, 255, "x / 127.5 - 1"), (-2, 2, "x / numpy.abs")],
)
def test_float_pixels_that_are_not_from_minus_1_to_1_are_refused_with_the_formula(tmp_path, low, high, said):
    pixels = np.linspace(low, high, 2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)
    with pytest.raises(UserError, match=said):
        load_array(saved(tmp_path, pixels))


@pytest.mark.parametrize(("value", "said"), [(np.nan, "row 90 is not finite"), (3, "row 90 reaches from -1 to 3")])
def test_a_large_array_is_read_in_part_and_the_rest_is_checked_when_it_is_drawn(tmp_path, monkeypatch, value, said):
    monkeypatch.setattr("minicoulomb.data.arrays.BLOCK", 64 * 10)
    monkeypatch.setattr("minicoulomb.data.arrays.READ", 64 * 25)
    data = array_dataset(saved(tmp_path, with_value(np.full((100, 8, 8), -1.0), (90, 0, 0), value)))
    assert "one in 4 blocks of rows is checked now, the others when they are drawn" in data.remark
    data.rows(np.arange(90))
    for read in (data.rows, lambda: data.holding_out(2).draw(np.random.default_rng(0), 1000)):
        with pytest.raises(UserError, match=said):
            read()


def test_points_that_a_large_array_s_median_is_from_are_checked(tmp_path, monkeypatch):
    monkeypatch.setattr("minicoulomb.data.arrays.BLOCK", 2 * 10)
    monkeypatch.setattr("minicoulomb.data.arrays.READ", 2 * 25)
    points = np.random.default_rng(0).standard_normal((100, 2))
    with pytest.raises(UserError, match="row 13 is not finite"):
        array_dataset(saved(tmp_path, with_value(points, (13, 1), np.nan)))


def test_a_member_that_is_no_array_or_unfolds_too_far_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"no array")
    with pytest.raises(UserError, match=r"a\.npz: not a whole array"):
        load_array(path)
    monkeypatch.setattr("minicoulomb.files.UNFOLDED", 2**16)
    np.savez_compressed(path, x=np.zeros((2**10, 32, 32), np.uint8))
    with pytest.raises(UserError, match=r"x\.npy: .* bytes would unfold to"):
        load_array(path)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint32, np.float16])
@pytest.mark.parametrize("shape", [(500,), (500, 2)])
def test_integers_and_a_single_coordinate_are_points(tmp_path, dtype, shape):
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    data = array_dataset(saved(tmp_path, array))
    assert isinstance(data.array, np.memmap)
    assert data.shape == (shape[1:] or (1,))
    assert data.scale == pytest.approx(array.astype(float).std(axis=0).mean(), rel=0.02)
    assert (data.rows() + data.location == array.reshape(500, -1)).all()
    assert data.draw(np.random.default_rng(0), 9).dtype == np.float64


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (moons(20), "20 points are few: samples may copy them"),
        (np.random.default_rng(0).standard_normal((300, 101)), "101 coordinates are many"),
        (moons() * [1, 1000], r"from 0.93 \(column 1\) to .* \(column 2\): .* divide each column by its own"),
        (moons().round(0), "% of the points repeat others"),
        (
            np.c_[moons(), np.arange(400) % 3],
            "only whole numbers in column 3: leave it out if it is an index or a label",
        ),
    ],
)
def test_what_training_can_do_little_about_is_told(tmp_path, points, said):
    assert re.search(said, array_dataset(saved(tmp_path, points)).remark)
    assert array_dataset(saved(tmp_path, moons() * [1, 19])).remark is None


def test_one_image_is_no_data_set_of_its_rows(tmp_path):
    """Once (32, 32, 3) was taken for 32 grey images of 32x3."""
    with pytest.raises(UserError, match=r"shape \(32, 32, 3\): one image: must be several, .* numpy.stack\(images\)"):
        load_array(saved(tmp_path, np.zeros((32, 32, 3), np.uint8)))
    assert load_array(saved(tmp_path, np.zeros((4, 32, 3), np.uint8))).shape == (4, 32, 3, 1)
