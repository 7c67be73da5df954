"""What files.py promises of a file of somebody else; tests/training tests that ours appear whole or not at all."""

import pytest

from minicoulomb.errors import UserError
from minicoulomb.files import TIMES, UNFOLDED, check_unfolded


def test_what_an_honest_file_unfolds_to_passes():
    check_unfolded("a.npz", UNFOLDED, 1)
    check_unfolded("a.npz", TIMES * UNFOLDED, UNFOLDED)


@pytest.mark.parametrize(("unfolded", "stored"), [(UNFOLDED + 1, 1), (TIMES * UNFOLDED + 1, UNFOLDED), (2**70, 34)])
def test_what_only_a_bomb_unfolds_to_is_refused(unfolded, stored):
    with pytest.raises(UserError, match=r"^a\.npz: .* bytes would unfold to .*: at most .*; "):
        check_unfolded("a.npz", unfolded, stored)
