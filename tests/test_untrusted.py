"""Files that nobody needs to trust: bounded before they unfold, and never executed."""

import io
import os
import pickle
import time
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from minicoulomb.errors import UserError, printable
from minicoulomb.untrusted import array_in, dict_of, opened, opened_zip, unpickled

NAMES = {"collections.OrderedDict": dict_of}


def loads(content, names=NAMES):
    return unpickled(io.BytesIO(content), names)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_come_back(protocol):
    value = {"a": [1, -1, 300, 70_000, 2**40, 2.5, None, True, False], "b": (), 3: (1,), "t": ((1, 2), (1, 2, 3))}
    value |= {"s": "x" * 300, "four": (1, 2, 3, 4), "again": "s", "d": {"e": {}}}
    if protocol > 2:  # protocol 2 calls _codecs.encode
        value |= {b"k": b"y" * 300}
    file = io.BytesIO(pickle.dumps(value, protocol) + b"rest")
    assert unpickled(file, NAMES) == value
    assert file.read() == b"rest"
    state = OrderedDict(a=1)
    state._metadata = {"version": 1}
    assert loads(pickle.dumps(state, protocol)) == {"a": 1}


NESTED = b"\x80\x02" + b")" + 100_000 * b"\x85"  # (((...),),)
BOMBS = {
    "a fetch from a far entry of the memo": b"\x80\x02Nr\xff\xff\xff\xffj\xff\xff\xff\x7f.",
    "a long string": b"\x80\x02X\xff\xff\xff\x7f.",
    "a very long frame": b"\x80\x04\x95" + b"\xff" * 8 + b".",
    "nested tuples as a key": b"\x80\x02}" + NESTED[2:] + b"Ns.",
    "nested tuples": NESTED + b".",
    "shared tuples": b"\x80\x02)" + b"".join(b"q%c(h%ch%ct" % (i, i, i) for i in range(60)) + b".",
    "shared dicts": b"\x80\x02}" + b"".join(b"q%c}(K\0h%cK\1h%cu" % (i, i, i) for i in range(60)) + b".",
    "a list in itself": b"\x80\x02]q\0h\0a.",
    "a shared list in many calls": b"\x80\x02](" + 9 * b"K\0" + b"eq\0" + b"ccollections\nOrderedDict\nh\0\x85R" + b".",
    "many opcodes": b"\x80\x02" + b"N" * 2**19 + b".",
    "a long number": b"\x80\x02\x8b\xff\xff\xff\x7f1.",
    "text as a function": b"\x80\x02X\1\0\0\0a)R.",
    "no mark": b"\x80\x02t.",
    "an empty stack": b"\x80\x02.",
    "nothing": b"",
    "an instance": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "an extension": b"\x80\x02\x82\1.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_pickle_is_refused_before_it_takes_memory_or_time(name):
    began = time.process_time()
    tracemalloc.start()
    if name == "nested tuples":  # harmless
        loads(BOMBS[name])
    else:
        with pytest.raises(Exception, match="^.{0,300}$"):  # its caller makes a UserError of any
            loads(BOMBS[name])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**28
    assert time.process_time() - began < 10


@pytest.mark.parametrize("form", [b"cos\nsystem\n", b"\x8c\2os\x8c\6system\x93"])
def test_no_other_name_is_called(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"asks for os\.system"):
        loads(b"\x80\x04" + form + b"\x8c\x06touch x\x85R.")
    with pytest.raises(UserError, match=r"asks for os\\x1b\[2J"):
        loads(b"\x80\x02cos\x1b[2J\nsystem\n.")
    assert os.listdir() == []


# Arrays


def write(path, compress=zipfile.ZIP_DEFLATED, **members):
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, content in members.items():
            if not isinstance(content, bytes):
                file = io.BytesIO()
                np.save(file, content)
                content = file.getvalue()
            archive.writestr(f"{name}.npy", content)
    return path


def read(path, *check):
    with opened(path) as file, opened_zip(file) as archive:
        return array_in(archive, "a", *check)


def header(shape, descr="<f4"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.array(3), np.ones(0)])
def test_an_array_comes_back_in_c_order_and_can_be_written(tmp_path, array):
    found = read(write(tmp_path / "a.npz", a=array))
    np.testing.assert_array_equal(found, array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.flags.c_contiguous
    found[...] = 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (header((2**40,)) + b"1234", "declares 4 bytes of numbers: float32"),
        (header((2,)) + bytes(9), "declares 9 bytes"),
        (header((-1, -1)) + bytes(4), "unknown"),
        (header((2,), "|O") + bytes(16), "declares"),
        (b"\x93NUMPY\2\0" + header((2,))[8:] + bytes(8), "version 1.0"),
        (b"\x93NUMPY\1\0\xff\xff" + b"(" * 65535, "large"),
        (b"plain text", "magic"),
    ],
)
def test_sizes_must_agree_before_an_array_is_made(tmp_path, content, said):
    with pytest.raises(Exception, match=said):
        read(write(tmp_path / "a.npz", a=content))


def test_a_member_that_inflates_beyond_what_it_declares_or_may_is_refused(tmp_path):
    path = write(tmp_path / "a.npz", a=header((2**29,)) + bytes(2**20))
    whole = path.read_bytes()
    honest = len(header((2**29,))) + 2**20
    forged = whole.replace(honest.to_bytes(4, "little"), (honest + 2**31 - 2**20).to_bytes(4, "little"))
    path.write_bytes(forged)
    with pytest.raises(UserError, match="would unfold to"):
        read(path)
    path.write_bytes(whole.replace(honest.to_bytes(4, "little"), (len(header((2,))) + 8).to_bytes(4, "little")))
    tracemalloc.start()
    with pytest.raises(Exception, match=r"CRC"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()
    write(path, zipfile.ZIP_LZMA, a=np.zeros(3))
    with pytest.raises(UserError, match="method 14"):
        read(path)


def test_no_member_is_missed_in_silence(tmp_path):
    path = write(tmp_path / "a.npz", zipfile.ZIP_STORED, a=np.zeros(3), b=np.ones(3))
    whole = path.read_bytes()
    at = whole.index(b"PK\1\2")
    assert whole[at + 32 : at + 34] == b"\0\0"  # the length of the first member's comment
    entry = len(whole) - 22 - at >> 1
    path.write_bytes(whole[: at + 32] + entry.to_bytes(2, "little") + whole[at + 34 :])
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["a.npy"]
    with pytest.raises(UserError, match="without comments"):
        read(path)
    path.write_bytes(whole[:at] + whole[at:].replace(b"b.npy", b"c.npy"))
    with pytest.raises(zipfile.BadZipFile, match="differ"):
        read(path)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(10_001):
            archive.writestr(f"{i}", b"")
    with pytest.raises(UserError, match="at most 10,000 members"):
        read(path)


def test_a_check_comes_before_the_numbers(tmp_path):
    def refuse(name, shape, dtype):
        raise UserError(f"{name} {shape} {dtype}")

    with pytest.raises(UserError, match=r"a \(3,\) float64"):
        read(write(tmp_path / "a.npz", a=np.zeros(3)), refuse)


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a link to a pipe"])
def test_only_a_plain_file_is_opened(tmp_path, kind):
    path = tmp_path / kind
    if kind == "a folder":
        path.mkdir()
    else:
        os.mkfifo(tmp_path / "a pipe")
    if kind == "a link to a pipe":
        path.symlink_to("a pipe")
    with pytest.raises(UserError, match="must be a plain file"):
        opened(path)


def test_names_are_printable():
    assert printable("run-äß 1") == "run-äß 1"
    assert printable("a\x1b[2J\udcff\u202e\x00") == r"a\x1b[2J\udcff\u202e\x00"
