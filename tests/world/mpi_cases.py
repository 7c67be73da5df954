"""What the tests on several processes share: how to start them, and the time after which one of them must hang."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest
from cli_cases import ROOT

# Seconds that no test needs, even on a busy machine.
HANGS = 300

# Processes are found in /proc.
missing = ["Linux"] * (sys.platform != "linux")
missing += [name for name, found in (("mpirun", shutil.which("mpirun")), ("mpi4py", find_spec("mpi4py"))) if not found]
needs_mpi = pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}; pip install mpi4py mpich")
_numbers = count()
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


def started(n: int, *args, program=("-m", "minicoulomb"), folder: Path | None = None, **options) -> subprocess.Popen:
    """`minicoulomb` with these arguments on n processes, in a session of its own; n = 0 means without a launcher."""
    command = [*(["mpirun", "-n", str(n)] if n else []), sys.executable, *map(str, program), *map(str, args)]
    trial = {**ENVIRONMENT, **options.pop("variables", {}), "TRIAL": f"{os.getpid()}-{next(_numbers)}"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": trial, **options}
    child = subprocess.Popen(
        command, cwd=folder, text=True, start_new_session=True, stdin=subprocess.DEVNULL, **options
    )
    child.trial = trial["TRIAL"]
    return child


def processes(child: subprocess.Popen) -> dict[int, int]:
    """Process numbers of all that a started process has started, by rank; a launcher's own have negative keys."""
    found: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            variables = dict(entry.partition("=")[::2] for entry in path.read_text().split("\0"))
            if variables.get("TRIAL") == child.trial:
                number = int(path.parent.name)
                found[int(variables.get("PMI_RANK", -number))] = number
    return found


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    """(status, output, errors) of a started process; it must end."""
    try:
        output, errors = process.communicate(timeout=HANGS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        raise
    return process.returncode, output, errors


def on(n: int, *args, status=0, **options) -> str:
    """What `minicoulomb` prints on n processes."""
    found, output, errors = ended(started(n, *args, **options))
    assert found == status, output + errors
    return output + errors


def many(n: int, commands: list[list], folder: Path) -> str:
    """What these commands print, one after the other, on n processes (many.py); n = 0 means without a launcher."""
    lines = folder / "lines.json"
    lines.write_text(json.dumps([[str(argument) for argument in command] for command in commands]))
    return on(n, lines, program=[ROOT / "tests" / "world" / "many.py"], folder=folder)


def gone(child: subprocess.Popen) -> float:
    """Wait until all processes that a started process has started have ended; the seconds that this takes."""
    began = time.monotonic()
    while processes(child):
        time.sleep(0.05)
        assert time.monotonic() - began < HANGS, f"{processes(child)} do not end"
    return time.monotonic() - began
