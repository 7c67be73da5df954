"""The round trip that --on makes of a call (elsewhere.py): what is computed where, and what comes back."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import strict_cupy
from elsewhere import Moved, RoundTrip, as_laid_out

from minicoulomb.arrays.backend import on_gpu


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass
class Vectors:
    step: int
    theta: Any
    average: Any


@dataclass(frozen=True)
class Sizes:
    shape: tuple


@pytest.fixture
def trip():
    return RoundTrip(strict_cupy)


def test_arrays_go_there_and_back_through_containers(trip):
    seen = []

    def function(pair, *, options):
        seen.extend([pair.left, pair.right[0], options["scale"]])
        return Pair([pair.left + pair.right[0]], {"scale": 2 * options["scale"]})

    result = trip(function, (Pair(np.ones(3), [np.zeros(3)]),), {"options": {"scale": np.float32(4)}})
    assert all(map(on_gpu, seen))
    assert type(result) is Pair
    np.testing.assert_array_equal(result.left[0], np.ones(3))
    assert type(result.right["scale"]) is np.float32


def test_what_is_no_array_and_holds_none_stays_as_it_is(trip):
    sizes, owner, names = Sizes((1, 2)), object(), ("a", "b")
    for value in (sizes, owner, names, 2.5, None, slice(3)):
        assert trip(lambda given, value=value: given is value, (value,), {})
        assert trip(lambda given: given, (value,), {}) is value


def test_what_changes_in_place_changes_on_the_host_too(trip):
    def step(vectors, gradient):
        vectors.theta -= gradient
        vectors.average = vectors.average + 1
        vectors.step += 1

    theta, average = np.ones(3), np.zeros(3)
    vectors = Vectors(0, theta, average)
    trip(step, (vectors, np.ones(3)), {})
    assert vectors.theta is theta
    assert vectors.step == 1
    np.testing.assert_array_equal(theta, 0)
    np.testing.assert_array_equal(vectors.average, 1)
    np.testing.assert_array_equal(average, 0)


def test_one_array_in_two_places_is_one_array_there_and_back(trip):
    theta = np.ones(3)
    vectors = Vectors(0, theta, theta)
    assert trip(lambda given: given.theta is given.average, (vectors,), {})
    first, second = trip(lambda given: (given.theta, given.theta), (vectors,), {})
    assert first is second is theta


def test_changes_come_back_when_the_function_raises(trip):
    def fail(array):
        array += 1
        raise ValueError

    array = np.zeros(2)
    with pytest.raises(ValueError):  # noqa: PT011, an error of the test's own
        trip(fail, (array,), {})
    np.testing.assert_array_equal(array, 1)


def test_a_read_only_argument_must_not_change(trip):
    array = np.broadcast_to(0.0, (3,))
    assert trip(lambda a: a + 1, (array,), {}).tolist() == [1, 1, 1]
    array = np.zeros(3)
    array.flags.writeable = False
    with pytest.raises(AssertionError, match="a read-only argument was changed"):
        trip(lambda a: a.fill(1), (array,), {})


def test_calls_from_within_pass_through(trip):
    inner = Moved(lambda x: x * 2, trip)
    outer = Moved(lambda x: inner(x) + 1, trip)
    assert outer(np.ones(2)).tolist() == [3, 3]


def test_a_moved_function_is_a_key_in_the_place_of_its_own(trip):
    function = lambda x: x
    assert {function: 1}[Moved(function, trip)] == {Moved(function, trip): 1}[function] == 1


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a,
        lambda a: a.T,
        lambda a: a[::-1, ::2],
        lambda a: a[1:, ::-2],
        lambda a: np.broadcast_to(a[:, :1], (4, 6)),
        lambda a: a[:0],
        lambda a: a[2, 3, ...],
    ],
)
def test_an_array_keeps_its_strides_on_the_way(view):
    host = view(np.arange(24.0).reshape(4, 6))
    device = as_laid_out(host, strict_cupy)
    assert device.strides == host.strides
    np.testing.assert_array_equal(device.get(), host)
