"""The command line as a whole, and its small commands: what they print, their mistakes and their status."""

import json
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
from cli_cases import ROOT, SMALL, run, tree
from PIL import Image

from minicoulomb.arrays.backend import open_backend
from minicoulomb.cli.main import COMMANDS


def test_an_evaluation_names_its_metrics(trained, trained_images):
    grid = json.loads(run("evaluate", trained, "--json", "-n", 200))
    wanted = {"modes", "modes20", "high_quality", "spread", "reverse_kl", "forward_kl", "mmd2", "mmd2_floor"}
    assert wanted <= set(grid)
    digits = json.loads(run("evaluate", trained_images, "--json", "-n", 200))
    assert {"mmd2", "mmd2_floor", "nearest_ratio", "frechet", "classes", "entropy"} <= set(digits)
    assert "modes20" in run("evaluate", trained, "-n", 200)


def test_one_checkpoint_can_be_named_instead_of_a_run(trained):
    first, last = (json.loads(run("evaluate", trained / f"checkpoints/step-{s:07d}.npz", "--json")) for s in (0, 20))
    assert (first["step"], last["step"]) == (0, 20)


def test_the_networks_are_listed_with_shapes_and_parameters():
    output = run("models", "my-big", "--size", 32)
    assert "16x16x128" in output
    assert "generator" not in output
    assert "17,493,123" in run("models", "my")
    assert "discriminator dcgan" in run("models")
    assert "  BatchNorm, leaky_relu  16x16x128 " in output


def test_the_columns_of_networks_of_any_size_stand_apart():
    rows = [line for line in run("models", "resnet", "--size", 65536).splitlines() if line.startswith("  ")]
    assert all(len(re.split("  +", row.strip())) == 3 for row in rows)


def test_gradients_are_checked(tmp_path):
    for model in ("mlp", "text"):
        output = run("gradcheck", "--model", model)
        assert "BatchNorm" in output
        assert f"Algorithm 1, generator {model}" in output


def test_a_folder_can_be_prepared_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("L", (40, 30), 77).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.png").write_text("no image")
    assert "b.png" in run("prepare", tmp_path / "photos", tmp_path / "a.npy", "--size", 8, "--channels", 1, status=1)
    output = run("prepare", tmp_path / "photos", tmp_path / "a.npy", "--size", 8, "--channels", 1, "--skip-bad")
    assert "\n1 image: " in output
    assert (np.load(tmp_path / "a.npy") == 77).all()


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["train", "--preset", "moon"], 2, "moon"),
        (["train", "--steps", "many"], 2, "many"),
        (["train", "--generator", "big"], 2, "big"),
        (["train", "--no-such-option"], 2, "no-such-option"),
        (["nonsense"], 2, "nonsense"),
        (["train", "--lr-g", "-1"], 1, "lr_g"),
        (["train", "--data", "/nowhere"], 1, "/nowhere"),
        (["train", "--data", "digits", "--generator", "dcgan", "--size", "9"], 1, "9"),
        (["train", "--generator", "my"], 1, "--generator mlp"),
        (["train", "--tf32"], 1, "--no-tf32"),
        (["gradcheck", "--device", "-1"], 1, "device"),
        (["train", "--resume", "/nowhere"], 1, "/nowhere"),
        (["train", "--out", "/proc/nowhere", "--steps", "1"], 1, "/proc/nowhere"),
        (["sample", "/nowhere", "-o", "a.png"], 1, "/nowhere"),
        (["evaluate", "/nowhere"], 1, "/nowhere"),
        (["prepare", "/nowhere", "a.npy"], 1, "/nowhere"),
        (["models", "--size", "60"], 1, "--size 64"),
        (["prepare", str(ROOT / "docs"), "a.png"], 1, "a.png: the output is a .npy file; use a.npy"),
        (["prepare", str(ROOT / "minicoulomb/data/digits.npz"), "a.npy"], 1, "an LMDB, or CIFAR-10; use a .npy"),
    ],
)
def test_a_mistake_is_told_in_a_line_with_its_status(args, status, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = run(*args, status=status)
    assert said in output.splitlines()[-1]
    assert "Traceback" not in output
    assert not tree(tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--steps", "1"],
        ["gradcheck", "--model", "mlp"],
    ],
)
def test_without_a_gpu_the_reason_is_told_in_a_line(command, tmp_path, monkeypatch):
    if open_backend("auto").name == "cupy":
        pytest.skip("a GPU computes here")
    monkeypatch.chdir(tmp_path)
    output = run(*command, "--backend", "cupy", status=1)
    installed = find_spec("cupy") is not None
    reasons = ("there is no NVIDIA driver", "the driver finds no GPU", "CuPy finds no")
    assert len(output.splitlines()) == 1
    assert output.startswith(tuple(f"Error: backend cupy: {r}" for r in (reasons if installed else ["CuPy is not i"])))
    assert "or use --backend numpy" in output
    assert not tree(tmp_path)


def test_a_tilde_is_the_home_folder_in_every_option_that_names_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    np.save(tmp_path / "home" / "points.npy", np.random.default_rng(0).standard_normal((300, 2)))
    options = ["--g-width", 4, "--d-width", 4, "--batch-size", 8, "--steps", 1]
    run("train", "--data=~/points.npy", *options, "--out=~/runs")
    run("train", "--data=~/points.npy", *options, "--out=~/runs", "--init-from=~/runs/00000-points")
    for command in ("sample", "field"):
        run(command, "~/runs/00000-points", "-o~/a.png")
        assert (tmp_path / "home" / "a.png").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_handler_of_sigterm_does_not_stay_with_the_caller():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    run("models", "mlp")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before


def test_commands_work_in_threads_too(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run, "train", *SMALL, "--steps", 1, "--out", tmp_path).result()


def test_the_command_line_imports_no_library_that_a_command_may_not_need():
    """Each of them takes longer than everything else; matplotlib and CuPy are extras, and PyTorch is no dependency."""
    program = "import sys, minicoulomb.cli.main as m; [m.main.get_command(None, name) for name in m.COMMANDS]; "
    program += "print({'matplotlib', 'torch', 'jax', 'cupy', 'h5py', 'lmdb', 'scipy', 'autograd'} & set(sys.modules))"
    child = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert child.stdout == "set()\n"


def test_the_help_lists_every_command_with_its_purpose():
    listed = run("--help").split("Commands:\n")[1].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == COMMANDS
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)
    assert "No such command 'cli'" in run("cli", status=2)
