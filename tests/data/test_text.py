"""Text of any script and in any state becomes lines of ids, or one clear error."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicoulomb.config import Config
from minicoulomb.data import text
from minicoulomb.data.dataset import decode
from minicoulomb.data.sources import find, open_dataset
from minicoulomb.data.text import PAD, UNKNOWN, TextDataset, open_text, text_at, to_lines
from minicoulomb.errors import UserError
from minicoulomb.space import SampleSpace


def opened(tmp_path, content, name="book.txt", length=6, vocabulary=2048, **settings):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    settings = {"hold_out_every": 0, **settings}
    return open_text(text_at(path), tmp_path / "cache", length=length, vocabulary=vocabulary, **settings)


def lines_of(dataset):
    """The lines as text, padding and all."""
    characters = UNKNOWN + dataset.alphabet
    return ["".join(characters[i] for i in row) for row in dataset.rows().tolist()]


def test_lines_are_cut_or_filled_and_the_alphabet_is_in_the_order_of_code_points(tmp_path):
    dataset = opened(tmp_path, "cab\nabcdefgh\n\nb")
    assert lines_of(dataset) == ["cab```", "abcdef", "``````", "b`````"]
    assert dataset.alphabet == "`abcdef"  # neither g nor h is in a line of six
    assert dataset.rows()[0].tolist() == [4, 2, 3, 1, 1, 1]
    assert (dataset.shape, dataset.array.dtype, dataset.name) == ((6, 8), np.uint8, "book")


def test_the_most_frequent_characters_have_ids_and_padding_counts(tmp_path):
    dataset = opened(tmp_path, "aaab\nbc\nd\nca\n", length=4, vocabulary=4)
    assert dataset.alphabet == "`ab"  # of b and c, which are equally frequent, the first
    assert lines_of(dataset) == ["aaab", f"b{UNKNOWN}``", f"{UNKNOWN}```", f"{UNKNOWN}a``"]
    assert "0.19 of the text is none of the 3 in the alphabet" in dataset.remark


def test_a_table_of_numbers_that_is_read_as_text_is_told(tmp_path):
    said = "only numbers: name it .csv to train on points"
    assert said in opened(tmp_path, "1.5 -2e3\n3,4;5\n").remark
    assert said not in opened(tmp_path, "1.5 -2e3\nx y\n", name="other.txt").remark


@pytest.mark.parametrize("words", ["Привет\nмир", "你好世界\n再见", "🦉🦊\n👩‍👩‍👧", "ab\x0bc\x85d\u2028e\nf\rg"])
def test_any_script_comes_back(tmp_path, words):
    dataset = opened(tmp_path, words)
    assert [line.rstrip(PAD) for line in lines_of(dataset)] == [line[:6] for line in words.split("\n")]
    x = decode(dataset.rows(), np.dtype(np.float32), dataset.shape)
    assert to_lines(x, dataset.alphabet) == [line[:6] for line in words.split("\n")]


@pytest.mark.parametrize(
    "content", ["ab\n\ncd\n", "ab\r\n\r\ncd\r\n", "\ufeffab\n\ncd\n", "ab\n\ncd"], ids=["lf", "crlf", "bom", "no end"]
)
def test_the_ends_of_lines_and_a_byte_order_mark_are_no_characters(tmp_path, content):
    dataset = opened(tmp_path, content, length=2)
    assert (lines_of(dataset), dataset.alphabet) == (["ab", "``", "cd"], "`abcd")


def test_more_than_256_characters_take_two_bytes(tmp_path):
    many = "\n".join(chr(0x4E00 + i) for i in range(255))  # with padding and id 0
    assert opened(tmp_path, many[:-2]).array.dtype == np.uint8
    assert opened(tmp_path, many).array.dtype == np.uint16


def test_a_folder_is_its_text_files_in_the_order_of_their_names(tmp_path):
    for folder, names in (
        ("a", ("2.txt", "1.TXT", "x.md")),
        ("b", ("news.en-00002-of-00100", "news.en-00001-of-00100")),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text(f"{name}\n")
    read = lambda name: lines_of(
        open_text(text_at(tmp_path / name), tmp_path / "cache", length=13, vocabulary=99, hold_out_every=0)
    )
    assert read("a") == ["1.TXT````````", "2.txt````````"]
    assert read("b") == ["news.en-00001", "news.en-00002"]
    assert find(str(tmp_path / "a")).kind == "text"
    with pytest.raises(UserError, match="no images"):  # without .txt it is text only where that is asked for
        open_dataset(Config.of(data=str(tmp_path / "b")), tmp_path / "cache")
    assert find(str(tmp_path / "b"), as_text=True).kind == "text"


def test_a_folder_with_images_holds_images(tmp_path):
    for name in ("a.png", "labels.txt"):
        (tmp_path / name).write_text("x")
    assert find(str(tmp_path)).kind == "images"


def test_compressed_text_and_the_first_lines_of_a_text(tmp_path):
    content = b"ab\ncd\nef\n"
    for name in ("a.txt.gz", "a.anything"):
        assert lines_of(opened(tmp_path, gzip.compress(content), name, length=2)) == ["ab", "cd", "ef"]
    assert lines_of(opened(tmp_path, content, length=2, lines=2)) == ["ab", "cd"]
    damaged = gzip.compress(content)[:-4]
    with pytest.raises(UserError, match="b.txt.gz: cannot be read .*fetch it again"):
        opened(tmp_path, damaged, "b.txt.gz")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"ab\ncaf\xe9\n", r"line 2 is no UTF-8 \(.* in byte 4\): text must be UTF-8; .* --skip-bad"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a binary file: must be UTF-8 text"),
        (b"ab\0cd\n", "a binary file"),
        ("ab\ncd".encode("utf-16"), "UTF-16: must be UTF-8 text; convert it with iconv"),
        (b"PK\x03\x04\n", "a zip archive"),
        (b"\x28\xb5\x2f\xfd\n", "zstd -d"),
        (b"a" * 2**20, "line 1 has 1,048,576 bytes or more: must have fewer; .*fold"),
        (b"", "0 lines: training needs at least 2"),
        (b"one line\n", "1 lines: training needs at least 2"),
    ],
)
def test_what_is_no_text_is_one_clear_error_and_leaves_nothing(tmp_path, content, said):
    with pytest.raises(UserError, match=said):
        opened(tmp_path, content)
    assert not list((tmp_path / "cache").iterdir())


def test_bad_lines_are_left_out_and_counted_where_that_is_asked_for(tmp_path):
    dataset = opened(tmp_path, b"ab\n\xff\ncd\n\xfe\n", length=2, skip_bad=True)
    assert lines_of(dataset) == ["ab", "cd"]
    assert "2 lines are no UTF-8 and left out, the first line 2 of book.txt" in dataset.remark


def test_a_second_reading_is_that_of_the_cache_until_the_file_changes(tmp_path, monkeypatch):
    first = opened(tmp_path, "ab\ncd\n")
    write, written = text._write, []
    monkeypatch.setattr(text, "_write", lambda *arguments: (written.append(1), write(*arguments)))
    again = open_text(text_at(tmp_path / "book.txt"), tmp_path / "cache", length=6, vocabulary=2048, hold_out_every=0)
    assert (lines_of(again), again.remark, written) == (lines_of(first), first.remark, [])
    assert lines_of(opened(tmp_path, "ef\n\n"))[0] == "ef````"
    assert written == [1]
    (cache,) = (tmp_path / "cache").iterdir()
    cache.write_bytes(cache.read_bytes()[:-1])  # damaged, it is made again
    assert lines_of(opened(tmp_path, "ef\n\n"))[0] == "ef````"
    assert len(written) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"n": -1},
        {"n": 10**30},
        {"n": 2.5},
        {"n": "2"},
        {"alphabet": 7},
        {"alphabet": ""},
        {"remark": None},
        {"version": 0},
    ],
    ids=str,
)
def test_a_cache_with_a_wrong_description_is_made_again(tmp_path, changes):
    opened(tmp_path, "ab\ncd\n")
    (cache,) = (tmp_path / "cache").iterdir()
    whole = cache.read_bytes()
    head = json.dumps({**json.loads(whole[: text.OFFSET]), **changes}).encode() + b"\n"
    for damaged in (head.ljust(text.OFFSET) + whole[text.OFFSET :], b"[" * text.OFFSET, b"[1]", b""):
        cache.write_bytes(damaged)
        again = open_text(text_at(tmp_path / "book.txt"), tmp_path / "cache", length=6, vocabulary=2048)
        assert lines_of(again) == ["ab````", "cd````"]
        assert cache.read_bytes() == whole


def test_another_text_meets_a_run_with_the_run_s_alphabet(tmp_path):
    run = opened(tmp_path, "abc\nabd\n", length=3)
    other = opened(tmp_path, "bcx\nyab\n", "other.txt", length=3, alphabet=run.alphabet)
    assert other.alphabet == run.alphabet
    assert lines_of(other) == [f"bc{UNKNOWN}", f"{UNKNOWN}ab"]
    space = SampleSpace.of(run)
    assert other.in_space(space) is other
    with pytest.raises(UserError, match="alphabet"):
        opened(tmp_path, "xyz\nxyw\n", "third.txt", length=3).in_space(space)
    (own,) = {path.name for path in (tmp_path / "cache").glob("book*")}
    settings = {"length": 3, "vocabulary": 2048, "alphabet": run.alphabet}
    open_text(text_at(tmp_path / "book.txt"), tmp_path / "cache", **settings)  # its own text needs no further file
    assert {path.name for path in (tmp_path / "cache").glob("book*")} == {own}


def test_ids_become_one_hot_and_pixels_and_points_do_not():
    ids = np.array([[0, 2], [1, 1]], np.uint8)
    one_hot = decode(ids, np.dtype(np.float32), (2, 3))
    assert (one_hot.dtype, one_hot.tolist()) == (np.float32, np.eye(3)[ids].tolist())
    assert decode(ids.astype(np.uint16), np.dtype(np.float64), (2, 3)).tolist() == np.eye(3)[ids].tolist()
    pixels = np.full((1, 2, 2, 3), 255, np.uint8)
    assert (decode(pixels, np.dtype(np.float32), (2, 2, 3)) == 1).all()
    assert decode(np.ones((3, 2)), np.dtype(np.float64), (2,)).tolist() == np.ones((3, 2)).tolist()


def test_held_out_lines_are_apart_from_training(tmp_path):
    dataset = opened(tmp_path, "".join(f"{i}\n" for i in range(40)), hold_out_every=10)
    assert (dataset.n_train, dataset.n_held_out) == (36, 4)
    drawn = dataset.draw(np.random.default_rng(0), 500)
    assert drawn.shape == (500, 6)
    held_out = {dataset.array[row].tobytes() for row in (9, 19, 29, 39)}
    assert not held_out & {row.tobytes() for row in drawn}


def test_text_needs_a_length_and_has_no_size(tmp_path):
    (tmp_path / "a.txt").write_text("ab\ncd\n")
    data = str(tmp_path / "a.txt")
    with pytest.raises(UserError, match="use --preset text"):
        open_dataset(Config.of(data=data), tmp_path)
    with pytest.raises(UserError, match="holds text, not images; leave --size"):
        open_dataset(Config.of(data=data, length=4, size=8), tmp_path)
    assert isinstance(open_dataset(Config.of(data=data, length=4), tmp_path), TextDataset)


def test_progress_is_in_bytes_of_both_passes(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", 1000)
    said = []
    opened(tmp_path, f"{'0123456789' * 100}\n" * 5000, progress=lambda *numbers: said.append(numbers))
    assert said[-1] == (9, 9)  # of 4.8 MiB, twice
    assert sorted(said) == said
    assert len(set(said)) == 10


MEASURE = """
import re, sys
from pathlib import Path
from minicoulomb.data.text import open_text, text_at
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
dataset = open_text(text_at(Path(sys.argv[1])), Path(sys.argv[2]), length=32, vocabulary=2048)
print(len(dataset.array), (peak() - before) >> 10)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="getrusage's peak starts at that of the parent")
def test_memory_does_not_grow_with_the_text(tmp_path):
    sizes = []
    for n in (100_000, 400_000):
        (tmp_path / f"{n}.txt").write_text("The quick brown fox jumps over the lazy dog, again and again.\n" * n)
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(tmp_path / f"{n}.txt"), str(tmp_path)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        lines, mib = map(int, done.stdout.split())
        assert lines == n
        sizes.append(mib)
    assert sizes[1] < sizes[0] + 10 < 100
