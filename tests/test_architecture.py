"""The house: which room may import which, and how many lines of code each may have.

A room is a folder of the package or a file at its top. Code lines are those with code on them: no blank lines, comments
or docstrings. A budget is raised only together with a reason (see CHANGELOG.md or the commit).
"""

import ast
import io
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "minicoulomb"

# room: (budget of code lines, the rooms that it may import), the lowest floor first
ROOMS = {
    "errors": (25, ""),
    "files": (120, "errors"),
    "untrusted": (120, "errors files"),
    "arrays": (695, "errors"),
    "config": (205, "errors arrays"),
    "arguments": (65, "errors arrays"),
    "conv": (750, "errors arrays"),
    "coulomb": (515, "errors arrays"),
    "optim_cuda": (25, "arrays"),
    "optim": (35, "arrays optim_cuda arguments"),
    "layers": (655, "errors arrays conv arguments"),
    "network": (115, "errors arrays layers optim arguments"),
    "space": (25, "errors arguments"),
    "models": (155, "errors arguments config layers network space"),
    "schedules": (45, "config optim errors arguments"),
    "one_pass": (10, "arrays"),
    "diagnostics_cuda": (55, "arrays"),
    "diagnostics": (60, "errors arrays coulomb diagnostics_cuda"),
    "gan": (160, "errors config arrays coulomb network optim schedules one_pass arguments diagnostics"),
    "baselines": (65, "arrays config coulomb network gan arguments"),
    "particles": (100, "errors arrays coulomb optim"),
    "data": (1800, "errors files untrusted arrays config"),
    "presets": (175, "errors arrays config data"),
    "training": (650, "errors files untrusted config arrays data network models diagnostics gan schedules baselines"),
    "world": (350, "errors arrays config coulomb data gan layers network models training"),
    "evaluation": (575, "errors config arrays coulomb data gan schedules training"),
    "fid": (565, "errors files untrusted arrays conv config data evaluation gan network training"),
    "pictures": (1095, "errors files untrusted config arrays coulomb data gan schedules training evaluation"),
    "trained": (80, "errors config arrays data network gan space training pictures"),
    "verify": (490, "errors config arrays conv coulomb layers network models gan baselines"),
    "report": (420, "errors untrusted config presets data training evaluation pictures models"),
    "cli": (1230, "errors files untrusted config presets arrays coulomb data network models diagnostics gan "
                 "particles training world evaluation fid pictures verify report"),
    "__main__": (25, "cli"),
    "__init__": (60, ""),
}  # fmt: skip

# What somebody who reads the paper needs: Algorithm 1 with convolutional networks on NumPy. Checks of a convolution's
# arguments are apart, in conv/geometry.py. The networks of text take 25 lines of it.
CORE = 1130
# The whole package.
PACKAGE_LINES = 11450
IN_CORE = [
    "gan.py",
    "network.py",
    "models.py",
    "optim.py",
    "coulomb/formulas.py",
    "conv/im2col.py",
    "conv/correlation.py",
]
IN_CORE += ["layers/*.py"]
APART_FROM_CORE = "*_cuda.py"


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def files():
    return sorted(PACKAGE.rglob("*.py"))


def imports_of(path):
    """The modules of this package that a file imports, with dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "minicoulomb":
            names = [node.module] if node.module != "minicoulomb" else [f"minicoulomb.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "minicoulomb"]
        else:
            continue
        yield from (name.removeprefix("minicoulomb").lstrip(".") for name in names)


def code_lines(path):
    """How many lines hold code: neither blank, nor comments, nor docstrings."""
    text = path.read_text()
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            docstrings |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    apart = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in apart:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def core():
    found = {path for pattern in IN_CORE for path in PACKAGE.glob(pattern)}
    return {path for path in found if not path.match(APART_FROM_CORE)}


def test_every_file_is_in_a_room():
    assert {room_of(path) for path in files()} == set(ROOMS)


def test_a_room_imports_only_from_the_rooms_below_that_it_names():
    floors, wrong = list(ROOMS), []
    for path in files():
        room = room_of(path)
        for name in filter(None, imports_of(path)):
            other = name.split(".")[0]
            if other in (room, "__version__") or room == "__init__":
                continue
            if other not in ROOMS[room][1].split():
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong
    for room, (_, allowed) in ROOMS.items():
        above = [other for other in allowed.split() if floors.index(other) >= floors.index(room)]
        assert not above, f"{room} imports from above: {above}"


def test_every_room_keeps_its_budget():
    sizes = {room: sum(code_lines(path) for path in files() if room_of(path) == room) for room in ROOMS}
    over = {room: f"{sizes[room]} of {budget}" for room, (budget, _) in ROOMS.items() if sizes[room] > budget}
    assert not over


def test_the_reader_s_core_keeps_its_budget():
    sizes = {str(path.relative_to(PACKAGE)): code_lines(path) for path in core()}
    assert sum(sizes.values()) <= CORE, sizes


def test_the_package_keeps_its_budget():
    assert sum(map(code_lines, files())) <= PACKAGE_LINES


def test_no_two_classes_share_a_name():
    found = {}
    for path in files():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert not {name: places for name, places in found.items() if len(places) > 1}


def test_cupy_is_imported_in_the_backend_alone():
    importers = {
        str(path.relative_to(PACKAGE))
        for path in files()
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(alias.name.startswith("cupy") for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cupy"))
    }
    assert importers == {"arrays/backend.py"}


def test_the_top_level_script_stays_three_lines():
    assert len((PACKAGE.parent / "cli.py").read_text().splitlines()) <= 3
