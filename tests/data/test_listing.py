"""Lists longer than what is held in memory are sorted on disk, by name, and read in batches."""

import json
import tracemalloc

import numpy as np
import pytest

from minicoulomb.data import listing
from minicoulomb.data.listing import by_position, in_order, read_batch, read_listing, without_twins, write_listing
from minicoulomb.data.source import Entry


def entries(n, seed=0):
    order = np.random.default_rng(seed).permutation(n).tolist()
    return [Entry(f"{i:05d}.jpg", 1000 + i, [n - i]) for i in order]


@pytest.mark.parametrize("chunk", [3, 10, 1000])
def test_entries_come_in_order_however_many_fit_into_memory(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(listing, "CHUNK", chunk)
    ordered = list(in_order(entries(30), tmp_path))
    assert [entry.name for entry in ordered] == [f"{i:05d}.jpg" for i in range(30)]
    assert list(in_order(entries(30), tmp_path, by_position)) == ordered[::-1]
    assert not list(tmp_path.iterdir())


def test_any_name_is_kept_and_ordered_by_code_points(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "CHUNK", 2)
    names = ["b", "a/b", "a.b", "ä", "語", "line\nbreak", '"quoted"', "\udcff", "a", "B"]
    written = write_listing(in_order([Entry(name, 1, []) for name in names], tmp_path), tmp_path / "list", 4)
    assert [entry.name for entry in read_listing(tmp_path / "list")] == sorted(names)
    assert written.n == 10


def test_memory_does_not_grow_with_the_list(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "CHUNK", 4000)
    peaks = []
    for n in (4000, 40_000):
        many = (Entry(f"{i * 7919 % n:040d}.jpg", 1000, [i]) for i in range(n))
        tracemalloc.start()
        assert write_listing(without_twins(in_order(many, tmp_path)), tmp_path / "list", 64).n == n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 20 * 36_000  # bytes; a name alone takes 93


def test_a_batch_is_found_by_its_position(tmp_path):
    ordered = sorted(entries(10))
    written = write_listing(ordered, tmp_path / "list", 4)
    with (tmp_path / "list").open("rb") as file:
        batches = [read_batch(file, position, 4) for position in written.batches]
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [entry for batch in batches for entry in batch] == ordered


def test_a_list_is_told_by_its_checksum_without_being_written(tmp_path):
    ordered = sorted(entries(10))
    written = write_listing(ordered, tmp_path / "list", 4)
    assert write_listing(ordered, None, 4) == written
    assert write_listing([*ordered[:-1], ordered[-1]._replace(size=1)], None, 4).sha256 != written.sha256


def test_names_that_come_again_are_refused_with_names_of_their_own():
    twins = [Entry("a", 1, [1]), Entry("a", 2, [2]), Entry("a", 3, [3], "a link"), Entry("b", 4, [4])]
    kept = list(without_twins(twins))
    assert [entry.name for entry in kept] == ["a", "a (2)", "a (3)", "b"]
    assert [entry.refused != "" for entry in kept] == [False, True, True, False]
    assert kept[2].refused == "a link"


def test_a_line_is_json(tmp_path):
    write_listing([Entry("a", 1, [2, 3]), Entry("b", 4, [], "a link")], tmp_path / "list", 4)
    assert [json.loads(line) for line in (tmp_path / "list").read_text().splitlines()] == [
        ["a", 1, [2, 3]],
        ["b", 4, [], "a link"],
    ]
