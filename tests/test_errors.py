"""Errors that a user can correct."""

import errno

import pytest

from minicoulomb.errors import UserError, explained


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (OSError(errno.ENOENT, "No such file"), "No such file", "write it again"),
        (OSError(errno.ENOSPC, "No space left"), "No space left", "free some space"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied", "change the permissions"),
        (KeyError("a"), "'a'", "write it again"),
        (EOFError(), "EOFError", "write it again"),
    ],
)
def test_an_error_becomes_one_that_says_what_it_is_about_and_what_helps(error, reason, remedy):
    with pytest.raises(UserError) as caught, explained("a.npy: cannot be read", "write it again", Exception):
        raise error
    assert str(caught.value) == f"a.npy: cannot be read ({reason}); {remedy}"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [UserError("size 0: must be 1; use 1"), KeyError("a"), KeyboardInterrupt()])
def test_other_errors_and_those_already_explained_pass_unchanged(error):
    with pytest.raises(type(error)) as caught, explained("a", "b", (OSError, ValueError)):
        raise error
    assert caught.value is error
