"""The host's C++ compiler in NVRTC's place: source to a loaded library, kept for the process and on disk."""

import ctypes
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

# Not optimised, for most kernels run on few numbers and compiling takes longer; a*b + c is two roundings, as written.
FLAGS = shlex.split(
    "-x c++ -std=c++17 -O0 -shared -fPIC -ffp-contract=off -fno-exceptions -fno-math-errno -nostdlib -pipe"
    " -Wall -Wdouble-promotion -Wno-unused -Wno-unknown-pragmas"
)


class CompileException(Exception):
    """The code is no C++ that the stand-in knows; the compiler's messages and the source."""


class NoCompiler(RuntimeError):
    """There is no C++ compiler to run kernels with: a test that needs one skips with this reason."""


class Library(NamedTuple):
    """A compiled source, and what the compiler warned of."""

    run: object
    warnings: str


@cache
def command() -> tuple[str, ...]:
    """$CXX, or the first of g++, clang++, c++ and zig's compiler."""
    if os.environ.get("CXX"):
        return tuple(shlex.split(os.environ["CXX"]))
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return (name,)
    if importlib.util.find_spec("ziglang"):
        return sys.executable, "-m", "ziglang", "c++"
    raise NoCompiler("no C++ compiler: install g++ or clang++, set CXX, or pip install ziglang")


@cache
def build(source: str) -> Library:
    """The library whose function `run` is to be called while the interpreter is held."""
    library, warnings = compiled(source)
    return Library(ctypes.PyDLL(str(library)).run, warnings.read_text())


def compiled(source: str, *flags: str) -> tuple[Path, Path]:
    """The files of the library and of the compiler's warnings."""
    call = [*command(), *FLAGS, *flags]
    key = hashlib.sha256("\0".join([*call, source]).encode()).hexdigest()[:32]
    library, warnings = _folder() / f"{key}.so", _folder() / f"{key}.txt"
    if not library.exists():
        _compile(call, source, library, warnings)
    return library, warnings


def _compile(call, source, library, warnings):
    """Written aside and renamed, for several processes may share the folder."""
    with tempfile.TemporaryDirectory(dir=_folder()) as aside:
        made = Path(aside) / "kernel.so"
        done = subprocess.run([*call, "-", "-o", made, "-lm"], input=source, capture_output=True, text=True)
        if done.returncode:
            raise CompileException(f"{done.stderr}\n{_numbered(source)}")
        (Path(aside) / "warnings").write_text(done.stderr)
        (Path(aside) / "warnings").replace(warnings)
        made.replace(library)


@cache
def _folder() -> Path:
    """The user's own; nobody else's library is ever loaded."""
    user = os.getuid() if hasattr(os, "getuid") else 0  # Windows has a folder for each user
    folder = Path(tempfile.gettempdir()) / f"strict-cupy-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != user:
        return Path(tempfile.mkdtemp(prefix="strict-cupy-"))
    return folder


def _numbered(source):
    lines = source.splitlines()
    return "\n".join(f"{number:4} {line}" for number, line in enumerate(lines, 1))
