"""N processes compute what one computes: the states after ten steps, for every objective, network and kind of data."""

from dataclasses import dataclass

import numpy as np
import pytest
from data_files import contents, write_folder
from mpi_cases import many, needs_mpi

from minicoulomb.arrays.backend import open_backend
from minicoulomb.data.sources import open_dataset
from minicoulomb.layers import BatchNorm
from minicoulomb.models import SampleSpace
from minicoulomb.network import Network
from minicoulomb.presets import resolve
from minicoulomb.training.checkpoint import initial
from minicoulomb.training.steps import Steps

pytestmark = needs_mpi

TEN = "--steps 20 --until 10 --sample-every 0 --threads 1 --dtype float64".split()
PLANE = "--preset ring --g-width 8 --d-width 8 --batch-size 16"
PIXELS = "--preset digits --g-width 4 --d-width 4 --batch-size 8"
SMALL_IMAGES = "--preset digits-conv --g-width 4 --d-width 4 --batch-size 8"
CASES = {
    "coulomb": "--preset grid --batch-size 64 --g-width 16 --d-width 16",
    "noise": f"{PLANE} --noise 1 --d-steps 3 --beta1-g .5",
    "field share": f"{PLANE} --field-share .3 --average .9",
    "gan": f"{PLANE} --objective gan --d-steps 2",
    "field": f"{PLANE} --objective field --average 0",
    "large batch": "--preset ring --batch-size 2048",
    "batch norm": f"{SMALL_IMAGES} --average .9",
    "batch norm, noise": f"{SMALL_IMAGES} --noise .5 --d-steps 2",
    "batch norm, gan": f"{SMALL_IMAGES} --objective gan",
    "batch norm, field": f"{SMALL_IMAGES} --objective field",
    "batch norm, one sample each": "--preset digits-conv --g-width 4 --d-width 4 --batch-size 4",
    "resnet, l2": f"{PIXELS} --generator resnet --discriminator resnet --l2 1e-3 --l2-g 1e-3",
    "my, field share": f"{PIXELS} --generator my --discriminator my --field-share .3",
    "my-big, winograd": f"{PIXELS} --generator dcgan --discriminator my-big --convolution winograd",
    "text": "--data {text} --length 8 --g-width 8 --d-width 8 --batch-size 8 --lr-d 1e-3",
    "folder": "--data {folder} --size 8 --g-width 4 --d-width 4 --batch-size 4",
    "points far from the origin": "--data {points} --g-width 8 --d-width 8 --batch-size 16",
}
# What this file runs unless asked for more: each way through the code of world/ once.
FEW = ["noise", "field share", "gan", "batch norm", "batch norm, field", "text", "folder", "points far from the origin"]
LOCAL = f"{SMALL_IMAGES} --local-batch-norm"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Files of data: text, images, points."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "text.txt").write_text("".join(f"line {i} of {i % 7}\n" for i in range(300)))
    write_folder(folder / "images", contents(40))
    np.save(folder / "points.npy", 1e6 + np.random.default_rng(0).standard_normal((500, 3)))
    return {"text": folder / "text.txt", "folder": folder / "images", "points": folder / "points.npy"}


def states(n, lines, folder):
    """The last state of each of the runs by n processes, name -> array."""
    commands = [["train", *line.split(), "--out", str(folder / str(i))] for i, line in enumerate(lines)]
    assert "status" not in many(n, commands, folder)
    return [_state(*(folder / str(i)).glob("0*/checkpoints/step-0000010.npz")) for i in range(len(lines))]


def _state(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files if name != "about" and file[name].size}


def differences(found, wanted):
    """The largest difference of each array, relative to the array's largest number."""
    assert set(found) == set(wanted)
    return {name: np.abs(found[name] - a).max() / max(np.abs(a).max(), 1e-300) for name, a in wanted.items()}


def lines_of(names, data, *extra):
    return [" ".join([CASES[name].format(**data), *TEN, *extra]) for name in names]


def check(names, found, wanted, within=1e-12):
    for name, a, b in zip(names, found, wanted, strict=True):
        assert max(differences(a, b).values()) <= within, (name, differences(a, b))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The runs of one process, and of two."""
    return [tmp_path_factory.mktemp(name) for name in ("one", "two")]


@pytest.fixture(scope="module")
def pairs(data, folders):
    """The states of FEW, and of two in float32, by one process and by two; those of two with local batch norm."""
    lines = [*lines_of(FEW, data), *lines_of(["field share", "batch norm"], data, "--dtype float32")]
    return states(0, lines, folders[0]), states(2, [*lines, " ".join([LOCAL, *TEN])], folders[1])


def test_two_processes_compute_what_one_computes(pairs):
    one, two = pairs
    check(FEW, two[: len(FEW)], one[: len(FEW)])


def test_with_float32_they_differ_by_rounding(pairs):
    one, two = pairs
    assert one[-1]["theta"].dtype == np.float32
    check(["field share", "batch norm"], two[len(FEW) : -1], one[len(FEW) :], 2e-4)


def test_a_run_of_two_processes_goes_on_with_one(pairs, folders, tmp_path):
    names = ["noise", "field share", "points far from the origin"]
    runs = [[next((folder / str(FEW.index(name))).glob("0*")) for name in names] for folder in folders]
    many(0, [["train", "--resume", run, "--until", 14] for group in runs for run in group], tmp_path)
    check(names, *([_state(run / "checkpoints" / "step-0000014.npz") for run in group] for group in reversed(runs)))


@dataclass(frozen=True)
class BatchNormOfShares(BatchNorm):
    """BatchNorm of each half of a batch by itself; the running statistics are those of the first."""

    def forward(self, params, x, statistics=None):
        if statistics is not None:
            return super().forward(params, x, statistics)
        halves = [super(BatchNormOfShares, self).forward(params, half) for half in np.split(x, 2)]
        return np.concatenate([y for y, _ in halves]), [residuals for _, residuals in halves]

    def input_gradient(self, residuals, dy):
        return np.concatenate(
            [super(BatchNormOfShares, self).input_gradient(*h) for h in zip(residuals, np.split(dy, 2))]
        )

    def param_gradient(self, residuals, dy):
        first, second = (super(BatchNormOfShares, self).param_gradient(*h) for h in zip(residuals, np.split(dy, 2)))
        return {name: first[name] + second[name] for name in first}

    def gradients(self, residuals, dy, weights=None):
        return self.input_gradient(residuals, dy), self.param_gradient(residuals, dy)

    def batch_statistics(self, residuals):
        return super().batch_statistics(residuals[0])


def test_local_batch_norm_is_that_of_each_share(pairs):
    one, two = pairs
    assert max(differences(two[-1], one[FEW.index("batch norm")]).values()) > 1e-3
    config = resolve("digits-conv", g_width=4, d_width=4, batch_size=8, steps=20, dtype="float64")
    dataset = open_dataset(config, None)
    checkpoint = initial(config, SampleSpace.of(dataset), np)
    halved = lambda layer: (
        BatchNormOfShares(layer.channels, layer.activation) if isinstance(layer, BatchNorm) else layer
    )
    of_shares = {
        name: Network([layer.map(halved) for layer in network.root.children], network.input_shape)
        for name, network in (("G", checkpoint.G), ("D", checkpoint.D))
    }
    steps = Steps(checkpoint._replace(**of_shares), open_backend("numpy", 0, False))
    for _ in range(10):
        steps(dataset)
        checkpoint.state.step += 1
    state = checkpoint.state
    wanted = {name: getattr(state, name) for name in two[-1]}
    check(["local batch norm"], two[-1:], [wanted])


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 4])
def test_n_processes_compute_what_one_computes(n, data, tmp_path):
    one, several = (tmp_path / name for name in ("one", "several"))
    lines = lines_of(CASES, data)
    check(CASES, *(states(k, lines, folder) for k, folder in ((n, several), (0, one)) if folder.mkdir() is None))
