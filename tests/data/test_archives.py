"""Zip and tar archives are read without unpacking, in the order of their names, and nothing in them is trusted."""

import io
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from data_files import contents, encoded, levels, names, picture, write_tar, write_zip

from minicoulomb.data.archives import Tar, Zip
from minicoulomb.data.cache import prepare
from minicoulomb.errors import UserError

KINDS = {"a.zip": Zip, "a.tar": Tar, "a.tar.gz": Tar, "a.tar.bz2": Tar, "a.tar.xz": Tar}


def write(path, files):
    mode = {".tar": "w", ".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix)
    return write_tar(path, files, mode) if mode else write_zip(path, files)


def prepared(source, tmp_path, **options):
    return prepare(source, tmp_path / "out.npy", size=8, **options)


def refused(source, tmp_path):
    """The error that a bad item causes; with skip_bad the others are there, and it is listed."""
    with pytest.raises(UserError, match="--skip-bad") as caught:
        prepared(source, tmp_path)
    report = prepared(source, tmp_path, skip_bad=True)
    ((name, reason),) = report.skipped
    assert f"{source.path}: {name}: {reason}" in str(caught.value)
    return f"{name}: {reason}", levels(np.load(report.path))


@pytest.mark.parametrize("name", KINDS)
def test_every_archive_gives_its_images_in_the_order_of_their_names(tmp_path, name):
    files = contents(9)
    mixed = {key: files[key] for key in sorted(files, key=lambda key: hash_of(key))}
    assert list(mixed) != sorted(mixed)
    mixed |= {"readme.txt": b"text", "__MACOSX/._000001.png": b"x", ".hidden/a.png": b"x"}
    report = prepared(KINDS[name](write(tmp_path / name, mixed)), tmp_path)
    assert levels(np.load(report.path)) == list(range(9))
    assert report.n == 9


def hash_of(text):
    return zlib.crc32(text.encode())


@pytest.mark.parametrize("name", KINDS)
def test_a_bad_image_between_others_leaves_them_in_order(tmp_path, name):
    files = contents(9)
    mixed = {key: files[key] for key in sorted(files, key=hash_of)}
    mixed[names(9)[4]] = b"no image"
    said, rows = refused(KINDS[name](write(tmp_path / name, mixed)), tmp_path)
    assert said.startswith(names(9)[4] + ": begins with 6e 6f")
    assert rows == [0, 1, 2, 3, 5, 6, 7, 8]


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("path", ["../out.png", "x/../../out.png", "/etc/out.png", "C:/out.png", "..\\out.png"])
def test_a_path_that_leads_out_is_refused_by_name(tmp_path, name, path):
    said, rows = refused(KINDS[name](write(tmp_path / name, contents(2) | {path: encoded(5)})), tmp_path)
    assert said.startswith(path)
    assert "leads out of the archive" in said
    assert rows == [0, 1]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_name_that_comes_twice_is_refused(tmp_path, name):
    path = write(tmp_path / name, contents(3))
    if name == "a.zip":
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(names(3)[1], encoded(7))
    else:
        files = [*contents(3).items(), (names(3)[1], encoded(7))]
        with tarfile.open(path, "w:gz") as archive:
            for key, content in files:
                member = tarfile.TarInfo(key)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    said, rows = refused(KINDS[name](path), tmp_path)
    assert said.startswith(f"{names(3)[1]} (2): a name that an earlier file has")
    assert rows == [0, 1, 2]


# Zip


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_stored_and_deflated_files_are_read(tmp_path, compression):
    path = write_zip(tmp_path / "a.zip", contents(3), compression)
    assert levels(np.load(prepared(Zip(path), tmp_path).path)) == [0, 1, 2]


def test_other_methods_encryption_and_links_are_refused(tmp_path):
    link = zipfile.ZipInfo("img_align_celeba/z.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    for what in ("method 12", "encrypted", "a link"):
        path = write_zip(tmp_path / f"{what[0]}.zip", contents(2))
        with zipfile.ZipFile(path, "a") as archive:
            if what == "a link":
                archive.writestr(link, "/etc/passwd")
            else:
                method = zipfile.ZIP_BZIP2 if what == "method 12" else zipfile.ZIP_STORED
                archive.writestr("img_align_celeba/z.png", encoded(9), method)
        if what == "encrypted":
            content = bytearray(path.read_bytes())
            content[content.rfind(b"PK\1\2") + 8] |= 1
            path.write_bytes(content)
        said, rows = refused(Zip(path), tmp_path)
        assert said.startswith("img_align_celeba/z.png")
        assert what in said
        assert rows == [0, 1]
        (tmp_path / "out.npy").unlink()


def record_of(content, name):
    """Where the directory's record of a file begins."""
    at = content.rfind(name.encode())
    return at - 46


@pytest.mark.parametrize(("declared", "said"), [(10, "more are there"), (10**6, "bytes are declared and")])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_file_of_another_size_than_it_declares_is_refused(tmp_path, declared, said, compression):
    path = write_zip(tmp_path / "a.zip", contents(3), compression)
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, record_of(content, names(3)[1]) + 24, declared)
    path.write_bytes(content)
    message, rows = refused(Zip(path), tmp_path)
    assert said in message
    assert rows == [0, 2]


def test_a_bomb_is_not_inflated_beyond_what_it_declares(tmp_path):
    path = write_zip(tmp_path / "a.zip", contents(1) | {"img_align_celeba/z.png": bytes(10**8)})
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, record_of(content, "img_align_celeba/z.png") + 24, 1000)
    path.write_bytes(content)
    source = Zip(path)
    (bomb,) = (entry for entry in source.entries() if entry.name.endswith("z.png"))
    tracemalloc.start()
    with source.reader() as read, pytest.raises(UserError, match="1,000 bytes are declared and more are there"):
        read(bomb)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()
    struct.pack_into("<L", content, record_of(content, "img_align_celeba/z.png") + 24, 2**31)
    path.write_bytes(content)
    said, _ = refused(source, tmp_path)
    assert "2,147,483,648 bytes: no image may have more" in said


@pytest.mark.parametrize("where", ["data", "crc"])
def test_a_corrupt_member_is_told_by_its_crc(tmp_path, where):
    path = write_zip(tmp_path / "a.zip", contents(3), zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    if where == "data":
        content[content.find(encoded(1)) + len(encoded(1)) // 2] ^= 1
    else:
        content[record_of(content, names(3)[1]) + 16] ^= 1
    path.write_bytes(content)
    said, rows = refused(Zip(path), tmp_path)
    assert said.startswith(f"{names(3)[1]}: damaged in the archive (wrong CRC-32)")
    assert rows == [0, 2]


def test_a_corrupt_deflated_member_is_told(tmp_path):
    files = contents(2) | {"img_align_celeba/z.png": bytes(1000) + encoded(3)}
    path = write_zip(tmp_path / "a.zip", files)
    content = bytearray(path.read_bytes())
    local = content.find(b"img_align_celeba/z.png") + len("img_align_celeba/z.png")
    content[local : local + 8] = b"\xff" * 8
    path.write_bytes(content)
    said, _ = refused(Zip(path), tmp_path)
    assert "damaged in the archive" in said


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_zip_archive_that_is_cut_short_is_told(tmp_path, keep):
    path = write_zip(tmp_path / "a.zip", contents(20))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match=r"a\.zip: cannot be read as zip .*cut short"):
        prepared(Zip(path), tmp_path, skip_bad=True)


def test_a_directory_that_is_damaged_is_told(tmp_path):
    path = write_zip(tmp_path / "a.zip", contents(3))
    path.write_bytes(path.read_bytes().replace(b"PK\1\2", b"PK\1\3"))
    with pytest.raises(UserError, match="directory is damaged"):
        prepared(Zip(path), tmp_path)


def test_an_archive_behind_other_bytes_and_before_a_comment_is_read(tmp_path):
    path = write_zip(tmp_path / "a.zip", contents(3))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"a comment " * 100
    path.write_bytes(b"#!/bin/sh\n" * 50 + path.read_bytes())
    assert levels(np.load(prepared(Zip(path), tmp_path).path)) == [0, 1, 2]


def test_sizes_and_counts_of_64_bits_are_read(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents(3).items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(content)
    entries = list(Zip(path).entries())
    assert [entry.size for entry in entries] == [len(content) for content in contents(3).values()]
    content = bytearray(path.read_bytes())
    # What an archive of more than 4 GiB has: the limits in the record, and the numbers in an extra field behind.
    record, name = record_of(content, names(3)[2]), names(3)[2].encode()
    size, position = len(encoded(2)), entries[2].where[0]
    extra = struct.pack("<2H3Q", 1, 24, size, size, position)
    struct.pack_into("<2L", content, record + 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<L", content, record + 42, 0xFFFFFFFF)
    struct.pack_into("<H", content, record + 30, len(extra))
    end = content.rfind(b"PK\5\6")
    (start,) = struct.unpack_from("<L", content, end + 16)
    body, record_bytes = content[:record], content[record : record + 46] + name + extra
    directory = len(body) + len(record_bytes) - start
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 3, 3, directory, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(body) + len(record_bytes), 1)
    limits = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(body + record_bytes + end64 + locator + limits)
    assert list(Zip(path).entries()) == entries
    assert levels(np.load(prepared(Zip(path), tmp_path).path)) == [0, 1, 2]


def test_the_directory_is_what_zipfile_reads(tmp_path):
    path = write_zip(tmp_path / "a.zip", contents(5) | {"bücher/ü.png": encoded(3), "語.png": encoded(4)})
    with zipfile.ZipFile(path) as archive:
        known = [(i.filename, i.file_size) for i in archive.infolist() if i.filename.endswith(".png")]
    assert [(entry.name, entry.size) for entry in Zip(path).entries()] == known


# Tar


def test_links_and_what_is_no_plain_file_are_refused(tmp_path):
    for kind, said in ((tarfile.SYMTYPE, "a link"), (tarfile.LNKTYPE, "a link"), (tarfile.FIFOTYPE, "not a plain")):
        path = write_tar(tmp_path / "a.tar", contents(2), "w")
        with tarfile.open(path, "a") as archive:
            member = tarfile.TarInfo("img_align_celeba/z.png")
            member.type, member.linkname = kind, "img_align_celeba/000001.png"
            archive.addfile(member)
        message, rows = refused(Tar(path), tmp_path)
        assert message.startswith("img_align_celeba/z.png")
        assert said in message
        assert rows == [0, 1]
        (tmp_path / "out.npy").unlink()


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.8])
def test_a_tar_archive_that_is_cut_short_is_told(tmp_path, name, keep):
    rng = np.random.default_rng(0)
    files = {f"{i}.jpg": rng.bytes(2000) for i in range(20)}  # large beside the zeros at the end
    path = write(tmp_path / name, files)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match=r"a\.tar.*cannot be read as tar"):
        prepared(Tar(path), tmp_path, skip_bad=True)


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    path = write_tar(tmp_path / "a.tar", contents(5), "w")
    content = bytearray(path.read_bytes())
    at = content.find(names(5)[3].encode())
    content[at + 150] ^= 1  # the checksum
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"neither a header nor the end at byte {at:,}"):
        prepared(Tar(path), tmp_path)


def test_zeros_must_mark_the_end_and_one_block_of_them_does(tmp_path):
    path = write_tar(tmp_path / "a.tar", contents(3), "w")
    with tarfile.open(path) as archive:
        archive.getmembers()
        end = archive.offset
    content = path.read_bytes()
    path.write_bytes(content[: end + 512])
    assert levels(np.load(prepared(Tar(path), tmp_path).path)) == [0, 1, 2]
    path.write_bytes(content[:end])
    with pytest.raises(UserError, match="cut short"):
        prepared(Tar(path), tmp_path)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_and_long_names_are_read(tmp_path, form):
    files = {f"{'folder/' * 20}{name}": content for name, content in contents(3).items()}
    path = write_tar(tmp_path / "a.tar.gz", files, "w:gz", format=form)
    assert levels(np.load(prepared(Tar(path), tmp_path).path)) == [0, 1, 2]


def test_zstandard_is_told_how_to_unpack(tmp_path):
    (tmp_path / "a.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd rest")
    with pytest.raises(UserError, match="use zstd -d first"):
        Tar(tmp_path / "a.tar.zst")


def test_an_archive_without_images_is_told(tmp_path):
    for name in ("a.zip", "a.tar.gz"):
        with pytest.raises(UserError, match=f"{name}: no images"):
            prepared(KINDS[name](write(tmp_path / name, {"readme.txt": b"text"})), tmp_path)


def test_nothing_is_written_beside_the_cache(tmp_path):
    path = write_zip(tmp_path / "a.zip", contents(3))
    prepared(Zip(path), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "out.npy", "out.npy.files", "out.npy.json"]


def test_celeba_is_cut_at_the_paper_s_108(tmp_path):
    file = io.BytesIO()
    image = picture(0, (178, 218))
    image.paste((200, 0, 0), (35, 55, 143, 163))
    image.save(file, "JPEG", quality=95, subsampling=0)
    path = write_zip(tmp_path / "img_align_celeba.zip", {"img_align_celeba/000001.jpg": file.getvalue()})
    array = np.load(prepare(Zip(path), tmp_path / "out.npy", size=64, crop=108).path)
    assert np.abs(array.astype(int) - [200, 0, 0]).max() < 12
