"""Calls several command lines of minicoulomb, one after the other, in one process or in all of an MPI launcher.

python many.py FILE      a JSON list of lists of arguments; prints the exit status of each that is not 0
"""

import json
import sys
from pathlib import Path

from minicoulomb.cli.main import main

if __name__ == "__main__":
    for line in json.loads(Path(sys.argv[1]).read_text()):
        try:
            main(line)
        except SystemExit as end:
            if end.code:
                print("status", end.code, *line, flush=True)
