"""LSUN's databases, written here with the package lmdb as they are distributed."""

import hashlib
import sys

import numpy as np
import pytest
from data_files import encoded, levels, write_lmdb

from minicoulomb.data.cache import prepare
from minicoulomb.data.lsun import Lmdb, is_lmdb
from minicoulomb.data.source import Entry
from minicoulomb.errors import UserError


@pytest.fixture
def values():
    """Images as JPEG and WebP in turn, under keys as LSUN's: SHA-1 in hexadecimal."""
    pytest.importorskip("lmdb", reason="the package lmdb is not installed: pip install '.[lsun]'")
    forms = [("JPEG", {"quality": 95}), ("WEBP", {"lossless": True})]
    files = [encoded(i, form, **options) for i in range(8) for form, options in [forms[i % 2]]]
    return {hashlib.sha1(content).hexdigest().encode(): content for content in files}


def test_jpeg_and_webp_values_come_in_the_order_of_their_keys(values, tmp_path):
    source = Lmdb(write_lmdb(tmp_path / "bedroom_train_lmdb", values))
    report = prepare(source, tmp_path / "a.npy", size=8)
    order = [list(values).index(key) for key in sorted(values)]
    assert levels(np.load(report.path)) == order != list(range(8))
    assert [entry.size for entry in source.entries()] == [len(values[key]) for key in sorted(values)]


def test_the_file_alone_and_a_read_only_folder_without_its_lock_do(values, tmp_path):
    path = write_lmdb(tmp_path / "bedroom_train_lmdb", values)
    (path / "lock.mdb").unlink()
    path.chmod(0o555)
    for place in (path, path / "data.mdb"):
        assert is_lmdb(place)
        assert len(list(Lmdb(place).entries())) == 8
    assert [item.name for item in path.iterdir()] == ["data.mdb"]


def test_keys_may_be_any_bytes(values, tmp_path):
    pictures = {b"\x00\xff": encoded(3), b"\x80": encoded(4), b"plain": encoded(5)}
    report = prepare(Lmdb(write_lmdb(tmp_path / "db", pictures)), tmp_path / "a.npy", size=8)
    assert levels(np.load(report.path)) == [3, 5, 4]


def test_a_value_that_is_no_image_is_named_or_skipped(values, tmp_path):
    bad = {b"%040d" % 0: b"12345", b"%040d" % 1: encoded(0, "JPEG")[:-20], b"%040d" % 2: b""}
    source = Lmdb(write_lmdb(tmp_path / "db", values | bad))
    with pytest.raises(UserError, match=f"{'0' * 40}: begins with 31 32 33 34: must be .*--skip-bad"):
        prepare(source, tmp_path / "a.npy", size=8)
    report = prepare(source, tmp_path / "a.npy", size=8, skip_bad=True)
    assert [name for name, _ in report.skipped] == [key.decode() for key in bad]
    assert ["begins" in reason or "damaged" in reason or "empty" in reason for _, reason in report.skipped] == 3 * [
        True
    ]
    assert report.n == 8


def test_a_database_that_is_cut_short_or_empty_is_told(values, tmp_path):
    with pytest.raises(UserError, match="no images"):
        prepare(Lmdb(write_lmdb(tmp_path / "empty", {})), tmp_path / "a.npy", size=8)
    path = write_lmdb(tmp_path / "db", values)
    (path / "data.mdb").write_bytes((path / "data.mdb").read_bytes()[:100])
    with pytest.raises(UserError, match="db: cannot be read as lmdb"):
        prepare(Lmdb(path), tmp_path / "a.npy", size=8)


def test_an_entry_that_has_gone_is_told(values, tmp_path):
    with Lmdb(write_lmdb(tmp_path / "db", values)).reader() as read, pytest.raises(UserError, match="no longer"):
        read(Entry("nowhere", 1, []))


def test_without_the_package_the_line_to_install_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "data.mdb").write_bytes(bytes(16) + 0xBEEFC0DE.to_bytes(4, "little"))
    with pytest.raises(UserError, match=r"pip install 'minicoulomb\[lsun\]'"):
        prepare(Lmdb(tmp_path / "db"), tmp_path / "a.npy", size=8)
