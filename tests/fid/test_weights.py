"""Weights from .pth, .safetensors and .npz files, and every way in which such a file can be wrong or wicked."""

import hashlib
import json
import os
import random
import struct
import sys
import zipfile
from collections import OrderedDict
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from data_files import check_flips
from hypothesis import given
from hypothesis import strategies as st
from inception_cases import random_state
from torch_cases import Call, Global, Persistent, dumps, state_dict, storage, tensor, write_legacy, write_zip

from minicoulomb.errors import UserError
from minicoulomb.fid import weights
from minicoulomb.fid.torch_file import read_torch
from minicoulomb.fid.weights import load_weights, read_safetensors, tensor_shapes

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b.weight": np.linspace(-1, 1, 5, dtype=np.float32),
    "c": np.array(2.5, np.float32),
}
needs_safetensors = pytest.mark.skipif(
    find_spec("safetensors") is None, reason="the package safetensors is not installed: pip install '.[fid]'"
)
WRITERS = {"zip": write_zip, "legacy": write_legacy}


def assert_same(found, arrays):
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def write_safetensors(path, arrays, header=None, length=None):
    entries, start = {}, 0
    for name, a in arrays.items():
        entries[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [start, start + a.nbytes]}
        start += a.nbytes
    text = json.dumps({"__metadata__": {"by": "hand"}, **entries} if header is None else header).encode()
    data = b"".join(a.tobytes() for a in arrays.values())
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


# torch's two formats


@pytest.mark.parametrize("form", WRITERS)
def test_tensors_come_out_of_both_of_torch_s_formats(tmp_path, form):
    WRITERS[form](tmp_path / "a.pth", ARRAYS)
    assert_same(read_torch(tmp_path / "a.pth"), ARRAYS)
    assert set(read_torch(tmp_path / "a.pth", lambda name, shape: name == "c")) == {"c"}


@pytest.mark.parametrize("form", WRITERS)
def test_what_torch_itself_wrote_is_read(tmp_path, form):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, (2, 3)), torch.nn.BatchNorm2d(5))
    base = torch.arange(24.0).reshape(4, 6)
    state = OrderedDict(network.state_dict())
    state |= {"t": base.T, "part": base[1:3, ::2], "wide": torch.ones(1).expand(1, 1), "half": base.half()}
    state |= {"double": base.double(), "empty": torch.empty(0, 3), "ints": torch.arange(3)}
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=form == "zip")
    assert_same(read_torch(tmp_path / "a.pth"), {name: array.numpy() for name, array in state.items()})
    torch.save(network.state_dict(), tmp_path / "b.pth", _use_new_zipfile_serialization=form == "zip")
    assert len(read_torch(tmp_path / "b.pth")) == 7


@pytest.mark.parametrize("form", WRITERS)
def test_tensors_that_share_a_storage_or_are_transposed_are_read(tmp_path, form):
    one = storage("0", 6, legacy=form == "legacy")
    state = {"rows": tensor(one, 0, (2, 3), (3, 1)), "columns": tensor(one, 0, (3, 2), (1, 3))}
    state["last"] = tensor(one, 3, (3,), (1,))
    WRITERS[form](tmp_path / "a.pth", {"a": ARRAYS["a"]}, state)
    a = ARRAYS["a"]
    assert_same(read_torch(tmp_path / "a.pth"), {"rows": a, "columns": a.T, "last": a[1]})


WICKED = {
    "os.system": Call(Global("os", "system"), ("touch wicked",)),
    "posix.system": Call(Global("posix", "system"), ("touch wicked",)),
    "builtins.eval": Call(Global("builtins", "eval"), ("open('wicked', 'w')",)),
    "builtins.getattr": Global("builtins", "getattr"),
    "numpy.load": Global("numpy", "load"),
    "torch.load": Global("torch", "load"),
    "torch.nn.modules.conv.Conv2d": Global("torch.nn.modules.conv", "Conv2d"),
    "torch._utils._rebuild_parameter": Global("torch._utils", "_rebuild_parameter"),
    "collections.defaultdict": Global("collections", "defaultdict"),
}


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("name", WICKED)
def test_whatever_else_a_pickle_names_is_refused_and_never_called(tmp_path, monkeypatch, form, name):
    monkeypatch.chdir(tmp_path)
    WRITERS[form](Path("a.pth"), {}, {"a": WICKED[name]})
    with pytest.raises(UserError, match=rf"asks for {name}"):
        read_torch(Path("a.pth"))
    assert os.listdir() == ["a.pth"]


def test_a_wicked_pickle_among_the_others_of_the_old_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_legacy(Path("a.pth"), ARRAYS)
    whole = Path("a.pth").read_bytes()
    system = dumps({"little_endian": True})
    Path("a.pth").write_bytes(whole.replace(system, dumps(WICKED["os.system"])))
    with pytest.raises(UserError, match=r"os\.system"):
        read_torch(Path("a.pth"))
    assert os.listdir() == ["a.pth"]


BAD_TENSORS = {
    "beyond": (2, (5,), (1,)),
    "a long stride": (0, (2, 3), (4, 1)),
    "negative offset": (-1, (2,), (1,)),
    "negative stride": (3, (2,), (-1,)),
    "negative size": (0, (-2, -3), (1, 1)),
    "a bomb": (0, (2**40,), (0,)),
    "other axes": (0, (2, 3), (1,)),
    "no numbers": (0, (1.5,), (1,)),
}


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("case", BAD_TENSORS)
def test_a_tensor_outside_of_its_storage_is_refused(tmp_path, form, case):
    state = {"bad": tensor(storage("0", 6, legacy=form == "legacy"), *BAD_TENSORS[case])}
    WRITERS[form](tmp_path / "a.pth", {"a": ARRAYS["a"]}, state)
    with pytest.raises(UserError, match="bad"):
        read_torch(tmp_path / "a.pth")


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize(
    ("state", "said"),
    [
        ([1, 2], "holds a list"),
        ({"epoch": 3}, "'epoch' is not a tensor"),
        ({3: tensor(storage("0", 6), 0, (2,), (1,))}, "entry 3"),
        ({"a": tensor(5, 0, (2,), (1,))}, "'a' is not a tensor"),
        ({"a": Persistent(("module", "os", "0", "cpu", 1))}, "not to a storage"),
        ({"a": Persistent(("storage", "FloatStorage", "0", "cpu", 1))}, "not to a storage"),
        ({"a": Persistent(5)}, "not a whole file"),
        ({"a": tensor(storage("0", -6), 0, (2,), (1,))}, "-6 numbers"),
        ({"a": tensor(storage("0", 6, "BFloat16Storage"), 0, (2,), (1,))}, "BFloat16Storage"),
        ({"a": tensor(storage("0", 7), 0, (2,), (1,))}, "damaged"),
    ],
)
def test_what_is_no_state_dict_is_told(tmp_path, form, state, said):
    WRITERS[form](tmp_path / "a.pth", {"a": ARRAYS["a"]}, state)
    with pytest.raises(UserError, match=said) as error:
        read_torch(tmp_path / "a.pth")
    assert str(tmp_path / "a.pth") in str(error.value)


@pytest.mark.parametrize("form", WRITERS)
@given(data=st.data())
def test_a_damaged_file_is_told_or_read_never_a_crash(tmp_path_factory, form, data):
    path = tmp_path_factory.mktemp("damaged") / "a.pth"
    WRITERS[form](path, ARRAYS)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(UserError):
        assert all(isinstance(array, np.ndarray) for array in read_torch(path).values())


def test_versions_that_are_not_read_are_told(tmp_path):
    write_legacy(tmp_path / "a.pth", ARRAYS, version=1002)
    with pytest.raises(UserError, match="version 1002"):
        read_torch(tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("weights/data.pkl", dumps(state_dict({})))
        archive.writestr("weights/byteorder", "big")
    with pytest.raises(UserError, match="big-endian"):
        read_torch(tmp_path / "b.pth")
    with zipfile.ZipFile(tmp_path / "c.pth", "w") as archive:
        archive.writestr("script/code.py", "")
    with pytest.raises(UserError, match=r"data\.pkl"):
        read_torch(tmp_path / "c.pth")


# .safetensors


@needs_safetensors
def test_tensors_come_out_of_safetensors(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", ARRAYS)
    assert_same(read_safetensors(tmp_path / "a.safetensors"), ARRAYS)
    assert set(read_safetensors(tmp_path / "a.safetensors", lambda name, shape: name == "c")) == {"c"}


def test_without_the_package_the_line_to_install_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    write_safetensors(tmp_path / "a.safetensors", ARRAYS)
    with pytest.raises(UserError, match=r"pip install 'minicoulomb\[fid\]'"):
        load_weights(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (None, 2**63),
        (None, 10_000),
        ({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 240]}}, None),
        ({"a": {"dtype": "F32", "shape": [20, 3], "data_offsets": [0, 240]}}, None),
        ({"a": {"dtype": "F32", "shape": [-2, -3], "data_offsets": [0, 24]}}, None),
        ({"a": {"dtype": "F32", "shape": [6], "data_offsets": [-24, 0]}}, None),
        ({"a": {"dtype": "BF16", "shape": [6], "data_offsets": [0, 12]}}, None),
        ({"a": {"dtype": "F32", "shape": [6]}}, None),
        ({"a": {"dtype": "F8_E4M3", "shape": [24], "data_offsets": [0, 24]}}, None),
        ({"a": 3}, None),
        ([1], None),
        (None, 4),
    ],
)
@needs_safetensors
def test_a_damaged_safetensors_file_is_told(tmp_path, header, length):
    write_safetensors(tmp_path / "a.safetensors", {"a": ARRAYS["a"]}, header, length)
    with pytest.raises(UserError, match=r"a\.safetensors: not a readable .*pytorch-fid"):
        read_safetensors(tmp_path / "a.safetensors")


@needs_safetensors
@given(data=st.data())
def test_a_safetensors_file_damaged_anywhere_is_told_or_read(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "a.safetensors"
    write_safetensors(path, ARRAYS)
    content = bytearray(path.read_bytes())[: data.draw(st.integers(0, 400))]
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(UserError):
        assert all(isinstance(array, np.ndarray) for array in read_safetensors(path).values())


@pytest.mark.parametrize("kind", ["pth", "npz"])
def test_a_zip_with_any_bit_flipped_is_refused_or_read_as_it_was(tmp_path, monkeypatch, kind):
    path, draw = tmp_path / f"a.{kind}", random.Random(kind)
    write_zip(path, ARRAYS) if kind == "pth" else np.savez(path, **ARRAYS)
    monkeypatch.setattr(weights, "tensor_shapes", lambda: {name: array.shape for name, array in ARRAYS.items()})
    bits = draw.sample(range(8 * path.stat().st_size), 300)
    check_flips(path, bits, weights._read, lambda found: assert_same(found, ARRAYS))


# Inception's weights


@pytest.fixture(scope="module")
def state():
    return {name: a for name, a in random_state().items() if a.dtype == np.float32}


def write_npz(path, arrays):
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("w.pth", write_zip),
        ("w.pth", write_legacy),
        pytest.param("w.safetensors", write_safetensors, marks=needs_safetensors),
        ("w.npz", write_npz),
        ("without-a-suffix.npz", write_npz),
    ],
)
def test_every_format_gives_the_same_weights(state, tmp_path, name, write):
    write(tmp_path / name, state)
    weights = load_weights(tmp_path / name)
    kernel, bias = weights["Mixed_6b.branch7x7_2"]
    w = state["Mixed_6b.branch7x7_2.conv.weight"]
    assert kernel.shape == (1, 7, 128, 128)
    assert kernel.dtype == bias.dtype == np.float32
    scale = state["Mixed_6b.branch7x7_2.bn.weight"] / np.sqrt(state["Mixed_6b.branch7x7_2.bn.running_var"] + 1e-3)
    np.testing.assert_allclose(kernel[0, 3], (w[:, :, 0, 3] * scale[:, None]).T, rtol=1e-5)
    assert len(weights) == 94


def test_missing_misshapen_and_infinite_tensors_are_named(state, tmp_path):
    name = "Mixed_7c.branch3x3_2b.bn.running_var"

    def said(arrays):
        write_npz(tmp_path / "w.npz", arrays)
        with pytest.raises(UserError) as error:
            load_weights(tmp_path / "w.npz")
        return str(error.value)

    text = said({key: array for key, array in state.items() if key != name})
    assert f"lacks 1 of the {len(tensor_shapes())} tensors" in text
    assert name in text
    assert "mseitzer/pytorch-fid" in text
    assert f"{name} is (383,), FID's Inception has (384,)" in said({**state, name: state[name][1:]})
    assert f"{name} must hold finite floats" in said({**state, name: np.full(384, np.nan, np.float32)})
    assert f"{name} must hold finite floats" in said({**state, name: np.zeros(384, np.int64)})
    assert "lacks 470 of the 470" in said({"theta": np.zeros(3)})


def test_a_name_that_ends_in_a_checksum_is_compared_with_the_content(state, tmp_path):
    """The old format has no checksums: a flipped bit of a number would go unnoticed."""
    write_legacy(tmp_path / "w.pth", state)
    digits = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()[:8]
    path = (tmp_path / "w.pth").rename(tmp_path / f"inception-2015-12-05-{digits}.pth")
    assert len(load_weights(path)) == 94
    with path.open("r+b") as file:
        file.seek(-1000, 2)
        file.write(b"\x01")
    with pytest.raises(UserError, match=f"SHA-256 must begin with {digits}"):
        load_weights(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x93NUMPY", b"PK\x03\x04 no more", b"module.pth of torch 0.1" * 9])
def test_a_file_of_another_kind_is_told(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"w\.pth"):
        load_weights(tmp_path / "w.pth")
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(tmp_path / "nowhere.pth")
