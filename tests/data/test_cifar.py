"""CIFAR-10 in both formats, written byte by byte as its page describes them; and pickles that mean harm."""

import os
import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from data_files import cifar_files, cifar_pickle, cifar_pixels, cifar_records, write_folder, write_tar

from minicoulomb.data.cache import prepare
from minicoulomb.data.cifar import Cifar, unpickle
from minicoulomb.errors import UserError


def write(tmp_path, files, packed):
    return write_tar(tmp_path / "cifar-10.tar.gz", files) if packed else write_folder(tmp_path, files)


def prepared(path, tmp_path, **options):
    report = prepare(Cifar(path), tmp_path / "out.npy", size=32, **options)
    return report, np.load(report.path)


@pytest.mark.parametrize("form", ["bin", "py"])
@pytest.mark.parametrize("packed", [True, False], ids=["tar.gz", "folder"])
def test_both_formats_give_the_training_images_pixel_by_pixel(tmp_path, form, packed):
    files, training = cifar_files(form)
    report, array = prepared(write(tmp_path, files, packed), tmp_path)
    assert report.n == 30
    assert (array == training).all()


@pytest.mark.parametrize("form", ["bin", "py"])
def test_the_folder_itself_or_the_one_above_can_be_named(tmp_path, form):
    path = write_folder(tmp_path, cifar_files(form)[0])
    assert [e.name for e in Cifar(path).entries()] == [
        e.name for e in Cifar(path / f"cifar-10-batches-{form}").entries()
    ]


@pytest.mark.parametrize("form", ["bin", "py"])
def test_the_list_has_the_labels(tmp_path, form):
    path = write(tmp_path, cifar_files(form)[0], packed=True)
    labels = [label for number in range(1, 6) for label in cifar_pixels(6, seed=number)[1]]
    entries = sorted(Cifar(path).entries())
    assert [entry.where[3] for entry in entries] == labels
    assert entries[7].name == "data_batch_2" + ".bin" * (form == "bin") + "/00001"


def test_arrays_that_python_3_has_pickled_are_read_too(tmp_path):
    pixels, labels = cifar_pixels(4)
    rows = pixels.transpose(0, 3, 1, 2).reshape(4, -1)
    for batch in ({"data": rows, "labels": labels}, {b"data": np.asfortranarray(rows), b"labels": labels}):
        path = write_folder(tmp_path, {"data_batch_1": pickle.dumps(batch, 2)})
        assert (prepared(path, tmp_path)[1] == pixels).all()


def test_other_sizes_and_crops_are_made(tmp_path):
    files, training = cifar_files("bin")
    path = write_folder(tmp_path, files)
    array = np.load(prepare(Cifar(path), tmp_path / "a.npy", size=16, crop=16).path)
    assert (array == training[:, 8:24, 8:24]).all()


def bad(path, tmp_path):
    with pytest.raises(UserError, match="--skip-bad") as caught:
        prepared(path, tmp_path)
    report, array = prepared(path, tmp_path, skip_bad=True)
    ((name, reason),) = report.skipped
    assert f"{path}: {name}: {reason}" in str(caught.value)
    return f"{name}: {reason}", array


def test_a_batch_cut_short_is_named_or_left_out(tmp_path):
    files, training = cifar_files("bin")
    name = "cifar-10-batches-bin/data_batch_3.bin"
    files[name] = files[name][:-73]
    said, array = bad(write_folder(tmp_path, files), tmp_path)
    assert said.startswith("data_batch_3.bin: 18,365 bytes: must be records of 3073; it is cut short")
    assert (array == np.delete(training, range(12, 18), axis=0)).all()


def test_a_label_that_no_class_has_is_named(tmp_path):
    files, training = cifar_files("bin")
    content = bytearray(files["cifar-10-batches-bin/data_batch_1.bin"])
    content[3073] = 77
    files["cifar-10-batches-bin/data_batch_1.bin"] = bytes(content)
    said, array = bad(write_folder(tmp_path, files), tmp_path)
    assert said.startswith("data_batch_1.bin/00001: label 77: must be 0 to 9")
    assert (array == np.delete(training, 1, axis=0)).all()


PIXELS, LABELS = cifar_pixels(6)
ROWS = PIXELS.reshape(6, -1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (cifar_pickle(PIXELS, LABELS)[:-9000], "not a whole pickle"),
        (b"", "not a whole pickle"),
        (b"no pickle", "not a whole pickle"),
        (pickle.dumps([1], 2), "holds a list"),
        (pickle.dumps({"labels": LABELS}, 2), "its data"),
        (pickle.dumps({"data": ROWS[:, :-1], "labels": LABELS}, 2), "its data"),
        (pickle.dumps({"data": ROWS.astype(float), "labels": LABELS}, 2), "not of uint8"),
        (pickle.dumps({"data": ROWS, "labels": LABELS[1:]}, 2), "list of 6 numbers"),
        (pickle.dumps({"data": ROWS, "fine_labels": LABELS}, 2), "list of 6 numbers"),
        (pickle.dumps({"data": np.array([{}]), "labels": LABELS}, 2), "not of uint8"),
    ],
)
def test_a_batch_that_is_not_as_described_is_named_and_the_others_are_read(tmp_path, content, said):
    files, training = cifar_files("py")
    files["cifar-10-batches-py/data_batch_2"] = content
    message, array = bad(write(tmp_path, files, packed=True), tmp_path)
    assert message.startswith("data_batch_2: ")
    assert said in message
    assert (array == np.delete(training, range(6, 12), axis=0)).all()


class Call:
    """Pickles to a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call

    def __repr__(self):
        function, arguments = self.call
        return f"{function.__name__}{arguments}"


@pytest.mark.parametrize(
    "harm",
    [
        Call(os.system, "touch harm"),
        Call(subprocess.Popen, ["touch", "harm"]),
        Call(eval, "open('harm', 'w')"),
        Call(getattr, "text", "join"),
        Call(np.load, "harm"),
        {b"data": Call(os.system, "touch harm")},
        [Call(os.system, "touch harm")],
        np.float64(1),
        np.array([Call(os.system, "touch harm")]),
        len,
    ],
    ids=str,
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_asks_for_anything_but_arrays_is_refused(tmp_path, monkeypatch, harm, protocol):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"asks for .*do not trust|the opcode \w+, which arrays do not need"):
        unpickle(pickle.dumps(harm, protocol))
    assert not list(tmp_path.iterdir())


def test_os_system_in_a_batch_is_refused_and_the_command_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files, _ = cifar_files("py")
    files["cifar-10-batches-py/data_batch_4"] = b"cos\nsystem\n(S'touch harm'\ntR."
    message, array = bad(write(tmp_path, files, packed=False), tmp_path)
    assert message.startswith("data_batch_4: its pickle asks for os.system, which arrays do not need; do not trust")
    assert len(array) == 24
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"c_codecs\nencode\n(U\x01xU\x05rot13tR.", "asks for another encoding"),
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (b"P1\n.", "opcode PERSID"),
    ],
)
def test_other_ways_out_are_closed_as_well(content, said):
    with pytest.raises(UserError, match=said):
        unpickle(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x02Nr\xff\xff\xff\xff.", "holds a NoneType"),  # a memo of 4 GB
        (b"\x80\x02})" + 20_000 * b"\x85" + b"Ns.", "keys are neither strings nor numbers"),  # hashed by recursion
        (b"\x80\x02)" + 300_000 * b"\x85" + b".", "opcodes"),
        (b"\x80\x02}q\0" + b"".join(b"}(U\1ah%cU\1bh%cuq%c" % (i, i, i + 1) for i in range(60)) + b".", "twice"),
        (b"\x80\x04\x8e" + 7 * b"\xff" + b"\x7f.", "not a whole pickle"),
        (b"\x80\x02" + bytes(2**26), "67,108,866 bytes: at most 67,108,864 for a pickle"),
    ],
    ids=["memo", "hash", "nested", "shared", "length", "long"],
)
def test_a_pickle_that_would_take_all_memory_or_time_ends_in_a_message(content, said):
    with pytest.raises(UserError, match=said):
        unpickle(content)


def test_a_pickle_cannot_change_what_stands_in_for_numpy():
    # BUILD would set an attribute of what lies on the stack.
    with pytest.raises(UserError):
        unpickle(b"cnumpy\nndarray\n(N}S'__setstate__'\nI1\nstb.")
    assert (unpickle(cifar_pickle(PIXELS, LABELS))["data"] == PIXELS.transpose(0, 3, 1, 2).reshape(6, -1)).all()


@pytest.mark.skipif(sys.platform == "win32", reason="no such links on Windows")
def test_a_batch_that_is_a_link_is_not_followed_in_an_archive(tmp_path):
    path = write_tar(tmp_path / "a.tar", cifar_files("bin")[0], "w")
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_6.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    assert prepared(path, tmp_path)[0].n == 30


def test_the_binary_records_are_as_the_page_says():
    pixels, labels = cifar_pixels(2)
    content = cifar_records(pixels, labels)
    assert len(content) == 2 * 3073
    assert content[3073] == labels[1]
    assert content[1 + 1024 + 32 * 5 + 7] == pixels[0, 5, 7, 1]
