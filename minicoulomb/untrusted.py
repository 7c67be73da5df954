"""Readers of files that nobody needs to trust: bounded before anything unfolds, and nothing is ever executed.

opened(path)                     a plain file, opened; neither a folder nor a pipe or device, which may never end
opened_zip(file)                 the zip in an open file
member_in(archive, name)         a member of an open zip, to be read by content(member, size)
array_in(archive, name, check)   an array of an open .npz, whose declared sizes must agree
unpickled(file, names)           a pickle of numbers, strings, tuples, lists, dicts, and calls of `names` alone

They raise nearly anything on damaged bytes: a caller's `explained(..., Exception)` makes one UserError of it.

A pickle is a program for a machine with a stack. Python's own runs in C and can be made to take any memory (a
memo's index), to recurse without end (the hash of nested tuples), or to call functions. This one reads the same
opcodes by pickletools, performs the few that arrays need, hashes only strings and numbers, and calls only `names`.
"""

import pickletools
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from minicoulomb.errors import UserError, printable
from minicoulomb.files import check_unfolded

# The header of an honest array has 128 bytes; the pickle of Inception or of a batch of CIFAR-10 about 50,000 opcodes.
LONGEST_HEADER, MOST_OPCODES = 1000, 2**18
MOST_MEMBERS = 10_000
# Of a pickle's strings only names are used twice.
LONGEST_SHARED = 1000
CHUNK = 2**20
MARK = object()
# Opcodes by what they do: push their argument or a constant, store in the memo, fetch from it.
PUSHES = "BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINSTRING BINSTRING SHORT_BINUNICODE BINUNICODE".split()
PUSHES += ["SHORT_BINBYTES", "BINBYTES"]
CONSTANTS = {"MARK": lambda: MARK, "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False}
CONSTANTS |= {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def opened(path: Path) -> BinaryIO:
    """The plain file `path`, opened to read bytes; OSError if that fails, UserError for a folder, pipe or device."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: must be a plain file, not a folder, pipe or device; give a file")
    return path.open("rb")


@contextmanager
def opened_zip(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """The zip in an open file. Its directory and its members must agree on their names: none is missed in silence."""
    with zipfile.ZipFile(file) as archive:
        if len(archive.filelist) > MOST_MEMBERS or any(info.comment for info in archive.filelist):
            rule = f"must have at most {MOST_MEMBERS:,} members, without comments, which could hide others"
            raise UserError(f"{archive.filename}: {rule}; it is damaged, or no file of arrays")
        for info in archive.filelist:
            archive.open(info).close()
        yield archive


def member_in(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """The member `name` of an open zip, opened to be read by `content`; refused if it would unfold to too much."""
    info, what = archive.getinfo(name), f"{archive.filename}: {name}"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{what} is compressed by method {info.compress_type}: must be stored or deflated")
    # The directory at the archive's end can lie about a member's bytes, but not about its own position.
    check_unfolded(what, info.file_size, min(info.compress_size, archive.start_dir))
    return archive.open(info)


def content(member: IO[bytes], size: int) -> memoryview:
    """The last `size` bytes of a member, whose CRC-32 is compared; in small parts, as each is inflated at once."""
    found = memoryview(bytearray(size))
    for start in range(0, size, CHUNK):
        found[start : start + CHUNK] = member.read(CHUNK)  # ValueError if it ends early
    if member.read(1):
        raise UserError(f"{member.name} has more than the {size:,} bytes that belong to it; it is damaged")
    return found


def array_in(
    archive: zipfile.ZipFile, name: str, check: Callable[[str, tuple, np.dtype], object] = lambda *_: None
) -> np.ndarray:
    """The array `name` of an open .npz, in C order; `check(name, shape, dtype)` may refuse it before it is read."""
    with member_in(archive, f"{name}.npy") as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise UserError(f"{archive.filename}: {name} must have version 1.0 of NumPy's format; use numpy.savez")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member, max_header_size=LONGEST_HEADER)
        check(name, shape, dtype)
        size, declared = prod(shape) * dtype.itemsize, archive.getinfo(f"{name}.npy").file_size - member.tell()
        if dtype.hasobject or size != declared:
            raise UserError(
                f"{archive.filename}: {name} declares {declared:,} bytes of numbers: {dtype} {shape} has {size:,}; "
                "it is damaged"
            )
        array = np.frombuffer(content(member, size), dtype).reshape(shape, order="F" if fortran else "C")
    return np.asarray(array, order="C")


def dict_of(pairs: Iterable[tuple[Any, Any]] = ()) -> dict:
    """A dict of (key, value) pairs from a pickle; a key must be a string or number, which are safe to hash."""
    found = [(key, value) for key, value in pairs]
    if not all(isinstance(key, str | bytes | int) for key, _ in found):
        raise UserError("its pickle has a dict whose keys are neither strings nor numbers; use another file")
    return dict(found)


def _shared(value):
    """A value from the memo: a name or short string, for shared containers grow without end when they are walked."""
    if isinstance(value, list | dict | tuple) or (isinstance(value, str | bytes) and len(value) > LONGEST_SHARED):
        raise UserError(f"its pickle uses a {type(value).__name__} twice, which arrays do not need; use another file")
    return value


def unpickled(file: BinaryIO, names: dict[str, Any], persistent: Callable[[Any], Any] | None = None) -> Any:
    """The value of the pickle in `file`, which then stands behind it.

    names        what stands for each "module.name" that the pickle may ask for; functions among it may be called
    persistent   makes a value of a persistent id, if the pickle may have some

    Strings of Python 2 come as text in latin-1. Raises UserError for all that arrays do not need.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}

    def popped(n=None):
        """The last n entries of the stack, or all above the mark, which goes too."""
        return (list(iter(stack.pop, MARK)) if n is None else [stack.pop() for _ in range(n)])[::-1]

    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count > MOST_OPCODES:
            raise UserError(f"its pickle has over {MOST_OPCODES:,} opcodes: arrays need fewer; use another file")
        name = opcode.name
        if name in PUSHES:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(_shared(memo[argument]))
        elif name == "TUPLE" or name in TUPLES:
            stack.append(tuple(popped(TUPLES.get(name))))
        elif name in ("APPEND", "APPENDS"):
            entries = popped(1 if name == "APPEND" else None)
            stack[-1].extend(entries)
        elif name in ("SETITEM", "SETITEMS"):
            entries = popped(2 if name == "SETITEM" else None)
            stack[-1].update(dict_of(zip(entries[::2], entries[1::2], strict=True)))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            asked = ".".join(popped(2)) if argument is None else argument.replace(" ", ".", 1)
            if asked not in names:
                asked = printable(asked[:80])
                raise UserError(f"its pickle asks for {asked}, which arrays do not need; do not trust its origin")
            stack.append(names[asked])
        elif name == "REDUCE":
            function, arguments = popped(2)
            if not any(function is known for known in names.values()):
                raise UserError("its pickle calls what is no function; use another file")
            stack.append(function(*arguments))
        elif name == "BUILD":
            (state,) = popped(1)
            getattr(stack[-1], "__setstate__", id)(state)  # attributes of a dict are left out
        elif name == "BINPERSID" and persistent:
            stack.append(persistent(*popped(1)))
        elif name == "STOP":
            return stack[-1]
        elif name not in ("PROTO", "FRAME"):
            raise UserError(f"its pickle has the opcode {name}, which arrays do not need; use another file")
    raise EOFError("the pickle does not end")
