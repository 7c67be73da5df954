"""LSUN's databases, written here with the package lmdb as they are distributed."""

import hashlib
import random
import struct
import sys
from contextlib import suppress

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
    pytest.importorskip("lmdb", reason="the package lmdb is not installed: pip install lmdb")
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
        read(Entry("nowhere", 1, [2**40]))


@pytest.mark.parametrize("n", [1, 300, 9000])
def test_every_value_of_a_tree_of_any_depth_is_found_after_many_were_removed(tmp_path, n):
    lmdb, rng = pytest.importorskip("lmdb", reason="the package lmdb is not installed"), random.Random(n)
    with lmdb.open(str(tmp_path / "db"), map_size=2**28) as environment:
        for _ in range(3):
            with environment.begin(write=True) as transaction:
                for _ in range(n):
                    sizes = rng.choice([1, 40, 500]), rng.choice([0, 10, 1000, 5000])
                    transaction.put(*map(rng.randbytes, sizes))
            with environment.begin(write=True) as transaction:
                for key in rng.sample(sorted(bytes(key) for key, _ in transaction.cursor()), n // 2):
                    transaction.delete(key)
        with environment.begin() as transaction:
            stored = [(key.decode("latin-1"), value) for key, value in transaction.cursor()]
    source = Lmdb(tmp_path / "db")
    with source.reader() as read:
        assert [(entry.name, read(entry)) for entry in source.entries()] == stored


def test_a_database_cut_short_anywhere_is_told_and_no_bus_error_ends_the_process(values, tmp_path):
    source = Lmdb(write_lmdb(tmp_path / "db", values))
    file = tmp_path / "db" / "data.mdb"
    content = file.read_bytes()
    for keep in range(0, len(content), 4096):
        file.write_bytes(content[:keep])
        with pytest.raises(UserError, match="cannot be read as lmdb .*(cut short|buffer)"):
            list(source.entries())


def test_a_damaged_database_gives_an_error_or_its_values(values, tmp_path):
    source, rng = Lmdb(write_lmdb(tmp_path / "db", values)), random.Random(0)
    file = tmp_path / "db" / "data.mdb"
    content = file.read_bytes()
    for number in range(300):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 20])):  # in the heads of pages more often than elsewhere
            at = rng.randrange(len(content))
            damaged[at // 4096 * 4096 + at % 32 if number % 2 else at] = rng.randrange(256)
        file.write_bytes(damaged)
        with suppress(UserError), source.reader() as read:
            assert len([read(entry) for entry in source.entries()]) in (0, 8)  # 0: of the transaction before


def test_a_tree_that_leads_in_a_circle_ends(values, tmp_path):
    file = write_lmdb(tmp_path / "db", values) / "data.mdb"
    content = bytearray(file.read_bytes())
    root = struct.unpack_from("<Q", content, 4096 + 128)[0]
    struct.pack_into(
        "<Q4H2H4H", content, root * 4096, root, 0, 1, 20, 4096, 40, 40, root, 0, 0, 0
    )  # a branch to itself
    struct.pack_into("<4H", content, root * 4096 + 40, root, 0, 0, 0)
    file.write_bytes(content)
    with pytest.raises(UserError, match="lead in a circle"):
        list(Lmdb(tmp_path / "db").entries())


def test_other_databases_and_the_package_lmdb_are_not_needed(values, tmp_path, monkeypatch):
    path = write_lmdb(tmp_path / "db", values)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    assert len(list(Lmdb(path).entries())) == 8
    content = (path / "data.mdb").read_bytes()
    for magic in ((0xBEEFC0DE).to_bytes(4, "big"), content[16:20]):
        (path / "data.mdb").write_bytes(content[:16] + magic + b"\2" + content[21:])
        assert is_lmdb(path)
        with pytest.raises(UserError, match="no file of LMDB's format 1 in little-endian"):
            list(Lmdb(path).entries())
