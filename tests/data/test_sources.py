"""--data and prepare read images in every form, and recognise the form by its content, not by its name."""

import gzip
import io
import json
import os
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cli_cases import run, tree
from data_files import (
    cifar_files,
    contents,
    encoded,
    levels,
    names,
    write_folder,
    write_lmdb,
    write_tar,
    write_zip,
)

from minicoulomb.config import Config
from minicoulomb.data import sources
from minicoulomb.data.archives import Tar, Zip
from minicoulomb.data.cifar import Cifar
from minicoulomb.data.folder import Folder
from minicoulomb.data.lsun import Lmdb
from minicoulomb.data.sources import find, image_source, open_dataset
from minicoulomb.errors import UserError


def lmdb(path):
    pytest.importorskip("lmdb", reason="the package lmdb is not installed: pip install lmdb")
    return write_lmdb(path, {name.encode(): content for name, content in contents(9).items()})


IMAGES = {
    "folder": lambda path: write_folder(path, contents(9)),
    "zip": lambda path: write_zip(path, contents(9)),
    "tar": lambda path: write_tar(path, contents(9), "w"),
    "tar.gz": lambda path: write_tar(path, contents(9), "w:gz"),
    "tar.xz": lambda path: write_tar(path, contents(9), "w:xz"),
    "lmdb": lmdb,
}
SOURCES = {"folder": Folder, "zip": Zip, "tar": Tar, "tar.gz": Tar, "tar.xz": Tar, "lmdb": Lmdb}


@pytest.mark.parametrize("form", IMAGES)
def test_what_a_path_holds_is_told_by_its_content(tmp_path, form):
    path = IMAGES[form](tmp_path / "data.npy")  # a name that says something else
    assert find(str(path)).kind == "images"
    assert type(find(str(path)).content) is SOURCES[form]


@pytest.mark.parametrize("form", ["bin", "py"])
def test_cifar_is_told_from_other_archives_and_folders(tmp_path, form):
    files = cifar_files(form)[0]
    for path in (write_tar(tmp_path / "a", files), write_folder(tmp_path / "b", files)):
        assert type(image_source(path)) is Cifar


def test_arrays_are_told_from_images(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8))
    (tmp_path / "a.npz").rename(tmp_path / "a.zip")
    np.savez_compressed(tmp_path / "b", x=np.eye(2, 8), y=np.zeros(2))
    np.save(tmp_path / "c.npy", np.eye(2, 8))
    (tmp_path / "text.zip").write_text("no archive")
    for name in ("a.zip", "b.npz", "c.npy", "text.zip"):
        assert image_source(tmp_path / name) is None
    assert [find(str(tmp_path / name)).kind for name in ("a.zip", "b.npz", "c.npy")] == ["array", "points", "points"]
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 cut short")
    assert find(str(tmp_path / "cut.zip")).kind == "images"


@pytest.mark.parametrize("form", IMAGES)
def test_every_form_gives_the_same_array_and_is_prepared_once(tmp_path, form):
    path = IMAGES[form](tmp_path / "data")
    output = run("prepare", path, tmp_path / "a.npy", "--size", 8, "--crop", 16, "--workers", 2)
    assert output.endswith(f" of 20x30 and other sizes -> 8x8 grey\n9 images: {tmp_path / 'a.npy'}\n")
    assert levels(np.load(tmp_path / "a.npy")) == list(range(9))
    manifest = json.loads((tmp_path / "a.npy.json").read_text())
    assert manifest["settings"]["crop"] == 16
    assert manifest["source"]["kind"] == type(image_source(path)).kind
    assert "(unchanged)" in run("prepare", path, tmp_path / "a.npy", "--size", 8, "--crop", 16)
    listed = [json.loads(line)[0] for line in (tmp_path / "a.npy.files").read_text().splitlines()]
    assert listed == names(9)


@pytest.mark.parametrize("form", ["zip", "tar.gz", "lmdb"])
def test_an_archive_that_has_changed_is_prepared_again(tmp_path, form):
    path = IMAGES[form](tmp_path / "data")
    run("prepare", path, tmp_path / "a.npy", "--size", 8)
    if form == "lmdb":
        write_lmdb(path, {b"z": encoded(9)})
    else:
        write = write_zip if form == "zip" else write_tar
        write(path, contents(10))
    assert "10 images" in run("prepare", path, tmp_path / "a.npy", "--size", 8)


@pytest.mark.parametrize("form", IMAGES)
def test_training_takes_every_form_directly(tmp_path, form):
    path = IMAGES[form](tmp_path / "faces")
    options = ["--size", 8, "--g-width", 4, "--d-width", 4, "--batch-size", 4, "--steps", 1]
    run("train", "--data", path, *options, "--out", tmp_path / "runs")
    assert "checkpoints/step-0000001.npz" in tree(tmp_path / "runs" / "00000-faces")
    (cache,) = (tmp_path / "runs" / "cache").glob("*.npy")
    assert levels(np.load(cache)) == list(range(9))
    run("evaluate", tmp_path / "runs" / "00000-faces", "-n", 4)


def test_a_folder_is_recognised_once_and_listed_once(tmp_path, monkeypatch):
    folder, listed, recognised = write_folder(tmp_path / "faces", contents(9)), [], []
    monkeypatch.setattr(sources, "image_source", lambda path: recognised.append(path) or image_source(path))

    def watched(function, path):
        place = Path(str(path))  # shutil.rmtree lists by number
        if folder in (place, place.parent):
            listed.append(place.name)
        return function(path)

    for name in ("scandir", "listdir"):  # pathlib lists by one of these, too
        monkeypatch.setattr(os, name, partial(watched, getattr(os, name)))
    options = ["--size", 8, "--g-width", 4, "--d-width", 4, "--batch-size", 4, "--steps", 1, "--out", tmp_path / "runs"]
    run("train", "--data", folder, "--preset", "paper-images", "--dry-run")
    first = ["faces"]  # the first entry shows that it is no folder of text
    assert (listed, recognised) == (first, [folder])
    listed.clear()
    recognised.clear()
    run("train", "--data", folder, "--dry-run")
    assert (listed, recognised) == ([*first, "faces", "img_align_celeba"], [folder])
    for _ in ("decoded", "reused from the cache"):
        listed.clear()
        recognised.clear()
        run("train", "--data", folder, *options)
        assert (listed, recognised) == ([*first, "faces", "img_align_celeba"], [folder])
        listed.clear()
        run("prepare", folder, tmp_path / "faces.npy")
        assert listed == ["faces", "img_align_celeba"]


@pytest.mark.parametrize("form", ["bin", "py"])
def test_cifar_becomes_32x32_colour_images_by_default(tmp_path, form):
    files, training = cifar_files(form)
    path = write_tar(tmp_path / f"cifar-10-{form}.tar.gz", files)
    dataset = open_dataset(Config.of(data=str(path)), tmp_path / "cache")
    assert dataset.name == f"cifar-10-{form}"
    assert (dataset.array == training).all()
    assert "30 images" in run("prepare", path, tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").shape == (30, 32, 32, 3)


@pytest.mark.parametrize("form", ["zip", "tar.gz", "lmdb"])
def test_a_bad_item_is_named_and_left_out_only_on_demand(tmp_path, form):
    files = contents(3) | {"img_align_celeba/bad.jpg": encoded(0, "JPEG")[:-30]}
    if form == "lmdb":
        pytest.importorskip("lmdb", reason="the package lmdb is not installed: pip install lmdb")
        path = write_lmdb(tmp_path / "data", {name.encode(): content for name, content in files.items()})
    else:
        path = (write_zip if form == "zip" else write_tar)(tmp_path / "data", files)
    output = run("prepare", path, tmp_path / "a.npy", "--size", 8, status=1)
    assert f"\nError: {path}: img_align_celeba/bad.jpg: damaged" in output
    assert "--skip-bad" in output
    assert {name for name in tree(tmp_path) if name.startswith((".", "a.npy"))} == set()
    output = run("prepare", path, tmp_path / "a.npy", "--size", 8, "--skip-bad")
    assert "skipped img_align_celeba/bad.jpg: damaged" in output
    assert "3 images" in output


def test_a_file_larger_than_any_image_is_not_read(tmp_path):
    folder = write_folder(tmp_path / "photos", contents(2) | {"z.png": b""})
    with (folder / "z.png").open("wb") as file:
        file.truncate(2**40)
    assert "z.png: 1,099,511,627,776 bytes" in run("prepare", folder, tmp_path / "a.npy", status=1)


def test_what_is_no_source_of_images_is_told(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 8)))
    (tmp_path / "empty").mkdir()
    assert "must be a folder, zip or tar" in run("prepare", tmp_path / "a.npy", tmp_path / "b.npy", status=1)
    said = run("prepare", tmp_path / "empty", tmp_path / "b.npy", status=1)
    assert "no images; it must hold files that end in .jpg, .jpeg, .png or .webp; convert others, such as .heic" in said
    with pytest.raises(UserError, match="nothing is there"):
        find(str(tmp_path / "nowhere"))
    assert tree(tmp_path) == {"a.npy"}


def test_a_folder_s_images_are_found_in_every_folder_and_hidden_ones_left_out(tmp_path):
    shown = ("b/2.PNG", "a.jpeg", "b/10.webp", "c.JPG", "b.d/1.png")
    for name in (*shown, ".hidden.png", ".git/x.png", "notes.txt", "b/.d/y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    assert sorted(entry.name for entry in Folder(tmp_path).entries()) == sorted(shown)


def test_links_to_files_are_read_to_nowhere_told_and_to_folders_not_followed(tmp_path):
    folder = write_folder(tmp_path / "photos", {"a.png": encoded(1)})
    (folder / "b.png").symlink_to(folder / "a.png")
    (folder / "circle").symlink_to(folder)
    (folder / "z.png").symlink_to(tmp_path / "nowhere")
    assert "z.png: cannot be read (No such file" in run("prepare", folder, tmp_path / "a.npy", status=1)
    assert "2 images" in run("prepare", folder, tmp_path / "a.npy", "--skip-bad")


# What cannot be read


def zip_of(*names):
    """The bytes of a zip archive with these names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "<x/>")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.zip", b"\xef\xbb\xbf\n<!DOCTYPE html><html><title>Google Drive - Quota exceeded", "a web page"),
        ("a.tar.gz", b"<?xml version='1.0'?><Error><Code>AccessDenied", "a web page"),
        (
            "a.zip",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
            "a pointer of Git LFS, .*run git lfs pull",
        ),
        ("a.rar", b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
        ("a.zip", b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        ("a.parquet", b"PAR1", "a Parquet table: .*save its points as CSV, or its images"),
        ("a.feather", b"ARROW1\0\0", "an Arrow table: .*CSV"),
        ("train-images-idx3-ubyte", b"\0\0\x08\x03\0\0\xea\x60", r"MNIST's format: .*numpy.fromfile\(FILE"),
        ("a.csv.gz", gzip.compress(b"1,2\n3,4\n", mtime=0), "compressed, and no tar archive: unpack it"),
        ("a.xlsx", zip_of("[Content_Types].xml", "xl/workbook.xml"), "an Office file: .*save its table as CSV UTF-8"),
        ("a.h5", b"\x89HDF\r\n", "an HDF5 file"),
        ("data_batch_1", b"\x80\x02}", "a pickle, which could run programs"),
        ("a.jpg", encoded(0, "JPEG"), "a single image: .*name its folder"),
        ("a.png", encoded(0), "a single image: .*name its folder"),
    ],
)
def test_a_file_of_another_form_is_named_for_what_it_is(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: {said}"):
        find(str(tmp_path / name))


def test_cifar_100_is_named_in_a_folder_and_in_an_archive(tmp_path):
    for number, name in enumerate(("cifar-100-python/train", "cifar-100-binary/train.bin")):
        folder = write_folder(tmp_path / str(number), {name: b"", "cifar-100-python/meta": b""})
        archive = write_tar(tmp_path / f"{number}.tar.gz", {"cifar-100-python/file.txt~": b"", name: b""})
        for path in (folder, folder / Path(name).parent, archive):
            with pytest.raises(UserError, match="CIFAR-100: must be CIFAR-10"):
                find(str(path))


def test_pipes_and_devices_are_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/urandom")):
        with pytest.raises(UserError, match="a pipe or a device: must be a folder"):
            find(str(path))
    folder = write_folder(tmp_path / "photos", contents(2))
    os.mkfifo(folder / "y.png")
    (folder / "z.png").symlink_to("/dev/urandom")
    os.mkfifo(folder / "data.mdb")
    output = run("prepare", folder, tmp_path / "a.npy", "--size", 8, "--skip-bad")
    assert "skipped y.png: a pipe or a device" in output
    assert "skipped z.png: a pipe or a device" in output
    assert "2 images" in output
    cifar = write_folder(tmp_path, cifar_files("bin")[0])
    os.mkfifo(cifar / "cifar-10-batches-bin" / "data_batch_6.bin")
    assert "30 images" in run("prepare", cifar / "cifar-10-batches-bin", tmp_path / "b.npy")


def test_links_that_lead_in_circles_are_named_and_left_out(tmp_path):
    folder = write_folder(tmp_path / "photos", contents(2))
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "folder.png").symlink_to(folder)
    (folder / "nowhere").symlink_to(folder / "nowhere")
    assert "self.png: cannot be read (Too many levels" in run("prepare", folder, tmp_path / "a.npy", status=1)
    assert "2 images" in run("prepare", folder, tmp_path / "a.npy", "--size", 8, "--skip-bad")


def test_paths_that_are_too_long_are_told(tmp_path):
    for path in (tmp_path / ("x" * 300), tmp_path / ("x/" * 2500)):
        with pytest.raises(UserError, match=r"cannot be found \(File name too long\)"):
            find(str(path))
    folder = write_folder(tmp_path / "photos", contents(2))
    output = run("prepare", folder, tmp_path / ("x" * 250 + ".npy"), status=1)
    assert "cannot be written (File name too long)" in output


def test_names_that_are_no_text_are_prepared_and_trained_on(tmp_path):
    odd = {
        "a\udcff.png": encoded(0),
        "b\n\x1b[2J.png": encoded(1),
        "c\u202e.png": encoded(2),
        "d\udcff/\t.png": encoded(3),
    }
    folder = write_folder(tmp_path / "photos\udcff\n", odd)
    config = Config.of(data=str(folder), size=8)
    for _ in range(2):
        assert levels(open_dataset(config, tmp_path / "cache").array) == [0, 1, 2, 3]
    (folder / "c\u202e.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="c\u202e.png: begins with"):
        open_dataset(config, tmp_path / "cache")


@pytest.mark.parametrize("change", ["longer", "shorter", "gone", "a folder"])
def test_a_file_that_changes_after_it_was_listed_is_told(tmp_path, change):
    source = Folder(write_folder(tmp_path / "photos", contents(1)))
    (entry,) = source.entries()
    path = source.path / entry.name
    if change in ("longer", "shorter"):
        path.write_bytes(encoded(0) + b"x" if change == "longer" else encoded(0)[:-1])
    else:
        path.unlink()
        if change == "a folder":
            path.mkdir()
    with source.reader() as read, pytest.raises(UserError, match="has changed since|cannot be read"):
        read(entry)
