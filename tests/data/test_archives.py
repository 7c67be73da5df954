"""Zip and tar archives are read without unpacking, in the order of their names, and nothing in them is trusted."""

import bz2
import gzip
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
    assert f"{source.path}: {name:.255}: {reason}" in str(caught.value)
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


# Archives that mean harm


def tar_header(name="a.png", size=0, kind=b"0", field=b""):
    """A header, with any bytes as the field of the size."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124 : 124 + len(field)] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def extended(key, text):
    """A POSIX header with one record."""
    length = len(key) + len(text) + 3
    length += len(str(length + len(str(length))))
    content = b"%d %s=%s\n" % (length, key, text)
    return tar_header("pax", len(content), b"x") + content + bytes(-len(content) % 512)


NEGATIVE = b"\xff" + (2**88 - 2048).to_bytes(11, "big")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tar_header() + tar_header("b.png", field=NEGATIVE), "negative"),
        (tar_header() + tar_header("b", kind=b"L", field=NEGATIVE), "negative"),
        (tar_header() + extended(b"size", b"-2048") + tar_header(), "negative"),
        (tar_header() + extended(b"size", b"9" * 100_000) + tar_header(), "no number"),  # \d+ hung tarfile
        (tar_header("x", 2**32, b"L") + tar_header(), "4,294,967,296 bytes of headers"),
        (tar_header("b.png", field=b"\x80" + (2**60).to_bytes(11, "big")) + tar_header(), "would unfold"),
        (extended(b"GNU.sparse.major", b"1") + tar_header(), "sparse"),
        (tar_header(kind=b"S"), "sparse"),
    ],
)
def test_a_tar_archive_that_lies_about_sizes_ends_in_a_message(tmp_path, content, said):
    path = tmp_path / "a.tar"
    path.write_bytes(content + bytes(1024))
    with pytest.raises(UserError, match=said):
        prepared(Tar(path), tmp_path, skip_bad=True)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.bz2"])
def test_a_stream_that_unfolds_to_far_more_than_is_stored_is_refused_before_it_does(tmp_path, name):
    compress = {"a.tar.gz": lambda content: gzip.compress(content, 1), "a.tar.bz2": bz2.compress}[name]
    path = tmp_path / name
    path.write_bytes(compress(tar_header("a.txt", 2**33, field=b"\x80" + (2**33).to_bytes(11, "big"))))
    with pytest.raises(UserError, match=r"would unfold to 8,589,93.*: at most 268,435,456"):
        prepared(Tar(path), tmp_path)


def test_long_headers_do_not_fill_memory(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(extended(b"comment", bytes(10**8)) + tar_header() + bytes(1024), 1))
    tracemalloc.start()
    with pytest.raises(UserError, match="100,000,0.. bytes of headers for one file: at most 262,144"):
        prepared(Tar(path), tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_damage_after_the_last_file_of_a_compressed_archive_is_told_by_its_checksum(tmp_path):
    path = write_tar(tmp_path / "a.tar.gz", contents(3))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # the CRC-32 of all
    path.write_bytes(content)
    with pytest.raises(UserError, match="CRC check failed"):
        prepared(Tar(path), tmp_path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_names_that_are_no_text_are_read_and_long_ones_refused(tmp_path, name):
    odd = {"a\n.png": encoded(0), "b\x1b[2J.png": encoded(1), "c\u202e.png": encoded(2)}
    if name == "a.tar.gz":
        odd["d\udcff.png"] = encoded(3)
    path = write(tmp_path / name, odd)
    assert levels(np.load(prepared(KINDS[name](path), tmp_path).path)) == list(range(len(odd)))
    said, rows = refused(KINDS[name](write(tmp_path / name, odd | {"e" * 5000 + ".png": encoded(4)})), tmp_path)
    assert said.endswith("a name of 5,004 characters: at most 1,024; make the archive again with shorter ones")
    assert rows == list(range(len(odd)))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_members_are_what_tarfile_reads(tmp_path, form):
    names = ["a.png", "ü語\udcff.jpg", "p" * 90 + "/" + "q" * 90, "b" * (90 if form == tarfile.USTAR_FORMAT else 400)]
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=form, pax_headers={"comment": "for all"}) as archive:
        for size, name in enumerate(names * 2):
            for kind in (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CONTTYPE):
                member = tarfile.TarInfo(name)
                member.type, member.linkname, member.mtime = kind, "a" * 99, 1.5
                member.size = 511 + size if kind in (tarfile.REGTYPE, tarfile.CONTTYPE) else 0
                archive.addfile(member, io.BytesIO(bytes(range(256)) * 3))
    with tarfile.open(path) as archive:
        known = [(m.name, m.size, m.offset_data, m.type) for m in archive.getmembers()]
    with Tar(path).opened() as archive:
        assert [(name.rstrip("/"), *rest) for name, *rest in Tar(path).members(archive)] == known


def test_numbers_of_64_bits_in_a_zip_that_lead_nowhere_are_told(tmp_path):
    path = write_zip(tmp_path / "a.zip", contents(2))
    content = path.read_bytes()
    end = content.rfind(b"PK\5\6")
    path.write_bytes(content[:end] + struct.pack("<4sLQL", b"PK\6\7", 0, 2**64 - 1, 1) + content[end:])
    with pytest.raises(UserError, match="cannot be read as zip"):
        prepared(Zip(path), tmp_path)
