"""Threads, which change nothing but the time; and that BLAS has one of its own beside them, where that can be set."""

import sys
from threading import Barrier, current_thread
from types import SimpleNamespace

import numpy as np
import pytest

from minicoulomb.arrays.threads import available_cores, for_each, go_on, set_threads, watching


@pytest.fixture
def threads():
    yield set_threads
    set_threads(1)


@pytest.mark.parametrize("n", [1, 3])
def test_every_part_is_worked_on_once(threads, n):
    assert threads(n) == n
    done = []
    for_each(done.append, iter(range(50)))
    assert sorted(done) == list(range(50))


@pytest.mark.parametrize("n", [1, 3])
def test_an_error_in_a_part_is_raised(threads, n):
    threads(n)
    with pytest.raises(ZeroDivisionError):
        for_each(lambda part: 1 / part, [1, 0, 2])


@pytest.mark.parametrize("n", [1, 3])
def test_what_the_caller_lets_pass_is_let_pass_in_every_thread(threads, n):
    """Warnings are errors in these tests."""
    threads(n)
    with np.errstate(over="ignore"):
        for_each(lambda part: np.array([1e300]) * 1e300, range(9))


@pytest.mark.parametrize("n", [1, 3])
def test_progress_is_told_after_each_part_within_the_context_alone(threads, n):
    threads(n)
    counts = []
    with watching(lambda *count: counts.append((*count, current_thread()))):
        for_each(abs, range(4))
        with watching(None):
            for_each(abs, range(4))
    for_each(abs, range(4))
    assert counts == [(done, 4, current_thread()) for done in (1, 2, 3, 4)]


def test_the_caller_is_one_of_the_threads(threads):
    """So that two threads on two cores wait for no third."""
    threads(2)
    barrier, workers = Barrier(2), []

    def part(_):
        workers.append(current_thread())
        barrier.wait(timeout=60)

    for_each(part, range(2))
    assert current_thread() in workers
    assert len(set(workers)) == 2


def test_the_error_of_another_thread_is_raised_and_ends_the_callers_part(threads):
    threads(2)
    begun, caller = Barrier(2), current_thread()

    def part(_):
        begun.wait(timeout=60)
        if current_thread() is not caller:
            raise ZeroDivisionError
        while True:
            go_on()

    with pytest.raises(ZeroDivisionError):
        for_each(part, range(2))


@pytest.mark.parametrize("n", [1, 2])
def test_a_part_may_have_parts(threads, n):
    """All threads are busy with the outer parts then, and none is left to wait for."""
    threads(n)
    done = []
    for_each(lambda i: for_each(lambda j: done.append((i, j)), range(3)), range(8))
    assert sorted(done) == [(i, j) for i in range(8) for j in range(3)]


def test_parts_end_when_nobody_waits_for_them(threads):
    """After Ctrl-C the process ends when its threads do."""
    threads(2)
    begun, ended = Barrier(2), []

    def part(number):
        begun.wait(timeout=60)
        if number == 0:
            raise KeyboardInterrupt
        try:
            while True:
                go_on()
        finally:
            ended.append(number)

    with pytest.raises(KeyboardInterrupt):
        for_each(part, [0, 1])
    threads(1)  # waits for the thread
    assert ended == [1]


def test_by_default_there_is_a_thread_for_each_core(threads):
    assert threads() == available_cores() >= 1


@pytest.mark.parametrize("n", [1, 3])
def test_blas_is_limited_to_one_thread_in_the_caller_and_in_every_thread(monkeypatch, threads, n):
    limited = []
    limit = lambda limits, user_api: limited.append((limits, user_api, current_thread()))
    monkeypatch.setitem(sys.modules, "threadpoolctl", SimpleNamespace(threadpool_limits=limit))
    threads(n)
    barrier = Barrier(n)  # that all threads have started
    for_each(lambda _: barrier.wait(timeout=60), range(n))
    assert {call[:2] for call in limited} == {(1, "blas")}
    assert len({call[2] for call in limited}) == len(limited) == n


def test_the_limit_reaches_numpys_blas(threads):
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="sets the threads of BLAS; pip install threadpoolctl")
    blas = lambda: [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        if 2 not in blas():
            pytest.skip("threadpoolctl does not know this NumPy's BLAS")
        threads(2)
        assert set(blas()) == {1}


def test_without_threadpoolctl_threads_work_and_blas_is_left_alone(monkeypatch, threads):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert threads(3) == 3
    done = []
    for_each(done.append, range(9))
    assert sorted(done) == list(range(9))
