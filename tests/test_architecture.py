"""The house: which file may import which. A file imports only from files on earlier lines."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "minicoulomb"

LAYOUT = """
    errors backend fused upload column_sums threads products workspace streams files config
    direct toom_cook winograd_kernels winograd conv kernel_tiles pair_sums coulomb optim
    layers/layer layers/affine layers/convolution layers/activations layers/batch_norm_kernels layers/normalization
    layers/resampling layers/composite layers/__init__
    inception/__init__ inception/architecture inception/torch_file inception/safetensors inception/weights
    inception/pooling inception/resize inception/network inception/statistics
    network models objective baselines gan particles
    oracles/oracle oracles/autograd_oracle oracles/torch_oracle oracles/jax_oracle oracles/__init__ gradcheck
    data/dataset data/mixtures data/digits data/images data/arrays
    data/source data/folder data/archives data/lsun data/cifar data/listing data/decoding data/partial data/cache
    data/sources
    presets
    pictures/colours pictures/images pictures/plane pictures/points pictures/maps pictures/forces pictures/curve
    pictures/sheet pictures/output pictures/__init__ metrics evaluate
    curves/series curves/panels curves/drawing curves/__init__
    checkpoint run sampling field_values field_picture inception/compare export signals train info
    benchmark/__init__ benchmark/agreement benchmark/measure benchmark/limit benchmark/report benchmark/workloads
    benchmark/device benchmark/peer benchmark/torch_step benchmark/pieces benchmark/steps
    benchmark/memory benchmark/cases
    console options
    report/html report/images report/graphs report/facts report/numbers report/commands report/sections report/__init__
    commands/__init__ commands/opening commands/train commands/sample commands/evaluate commands/field
    commands/particles commands/plot commands/report commands/stats commands/prepare
    commands/models commands/gradcheck commands/benchmark commands/info cli __main__
""".split()


def imports_of(path):
    """The modules of this package that a file imports, as layout names."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("minicoulomb"):
            names = [node.module] if node.module != "minicoulomb" else [f"minicoulomb.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("minicoulomb")]
        for name in names:
            parts = name.split(".")[1:]
            if parts and parts != ["__version__"]:
                is_package = (PACKAGE.joinpath(*parts)).is_dir()
                yield "/".join([*parts, "__init__"] if is_package else parts)


def layout_name(path):
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def test_every_file_has_its_line_in_the_layout():
    files = {layout_name(path) for path in PACKAGE.rglob("*.py")} - {"__init__", "data/__init__"}
    assert files == set(LAYOUT)


def test_a_file_imports_only_from_earlier_lines():
    wrong = [
        f"{layout_name(path)} imports {name}"
        for path in PACKAGE.rglob("*.py")
        if layout_name(path) in LAYOUT
        for name in imports_of(path)
        if LAYOUT.index(name) >= LAYOUT.index(layout_name(path))
    ]
    assert not wrong


def test_cupy_is_imported_in_the_backend_alone():
    importers = {
        layout_name(path)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(alias.name.startswith("cupy") for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cupy"))
    }
    assert importers == {"backend"}


def test_the_top_level_script_stays_three_lines():
    assert len((PACKAGE.parent / "cli.py").read_text().splitlines()) <= 3
