"""One case: a command in a folder, in a forked process or by the command line, with limits; and what it did wrong.

forked(action, folder)      the package is imported already, so a case costs milliseconds
command(argv, folder)       `python -m minicoulomb ...`, as a user calls it
fault(outcome)              the kind of what went wrong, "" if nothing did: the first of

    executed ...            it started a process, or wrote outside its folder
    SIGSEGV, SIGKILL, ...   it crashed
    over 10 s, over 500 MB
    ValueError              a traceback
    status 3, no message, a long message, raw control characters in a message

An error that the user can correct ends with status 1 or 2 and one message.
"""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import NamedTuple, TypeVar

from .hook.sitecustomize import watch

SECONDS, MEMORY = 10, 500e6
# A process may ask for more memory than it may use, so that the excess is seen; and it may wait for others' work.
ADDRESSES, PATIENCE = 4 * 2**30, 180
LONGEST = 4000
# What an error may leave: decoded images, and the state before a step that diverged.
DIVERGED, KEPT = "not finite at step", {"cache", ".out.npy.partial", ".part.npy.partial"}
ROOT = Path(__file__).parents[2]
Result = TypeVar("Result")
# The cases have homes of their own, but one cache of fonts.
os.environ.setdefault("MPLCONFIGDIR", str(Path.home() / ".cache/matplotlib"))
HOOK = Path(__file__).parent / "hook"


class Outcome(NamedTuple):
    """status: negative for a signal; seconds of the processor; memory: largest resident set above the idle one."""

    status: int
    output: str
    seconds: float
    memory: float


class Fault(NamedTuple):
    """What went wrong, and where: the innermost frame of the package, or "" if unknown."""

    what: str
    frame: str = ""


class Failure(NamedTuple):
    """case: what was done, to which kind of file; content: the smallest file found that fails."""

    fault: Fault
    case: str
    room: str
    output: str
    content: bytes = b""


def used() -> tuple[int, int]:
    """Bytes that this process uses: of addresses, and of memory beside mapped files, which a fork inherits."""
    size, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return size * resource.getpagesize(), (resident - shared) * resource.getpagesize()


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS + 1, SECONDS + 2))
    resource.setrlimit(resource.RLIMIT_AS, 2 * (used()[0] + ADDRESSES,))  # a fork begins with its parent's
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(PATIENCE)


def forked(action: Callable[[], object], folder: Path) -> Outcome:
    """The outcome of the action in a forked process with the folder as its working directory."""
    with TemporaryFile() as output:
        sys.stdout.flush()
        inherited, child = used()[1], os.fork()
        if not child:
            _act(action, folder, output.fileno())
        return _outcome(child, output, inherited)


def _act(action, folder, output):
    """The body of a forked process."""
    status = 97
    try:
        os.chdir(folder)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", errors="backslashreplace")
        limit()
        os.environ["HOME"] = str(folder)
        watch(str(folder))
        action()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def command(argv: list[str], folder: Path, idle: float = 0.0, **variables: object) -> Outcome:
    """The outcome of `python -m minicoulomb ARGV` in the folder."""
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    environment |= {"PYTHONPATH": f"{HOOK}:{ROOT}", "FUZZ_FOLDER": str(folder), "HOME": str(folder)}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    with TemporaryFile() as output:
        inherited = used()[1]
        line = [sys.executable, "-m", "minicoulomb", *argv]
        process = subprocess.Popen(
            line, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=limit
        )
        outcome = _outcome(process.pid, output, max(idle, inherited))  # it counts, though it was a fork's alone
        process.returncode = outcome.status
        return outcome


def _outcome(child, output, idle):
    _, status, usage = os.wait4(child, 0)
    output.seek(0)
    text = output.read(10**6).decode("utf-8", "surrogateescape")
    seconds, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 - idle
    return Outcome(os.waitstatus_to_exitcode(status), text, seconds, memory)


@cache
def idle() -> float:
    """Memory of a command that does nothing."""
    with TemporaryDirectory() as folder:
        return command(["--help"], Path(folder)).memory


def fault(outcome: Outcome) -> Fault | None:
    """What went wrong in a case; None if nothing did."""
    status, output = outcome.status, outcome.output
    if status == 98:
        return Fault(output.strip().splitlines()[-1][:80])
    if status in (-signal.SIGXCPU, -signal.SIGALRM) or outcome.seconds > SECONDS:
        return Fault(f"over {SECONDS} s", _frame(output, 0))
    if status < 0:
        return Fault(signal.Signals(-status).name, _frame(output, 0))
    if "Traceback (most recent call last)" in output:
        kinds = re.findall(r"^([A-Za-z_][\w.]*)(?::.*)?$", output[output.rindex("Traceback") :], re.MULTILINE)
        return Fault(kinds[-1] if kinds else "traceback", _frame(output[output.rindex("Traceback") :], -1))
    if outcome.memory > MEMORY:
        return Fault(f"over {MEMORY / 1e6:.0f} MB")
    if status not in (0, 1, 2):
        return Fault(f"status {status}")
    if status and "Error: " not in output and "Warning: " not in output:
        return Fault("no message")
    if re.search(r"MemoryError|Unable to allocate", output):
        return Fault("more memory than the limit, noticed too late")
    if len(output) > LONGEST:
        return Fault("a long message")
    if found := re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", output):
        return Fault(f"raw control characters {found[0]!r}")
    return None


def _frame(output, which):
    """The innermost frame of the package: the last one of a traceback, the first one of faulthandler's."""
    found = re.findall(r'File "[^"]*/minicoulomb/([^"]+)", line (\d+),? in (\S+)', output)
    return "{}:{} {}".format(*found[which]) if found else ""


def tree(folder: Path) -> dict[str, bytes]:
    """The content of each file below the folder, by its name."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def place(world: Path, names: list[str], folder: Path) -> None:
    """Copy files and folders of the world into an empty folder."""
    for name in names:
        source, target = world / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)


def spread(case: Callable[[int], Result], numbers: Iterable[int], workers: int) -> Iterator[Result]:
    """case(number) for each number, in order, in several processes."""
    global _case
    _case = case
    if workers == 1:
        yield from map(case, numbers)
        return
    with ProcessPoolExecutor(workers, get_context("fork")) as pool:
        yield from pool.map(_call, numbers, chunksize=4)


def _call(number):
    return _case(number)
