"""What NumPy has saved becomes a data set, or is refused with the reason."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from minicoulomb.data.arrays import array_dataset, load_array
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
        (np.zeros(8), "shape"),
        (np.zeros((2, 2, 2, 2, 1)), "shape"),
        (np.array([{}, {}]), "not a whole array"),
    ],
)
def test_an_array_that_cannot_be_trained_on_is_refused(tmp_path, array, said):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=said) as caught:
        load_array(tmp_path / "a.npy")
    assert "a.npy" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00v\x00{'descr'", b"PK\x03\x04 broken"])
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
    assert data.bound == 2 * np.abs(points).max()
    assert data.name == "a"
    images = array_dataset(saved(tmp_path, PIXELS))
    assert (images.scale, images.bound, images.shape) == (1, 1, (8, 8, 3))


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
