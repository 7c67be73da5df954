"""Work that is the same for many items: one process does it all, unless world/ shares it among several."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

_each: Callable[..., Iterator] = map


def each(function: Callable[[Any], Any], items: Iterable) -> Iterator:
    """function(item) of the items in their order, as `map`; function and items must be picklable, to be shared."""
    return _each(function, items)


def share_by(each: Callable[..., Iterator]) -> None:
    """Replace `map` by another function of the same signature."""
    global _each
    _each = each
