"""What the tests on several processes share: how to start them, and the time after which one of them must hang."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from cli_cases import ROOT

# Seconds that no test needs, even on a busy machine.
HANGS = 300

missing = [name for name, found in (("mpirun", shutil.which("mpirun")), ("mpi4py", find_spec("mpi4py"))) if not found]
needs_mpi = pytest.mark.skipif(bool(missing), reason=f"needs {' and '.join(missing)}: pip install mpi4py mpich")
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


def started(n: int, *args, program=("-m", "minicoulomb"), folder: Path | None = None, **options) -> subprocess.Popen:
    """`minicoulomb` with these arguments on n processes, in a session of its own; n = 0 means without a launcher."""
    command = [*(["mpirun", "-n", str(n)] if n else []), sys.executable, *map(str, program), *map(str, args)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRONMENT, **options}
    return subprocess.Popen(command, cwd=folder, text=True, start_new_session=True, stdin=subprocess.DEVNULL, **options)


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
