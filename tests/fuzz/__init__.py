"""Attacks on the package: damaged files, bit flips, bombs, kills and extreme options. See `__main__.py`."""

import sys
from pathlib import Path

# The writers of files that the tests share lie one folder up.
sys.path.insert(0, str(Path(__file__).parents[1]))
