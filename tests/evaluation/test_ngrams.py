"""The divergence of n-grams against its definition with dictionaries, on cases counted by hand, and at its bounds."""

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from minicoulomb.data.text import TextDataset
from minicoulomb.evaluation import ngrams
from minicoulomb.evaluation.ngrams import divergences, ngram_metrics


def by_definition(lines, reference, n):
    """JSD of the n-grams of two lists of strings."""
    p, q = (Counter(line[i : i + n] for line in some for i in range(len(line) - n + 1)) for some in (reference, lines))
    total_p, total_q, result = p.total(), q.total(), 0.0
    for ngram in {*p, *q}:
        a, b = p[ngram] / total_p, q[ngram] / total_q
        m = (a + b) / 2
        result += sum(share * math.log(share / m) for share in (a, b) if share)
    return result / 2 / math.log(2)


def as_text(ids):
    return ["".join(map(chr, row)) for row in ids.tolist()]


@pytest.mark.parametrize(
    ("characters", "length", "dtype"), [(3, 8, np.uint8), (2048, 7, np.uint16), (2**16, 6, np.uint16), (5, 4, np.uint8)]
)
def test_every_divergence_is_that_of_the_definition(characters, length, dtype):
    rng = np.random.default_rng(0)
    some = rng.integers(max(0, characters - 40), characters, 40)  # large ids, whose packed 6-grams have 96 bits
    draw = lambda n: rng.choice(some, (n, length), p=(weights := rng.random(40)) / weights.sum()).astype(dtype)
    sets, reference = [draw(30), draw(50)], draw(700)
    found = divergences(sets, [reference[:300], reference[300:301], reference[301:]], characters)
    assert found.shape == (2, min(6, length))
    for lines, row in zip(sets, found):
        expected = [by_definition(as_text(lines), as_text(reference), n + 1) for n in range(len(row))]
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-12)


def test_a_case_that_is_counted_by_hand():
    """ "ab" against "aa": p = (a: 1), q = (a: 1/2, b: 1/2); the pairs have nothing in common."""
    found = divergences([np.array([[1, 2]], np.uint8)], [np.array([[1, 1]], np.uint8)], 3)[0]
    kl_p, kl_q = math.log2(1 / 0.75), 0.5 * math.log2(0.5 / 0.75) + 0.5 * math.log2(0.5 / 0.25)
    assert found == pytest.approx([(kl_p + kl_q) / 2, 1.0], abs=1e-12)


def test_the_divergence_is_0_for_equal_lines_and_1_for_disjoint_ones():
    rng = np.random.default_rng(0)
    lines = rng.integers(0, 5, (60, 9), np.uint8)
    assert 0 <= divergences([lines], [lines], 10).min() <= divergences([lines], [lines], 10).max() < 1e-12
    assert divergences([lines], [np.repeat(lines, 3, axis=0)[::-1]], 10).max() < 1e-12  # shares, not numbers, count
    assert divergences([lines], [lines + 5], 10)[0] == pytest.approx(np.ones(6), abs=1e-12)


def test_metrics_have_a_floor_of_as_many_held_out_lines_and_the_level_of_independent_characters():
    rng = np.random.default_rng(0)
    words = rng.integers(1, 8, (40, 3), np.uint8)  # lines of whole words
    ids = words[rng.integers(0, 40, (3000, 4))].reshape(3000, 12)
    dataset = TextDataset("book", ids, "`abcdefg", hold_out_every=10)
    real = np.eye(9)[words[rng.integers(0, 40, (200, 4))].reshape(200, 12)]
    found = ngram_metrics(real, dataset, seed=0)
    assert found.pop("floor_lines") == 200
    assert list(found)[:6] == ["js1", "js1_floor", "js1_independent", "js2", "js2_floor", "js2_independent"]
    for n in range(3, 7):
        assert found[f"js{n}"] == pytest.approx(found[f"js{n}_floor"], rel=0.3)
    assert found["js4_independent"] > 2 * found["js4_floor"]
    assert found["js1_independent"] < 0.02
    held_out = dataset.array[9::10]
    characters = ["".join(map(chr, row)) for row in dataset.array[dataset.train_index(np.arange(2700))].tolist()]
    every = ngram_metrics(np.eye(9)[held_out], dataset, seed=0)  # all held-out lines are the floor's
    assert every["js5"] == pytest.approx(every["js5_floor"], abs=1e-12)
    assert every["js5"] == pytest.approx(by_definition(as_text(held_out), characters, 5), abs=1e-12)


def test_without_held_out_lines_there_is_no_floor_and_a_short_search_takes_evenly_spaced_lines(monkeypatch):
    ids = np.random.default_rng(0).integers(0, 4, (1000, 8), np.uint8)
    dataset = TextDataset("book", ids, "`abc", hold_out_every=0)
    monkeypatch.setattr(ngrams, "SHORT", 100)
    x, said = np.eye(4)[ids[::10]], []
    found = ngram_metrics(x, dataset, 0, search=False, progress=lambda *numbers: said.append(numbers))
    assert not any("floor" in name for name in found)
    assert (found["js6"] < 1e-12, said[-1]) == (True, (1000, 1000))
    assert ngram_metrics(x, dataset, 0)["js6"] > 0.01


MEASURE = """
import re
from pathlib import Path
import numpy as np
from minicoulomb.evaluation.ngrams import BLOCK, divergences
rng = np.random.default_rng(0)
draw = lambda n: rng.integers(0, rng.integers(1, 2048, (n, 1)), (n, 32), np.uint16)
sets = [draw(640) for _ in range(3)]
peaks = []
for blocks in (1, 5):
    divergences(sets, (draw(BLOCK) for _ in range(blocks)), 2048)
    peaks.append(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10)
print(*peaks)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="getrusage's peak starts at that of the parent")
def test_memory_does_not_grow_with_the_reference():
    done = subprocess.run([sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True)
    first, last = map(int, done.stdout.split())
    assert last < first + 20 < 400
