"""The cache of a folder: decoded once, whole or not at all, and made again when anything has changed."""

import hashlib
import json
import os
import shutil
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from minicoulomb.data import cache
from minicoulomb.data.arrays import load_array
from minicoulomb.data.cache import cache_path, prepare
from minicoulomb.data.folder import Folder
from minicoulomb.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Five images, the i-th of grey level 50 i."""
    (tmp_path / "photos").mkdir()
    for i in range(5):
        Image.new("L", (20 + i, 30), 50 * i).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(cache, "BATCH", 2)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_images_are_decoded_in_order_and_memory_mapped(folder, tmp_path):
    heard = []
    report = prepare(
        Folder(folder), tmp_path / "a.npy", size=8, progress=lambda done, total: heard.append((done, total))
    )
    assert (report.n, report.skipped, report.reused) == (5, [], False)
    array = load_array(report.path)
    assert isinstance(array, np.memmap)
    assert array.shape == (5, 8, 8, 3)
    assert array[:, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]
    assert heard == [(2, 5), (4, 5), (5, 5)]
    assert names(tmp_path) == ["a.npy", "a.npy.files", "a.npy.json", "photos"]


def test_an_unchanged_folder_is_not_decoded_again(folder, tmp_path, monkeypatch):
    prepare(Folder(folder), tmp_path / "a.npy", size=8)
    monkeypatch.setattr(cache, "decoded", None)
    assert prepare(Folder(folder), tmp_path / "a.npy", size=8).reused


def add(folder):
    Image.new("L", (9, 9)).save(folder / "z.png")


def change(folder):
    Image.new("L", (33, 33), 9).save(folder / "2.png")


def touch(folder):
    os.utime(folder / "2.png", ns=(1, 1))


@pytest.mark.parametrize("act", [add, change, touch, lambda folder: (folder / "2.png").unlink()])
def test_a_changed_folder_is_decoded_again(folder, tmp_path, act):
    prepare(Folder(folder), tmp_path / "a.npy", size=8)
    act(folder)
    report = prepare(Folder(folder), tmp_path / "a.npy", size=8)
    assert not report.reused
    assert len(load_array(report.path)) == report.n == len(names(folder))


@pytest.mark.parametrize("settings", [{"size": 16}, {"size": 8, "crop": 10}, {"size": 8, "channels": 1}])
def test_other_settings_are_another_cache(folder, tmp_path, settings):
    prepare(Folder(folder), tmp_path / "a.npy", size=8)
    assert not prepare(Folder(folder), tmp_path / "a.npy", **settings).reused


@pytest.mark.parametrize(
    "damage", ["manifest gone bad", "manifest of a version before", "array replaced", "array truncated", "list removed"]
)
def test_a_cache_that_is_not_what_its_manifest_says_is_made_again(folder, tmp_path, damage):
    path = prepare(Folder(folder), tmp_path / "a.npy", size=8).path
    if damage == "manifest gone bad":
        (tmp_path / "a.npy.json").write_text('{"settings"')
    elif damage == "manifest of a version before":
        (tmp_path / "a.npy.json").write_text('{"settings": {"version": 1}, "skipped": [], "array": [1, 2]}')
    elif damage == "list removed":
        (tmp_path / "a.npy.files").unlink()
    elif damage == "array replaced":
        np.save(path, np.zeros((5, 8, 8, 3), np.uint8))
    else:
        path.write_bytes(path.read_bytes()[:-1])
    assert not prepare(Folder(folder), path, size=8).reused
    assert load_array(path)[4, 0, 0, 0] == 200


def test_a_file_that_is_no_cache_is_never_overwritten(folder, tmp_path):
    (tmp_path / "a.npy").write_text("precious")
    with pytest.raises(UserError, match="not a cache"):
        prepare(Folder(folder), tmp_path / "a.npy", size=8)
    assert (tmp_path / "a.npy").read_text() == "precious"


def test_a_bad_image_stops_the_work_and_leaves_nothing(folder, tmp_path):
    (folder / "3.png").write_text("no image")
    with pytest.raises(UserError, match=r"3\.png.*--skip-bad"):
        prepare(Folder(folder), tmp_path / "a.npy", size=8)
    assert names(tmp_path) == ["photos"]


def test_skipped_images_are_listed_and_leave_no_row(folder, tmp_path):
    (folder / "3.png").write_text("no image")
    report = prepare(Folder(folder), tmp_path / "a.npy", size=8, skip_bad=True)
    assert [name for name, _ in report.skipped] == ["3.png"]
    assert load_array(report.path)[:, 0, 0, 0].tolist() == [0, 50, 100, 200]
    again = prepare(Folder(folder), tmp_path / "a.npy", size=8, skip_bad=True)
    assert again == report._replace(reused=True)
    with pytest.raises(UserError, match=r"3\.png"):
        prepare(Folder(folder), tmp_path / "a.npy", size=8)


def test_a_folder_of_bad_images_alone_is_told(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("no image")
    with pytest.raises(UserError, match="none of its 1 images"):
        prepare(Folder(tmp_path / "photos"), tmp_path / "a.npy", size=8, skip_bad=True)
    assert names(tmp_path) == ["photos"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interruption_leaves_nothing_half_written(folder, tmp_path, monkeypatch, error):
    def interrupt(done, total):
        if done == 4:
            raise error

    with pytest.raises((KeyboardInterrupt, UserError)) as caught:
        prepare(Folder(folder), tmp_path / "a.npy", size=8, progress=interrupt)
    assert names(tmp_path) == ["photos"]
    if isinstance(error, OSError):
        assert "No space left" in str(caught.value)


def test_a_crash_between_the_two_files_is_found(folder, tmp_path, monkeypatch):
    prepare(Folder(folder), tmp_path / "a.npy", size=8)
    old = (tmp_path / "a.npy").read_bytes()
    add(folder)
    prepare(Folder(folder), tmp_path / "a.npy", size=8)
    (tmp_path / "a.npy").write_bytes(old)  # as if only the manifest had been renamed
    assert not prepare(Folder(folder), tmp_path / "a.npy", size=8).reused
    assert len(load_array(tmp_path / "a.npy")) == 6


def test_a_full_disk_is_told_before_the_work(folder, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 50, 50))
    with pytest.raises(UserError, match="free"):
        prepare(Folder(folder), tmp_path / "a.npy", size=8)


def test_the_cache_s_name_depends_on_folder_and_settings(folder, tmp_path):
    paths = {cache_path(folder, size, crop, c, tmp_path) for size in (8, 16) for crop in (None, 9) for c in (1, 3)}
    assert len(paths) == 8
    assert {path.parent for path in paths} == {tmp_path}
    assert all(path.name.startswith("photos-") and path.suffix == ".npy" for path in paths)
    assert cache_path(folder / ".." / "photos", 8, None, 3, tmp_path) in paths


def test_the_manifest_tells_settings_and_checksums_and_the_list_every_file(folder, tmp_path):
    path = prepare(Folder(folder), tmp_path / "a.npy", size=8, crop=20).path
    manifest = json.loads((tmp_path / "a.npy.json").read_text())
    assert manifest["settings"] == {"version": 2, "size": 8, "crop": 20, "channels": 3, "filter": "LANCZOS"}
    assert manifest["array"]["sha256"] == hashlib.sha256(np.load(path).tobytes()).hexdigest()
    assert manifest["files"] == {"n": 5, "sha256": hashlib.sha256((tmp_path / "a.npy.files").read_bytes()).hexdigest()}
    entries = [json.loads(line) for line in (tmp_path / "a.npy.files").read_text().splitlines()]
    status = [(folder / f"{i}.png").stat() for i in range(5)]
    assert entries == [[f"{i}.png", status[i].st_size, [status[i].st_mtime_ns]] for i in range(5)]


def test_a_name_that_is_not_an_array_s_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match=r"\.npy"):
        prepare(Folder(folder), tmp_path / "a.npz", size=8)
