"""What no machine can finish: it is refused with the bytes or hours that it would need."""

from types import SimpleNamespace

import pytest

from minicoulomb.arrays import limits
from minicoulomb.arrays.limits import check_memory, check_pairs, check_time, free_memory
from minicoulomb.errors import UserError


def test_memory_is_refused_beyond_what_is_free():
    check_memory("x", 10**6, "use less")
    assert 10**6 < free_memory() < 10**15
    with pytest.raises(
        UserError, match=r"^x: would need at least 1,000,000.0 GB, this machine has [\d.,]+ GB free; use"
    ):
        check_memory("x", 10**15, "use less")


def test_numbers_that_no_float_holds_are_refused_too():
    with pytest.raises(UserError, match="at least 1,000,000,000.0 GB"):
        check_memory("x", 10**5000, "use less")
    with pytest.raises(UserError, match="at least 277,777,777,777,777 hours"):
        check_time("x", 10**5000, "use less")


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    paths = tmp_path / "a", tmp_path / "b", tmp_path / "missing"
    paths[0].write_text("max\n")
    paths[1].write_text("5000000\n")
    monkeypatch.setattr(limits, "LIMITS", paths)
    assert free_memory() == 5_000_000


def test_on_a_gpu_its_own_memory_counts():
    device = SimpleNamespace(mem_info=(3 * 10**9, 80 * 10**9))
    xp = SimpleNamespace(cuda=SimpleNamespace(Device=lambda: device))
    check_memory("x", 3 * 10**9, "use less", xp)
    with pytest.raises(UserError, match="at least 4.0 GB, the GPU has 3.0 GB free"):
        check_memory("x", 4 * 10**9, "use less", xp)


def test_a_day_is_long_enough_and_a_gpu_is_faster(monkeypatch):
    monkeypatch.setattr(limits, "available_cores", lambda: 2)
    check_time("x", 86400 * 2 * 10**11, "use less")
    with pytest.raises(UserError, match="x: would take at least 48 hours; use less"):
        check_time("x", 2 * 86400 * 2 * 10**11, "use less")
    with pytest.raises(UserError, match="hours"):
        check_pairs("x", 10**15, 2, "use less")
    check_pairs("x", 10**15, 2, "use less", xp=SimpleNamespace())
