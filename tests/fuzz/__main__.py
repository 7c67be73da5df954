"""Attack the package, and print each kind of failure with its smallest input: `python -m tests.fuzz PART`.

    damage    damaged files of every kind that is read      --cases 12000
    flips     single bits of files with checksums           --cases 16000
    bombs     small files that unfold to gigabytes, or never end
    kills     SIGKILL before each file operation            --cases 400
    options   extreme values of every option

Each part takes at most 20 minutes on two cores. A case has 10 s and 500 MB, and must end in success or in one message,
without a traceback, a half-written file, or anything executed. Exits with status 1 if a case fails.
"""

import argparse
import re
import sys
import time
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

CASES = {"damage": 12000, "flips": 16000, "bombs": None, "kills": 400, "options": None}


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=CASES)
    parser.add_argument("--cases", type=int, help="number of cases  [the whole part]")
    parser.add_argument("--first", type=int, default=0, help="number of the first one  [0]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the cases  [0]")
    parser.add_argument("--workers", type=int, default=2, help="processes  [2]")
    parser.add_argument("--keep", type=Path, help="folder for the smallest failing inputs")
    options = parser.parse_args()
    began, part = time.monotonic(), options.part
    room = import_module(f".{'files' if part in ('damage', 'flips') else part}", __package__)
    numbers = range(options.first, options.first + (options.cases or CASES[part] or 10**6))
    done, kinds = 0, defaultdict(list)
    with TemporaryDirectory(prefix="fuzz-") as root:
        for failure in room.attack(part, options.seed, numbers, Path(root), options.workers):
            done += 1
            if failure:
                kinds[failure.fault].append(failure)
                if len(kinds[failure.fault]) == 1:
                    case = failure.case[:100].encode("ascii", "backslashreplace").decode()
                    print(f"a new kind after {done} cases: {failure.fault.what}  {case}", flush=True)
    for fault, failures in sorted(kinds.items(), key=lambda item: -len(item[1])):
        least = min(failures, key=lambda failure: len(failure.case) + len(failure.content))
        print(f"{len(failures):5}  {fault.what}  {fault.frame}  [{least.room}]\n       {least.case}")
        last = (least.output.strip().splitlines() or [""])[-1]
        print(f"       {last.encode('ascii', 'backslashreplace').decode()[:300]}")
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"[^\w.]+", "-", f"{least.case.split(':')[0]}-{fault.what}-{fault.frame}")[:100]
            (options.keep / name).write_bytes(least.content or least.case.encode("utf-8", "backslashreplace"))
            print(f"       {options.keep / name}")
    failed = sum(map(len, kinds.values()))
    print(f"{part}: {done:,} cases, {failed} failures of {len(kinds)} kinds, {time.monotonic() - began:.0f} s")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
