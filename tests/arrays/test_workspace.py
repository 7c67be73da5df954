"""Memory that outlives a call: the same for a name, another for each thread, lent to one owner at a time."""

from threading import Thread

import numpy as np
import pytest

from minicoulomb.arrays.workspace import NoWorkspace, Workspace

f32, f64 = np.zeros(1, np.float32), np.zeros(1, np.float64)


class Owner:
    pass


def apart(*arrays):
    """Whether no two of them share memory."""
    return not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_a_name_gets_the_same_memory_at_the_next_call():
    workspace = Workspace()
    first = workspace.empty("tiles", (3, 4), like=f32)
    second = workspace.empty("tiles", (2, 5), like=f32)
    assert (second.shape, second.dtype) == ((2, 5), np.float32)
    first[...] = 7
    assert (second == 7).all()


def test_a_larger_array_gets_more_memory_and_a_smaller_one_keeps_it():
    workspace = Workspace()
    small = workspace.empty("tiles", (4,), like=f32)
    large = workspace.empty("tiles", (5,), like=f32)
    assert apart(small, large)
    assert np.shares_memory(large, workspace.empty("tiles", (4,), like=f32))


def test_names_and_dtypes_have_memory_of_their_own():
    workspace = Workspace()
    arrays = [workspace.empty(name, (4,), like) for name in ("tiles", "products") for like in (f32, f64)]
    assert [array.dtype for array in arrays] == [np.float32, np.float64] * 2
    assert apart(*arrays)


def test_threads_have_memory_of_their_own():
    workspace, arrays = Workspace(), []
    ask = lambda: arrays.append(workspace.empty("tiles", (4,), like=f32))
    ask()
    thread = Thread(target=ask)
    thread.start()
    thread.join()
    assert apart(*arrays)


def test_two_workspaces_share_nothing():
    assert apart(*(Workspace().empty("tiles", (4,), like=f32) for _ in range(2)))


def test_what_is_borrowed_is_nobody_elses_while_its_owner_lives():
    workspace, owners = Workspace(), [Owner() for _ in range(3)]
    arrays = [workspace.borrow((2, 3), f32, owner) for owner in owners]
    arrays.append(workspace.borrow((2, 3), f32, owners[0]))
    assert apart(*arrays, workspace.empty("tiles", (2, 3), like=f32))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_what_was_borrowed_is_lent_again_when_its_owner_is_gone(order):
    workspace, owners = Workspace(), [Owner() for _ in range(3)]
    arrays = [workspace.borrow((2, 3), f32, owner) for owner in owners]
    for number in order:
        owners[number] = None
        own = Owner()
        again = workspace.borrow((3, 2), f32, own)  # as many numbers
        assert np.shares_memory(again, arrays[number])
        owners[number] = own
    last = Owner()
    assert apart(*arrays, workspace.borrow((2, 3), f32, last))


def test_what_is_lent_again_has_the_right_size_and_dtype():
    workspace, owner = Workspace(), Owner()
    array = workspace.borrow((2, 3), f32, owner)
    del owner
    others = [Owner(), Owner()]
    assert apart(array, workspace.borrow((12,), f32, others[0]), workspace.borrow((3,), f64, others[1]))


def test_an_owner_may_outlive_the_workspace():
    workspace, owner = Workspace(), Owner()
    array = workspace.borrow((2, 3), f32, owner)
    array[...] = 7
    del workspace
    assert (array == 7).all()
    del owner
    assert (array == 7).all()


def test_without_a_workspace_every_array_is_new():
    owner = Owner()
    arrays = [f(NoWorkspace) for f in (lambda w: w.empty("tiles", (2, 3), f32), lambda w: w.borrow((2, 3), f32, owner))]
    arrays += [NoWorkspace.empty("tiles", (2, 3), f32), NoWorkspace.borrow((2, 3), f32, owner)]
    assert apart(*arrays)
    assert {(array.shape, array.dtype) for array in arrays} == {((2, 3), np.dtype(np.float32))}
