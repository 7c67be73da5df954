"""One table of the figures that several calls of `python -m benchmarks --json FILE` wrote: summary.py FILE ..."""

import json
import sys
from pathlib import Path

HEADER = ("workload", "ours", "ours, graph", "PyTorch", "graph", "compiled", "graph / graph", "graph / PyTorch")
WAYS = ("step-", "graph-", "compiled-")


def summary(paths: list[Path]) -> list[str]:
    """Steps in ms, a workload in a line, with all rivals; then all other figures; then what is missing, and why."""
    lines, others, missing = [], [], []
    for path in paths:
        figures = json.loads(path.read_text())
        precision = "TF32" if figures.get("TF32") == "on" else figures["dtype"]
        rows = {row["case"]: row for row in figures["rows"]}
        for name in dict.fromkeys(case.partition("-")[2] for case in rows if case.startswith(WAYS)):
            eager, graph, compiled = (rows.pop(way + name, {}) for way in WAYS)
            cells = (
                eager.get("ours"),
                graph.get("ours"),
                eager.get("theirs"),
                graph.get("theirs"),
                compiled.get("theirs"),
            )
            both = graph.get("ours") and eager.get("theirs")
            ratios = graph.get("ratio"), graph["ours"] / eager["theirs"] if both else None
            lines.append([f"{name}, {precision}", *map(_number, (*cells, *ratios))])
        for case, row in rows.items():
            ratio = f" to {_number(row['theirs'])}, ratio {row['ratio']:.2f}" if row["ratio"] else ""
            others.append(f"{case}, {precision}: {_number(row['ours'])}{ratio} {row['unit']}")
        missing += [f"{path.stem}, {case}: {why}" for case, why in (figures["failed"] | figures["skipped"]).items()]
    table = [HEADER, *lines] if lines else []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rows = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
    return [*rows, *others, *missing]


def _number(value):
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    print("\n".join(summary([Path(path) for path in sys.argv[1:]])))
