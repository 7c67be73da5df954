"""The one exception that means "the user can correct this": the value, the rule, the remedy."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from unicodedata import category

# Characters of a parser's reason: some repeat the file.
LONGEST = 200

# The remedies of errors of the system that say more than the place where they occur.
REMEDIES = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space", errno.EACCES: "change the permissions"}
REMEDIES |= {errno.EROFS: "choose another place", errno.ENAMETOOLONG: "choose a shorter name"}


class UserError(ValueError):
    """A mistake in the input (an option, a file, an array), with a message of the form "value: rule; remedy".

    The command line prints the message alone, without a traceback, and exits with status 1.
    """


@contextmanager
def explained(
    what: str, remedy: str, errors: type[Exception] | tuple[type[Exception], ...] = OSError
) -> Iterator[None]:
    """A context in which `errors` become UserError("what (reason); remedy"); a UserError passes unchanged.

    A full disk and the like have a remedy of their own.
    """
    try:
        yield
    except UserError:
        raise
    except errors as error:
        reason = str(getattr(error, "strerror", None) or error) or type(error).__name__
        remedy = REMEDIES.get(getattr(error, "errno", 0), remedy)
        raise UserError(f"{what} ({printable(reason[:LONGEST])}); {remedy}") from error


def printable(text: str) -> str:
    r"""The text with backslash escapes for controls, lone surrogates, and changes of direction.

    >>> printable("a run\x1b[2J\udcff")
    'a run\\x1b[2J\\udcff'
    """
    is_shown = lambda c: c.isprintable() or category(c) == "Zs"  # spaces of any width
    return "".join(c if is_shown(c) else c.encode("unicode_escape").decode() for c in text)
