"""FID and KID: statistics, distances, the command line and training, against definitions and pytorch-fid."""

import json

import numpy as np
import pytest
import strict_cupy
from cli_cases import SMALL, SMALL_IMAGES, arrays, run, tree
from inception_cases import random_state
from inception_oracles import pytorch_fid
from PIL import Image
from test_inception import network_of, pictures

from minicoulomb.arrays.threads import set_threads
from minicoulomb.config import Config
from minicoulomb.data.sources import open_dataset
from minicoulomb.errors import UserError
from minicoulomb.evaluation.metrics import frechet_distance_of, kernel_distance
from minicoulomb.fid import compare
from minicoulomb.fid.statistics import Moments, Statistics, read_statistics, summarize, write_statistics
from minicoulomb.models import SampleSpace
from minicoulomb.presets import resolve
from minicoulomb.training import checkpoint as checkpoints

# pytorch-fid takes SciPy's matrix root, which warns of its own argument and of singular matrices.
by_scipy = pytest.mark.filterwarnings("ignore:The `disp`:DeprecationWarning", "ignore:Matrix is singular")

# Statistics


def moments_of(x, *cuts):
    moments = Moments()
    for part in np.split(x, cuts):
        moments.add(part)
    return moments.result()


def test_mean_and_covariance_do_not_depend_on_the_blocks():
    x = (100 + np.random.default_rng(0).standard_normal((3000, 5))).astype(np.float32)
    for cuts in ([], [1], [1023, 1024, 1025], range(7, 3000, 7)):
        mu, sigma = moments_of(x, *cuts)
        np.testing.assert_allclose(mu, x.astype(np.float64).mean(axis=0), rtol=1e-13)
        np.testing.assert_allclose(sigma, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-9, atol=1e-12)


def test_a_single_image_has_no_covariance():
    with pytest.raises(UserError, match="1 images"):
        moments_of(np.ones((1, 3)))


class Identity:
    """A network whose features are the pixels."""

    batch = 7

    @staticmethod
    def features(pixels):
        assert len(pixels) <= 7
        return pixels.reshape(len(pixels), -1).astype(np.float32)


@pytest.mark.parametrize(("n", "keep"), [(50, 50), (50, 20), (50, 1), (50, 99), (50, 0), (3, 2)])
def test_the_features_kept_are_spread_over_all_images(n, keep):
    blocks = np.array_split(np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1), 3)
    seen = []
    found = summarize(blocks, n, Identity, keep, lambda *counts: seen.append(counts))
    assert seen[-1] == (n, n)
    assert (found.n, found.mu[0]) == (n, (n - 1) / 2)
    if keep:
        kept = found.features[:, 0]
        assert len(kept) == min(keep, n)
        assert np.diff(kept).max(initial=0) <= -(-n // min(keep, n))
    else:
        assert found.features is None


def test_a_reference_of_files_has_the_run_s_size_and_an_array_its_size(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.integers(0, 256, (9, 6, 6, 1), dtype=np.uint8))
    (tmp_path / "photos").mkdir()
    for i in range(9):
        Image.fromarray(rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    opened = lambda config, found: open_dataset(config, tmp_path / "cache", found=found)
    for name, numbers in (("a.npy", 6 * 6), ("photos", 8 * 8 * 3)):
        config = Config.of(size=8, crop=10)
        found = compare.open_reference(str(tmp_path / name), config, Identity, ("fid",), opened)
        assert (found.n, found.mu.shape) == (9, (numbers,))
    assert (
        compare.open_reference(open_dataset(Config.of(data="digits"), tmp_path), *(config, Identity, (), None)).n
        == 1797
    )


# Distances


@pytest.fixture(params=[1, 3])
def threads(request):
    yield set_threads(request.param)
    set_threads(1)


def gaussians(m, rank, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rank + 1, m)) * np.linspace(0.01, 3, m)
    return x.mean(axis=0), np.cov(x, rowvar=False)


@pytest.mark.parametrize("rank", [300, 40])
def test_the_distance_of_a_gaussian_to_itself_is_0(rank, threads):
    assert abs(frechet_distance_of(*gaussians(200, rank, 0), *gaussians(200, rank, 0))) < 1e-10


def test_the_distance_of_gaussians_that_commute_has_its_closed_form():
    """|mu|^2 + sum (s_1 - s_2)^2, some of the s being 0."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.standard_normal((50, 50)))
    s_1, s_2 = rng.random(50) * (rng.random(50) > 0.3), rng.random(50) * (rng.random(50) > 0.3)
    mu_1, mu_2 = rng.standard_normal((2, 50))
    ours = frechet_distance_of(mu_1, (basis * s_1**2) @ basis.T, mu_2, (basis * s_2**2) @ basis.T)
    assert ours == pytest.approx(((mu_1 - mu_2) ** 2).sum() + ((s_1 - s_2) ** 2).sum(), rel=1e-6)


def test_the_distance_agrees_with_the_matrix_root():
    linalg = pytest.importorskip("scipy.linalg", reason="SciPy is not installed: pip install scipy")
    (mu_1, s_1), (mu_2, s_2) = gaussians(60, 300, 0), gaussians(60, 300, 1)
    cross = np.trace(linalg.sqrtm(s_1 @ s_2)).real
    expected = ((mu_1 - mu_2) ** 2).sum() + np.trace(s_1 + s_2) - 2 * cross
    assert frechet_distance_of(mu_1, s_1, mu_2, s_2) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance_of(mu_2, s_2, mu_1, s_1) == pytest.approx(expected, rel=1e-9)


def test_the_kernel_distance_is_its_definition():
    """Subsets of everything are the whole sets, whatever their order."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 4)), rng.standard_normal((6, 4)) + 1
    k = lambda a, b: (a @ b / 4 + 1) ** 3
    within = sum(k(s[i], s[j]) for s in (x, y) for i in range(6) for j in range(6) if i != j) / 30
    expected = within - 2 * np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(x, y, rng, subsets=3) == pytest.approx((expected, 0), rel=1e-12, abs=1e-12)


def test_the_kernel_distance_is_unbiased_and_grows_with_a_shift(threads):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 2000, 8)).astype(np.float32)
    mean, deviation = kernel_distance(x, y, np.random.default_rng(0), subsets=50, size=200)
    assert abs(mean) < deviation
    assert deviation > 0
    assert kernel_distance(x, y, np.random.default_rng(0), subsets=50, size=200) == (mean, deviation)
    shifted = kernel_distance(x, y + 0.5, np.random.default_rng(0), subsets=50, size=200)[0]
    assert shifted > 10 * deviation
    with pytest.raises(UserError, match="1 samples"):
        kernel_distance(x[:1], y, rng)


# Files


def random_statistics(seed=0, n=3000):
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((2048, 40)) / 6
    return Statistics(n, rng.random(2048), factors @ factors.T + np.diag(rng.random(2048)) / 50)


@by_scipy
def test_statistics_are_exchanged_with_pytorch_fid_and_the_distance_is_its(tmp_path):
    theirs = pytorch_fid().fid_score
    ours, others = random_statistics(0), random_statistics(1)
    write_statistics(tmp_path / "ours.npz", ours)
    mu, sigma = theirs.compute_statistics_of_path(str(tmp_path / "ours.npz"), None, 1, 2048, "cpu")
    np.testing.assert_array_equal(mu, ours.mu)
    np.testing.assert_array_equal(sigma, ours.sigma)
    np.savez_compressed(tmp_path / "theirs.npz", mu=others.mu, sigma=others.sigma)  # as its save_fid_stats does
    read = read_statistics(tmp_path / "theirs.npz")
    assert read.n is None
    assert read_statistics(tmp_path / "ours.npz").n == 3000
    distance = frechet_distance_of(ours.mu, ours.sigma, read.mu, read.sigma)
    assert distance == pytest.approx(theirs.calculate_frechet_distance(mu, sigma, others.mu, others.sigma), rel=1e-6)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"mu": np.zeros(2048)}, "no whole mu and sigma"),
        ({"mu": np.zeros(64), "sigma": np.zeros((64, 64))}, "2048 features"),
        ({"mu": np.zeros(2048), "sigma": np.full((2048, 2048), np.nan)}, "finite"),
        ({"mu": np.zeros(2048, complex), "sigma": np.zeros((2048, 2048))}, "finite"),
    ],
)
def test_a_file_without_statistics_of_inception_is_told(tmp_path, arrays, said):
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(UserError, match=said):
        read_statistics(tmp_path / "s.npz")


# The command line


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of Inception's in a file."""
    path = tmp_path_factory.mktemp("inception") / "weights.npz"
    np.savez(path, **random_state())
    return path


@pytest.fixture(scope="module")
def statistics(tmp_path_factory):
    """Statistics of nothing in particular."""
    path = tmp_path_factory.mktemp("inception") / "stats.npz"
    write_statistics(path, random_statistics())
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 2 steps on digits."""
    out = tmp_path_factory.mktemp("runs")
    run("train", *SMALL_IMAGES, "--steps", 2, "--out", out)
    return out / "00000-digits-conv"


@pytest.fixture
def quick(monkeypatch):
    """A Frechet distance without eigenvalues, which take seconds."""
    monkeypatch.setattr(compare, "frechet_distance_of", lambda mu_1, s_1, mu_2, s_2: float(((mu_1 - mu_2) ** 2).sum()))


@pytest.mark.slow
def test_fid_and_kid_of_a_run_are_those_of_its_exported_samples(trained, weights, tmp_path):
    """The samples themselves as reference, from the file that export writes: FID 0, and the KID of equal sets."""
    run("sample", trained, "-n", 5, "-o", tmp_path / "samples.npz")
    options = ["--metric", "fid,kid", "--inception", weights, "--reference", tmp_path / "samples.npz", "-n", 5]
    result, warning = json_of(run("evaluate", trained, *options, "--json"))
    assert (result["step"], result["samples"], result["reference_samples"]) == (2, 5, 5)
    assert abs(result["fid"]) < 1e-6
    assert result["kid"] < 0
    assert result["kid_std"] == pytest.approx(0, abs=1e-9)
    assert "full rank from 2049 on" in warning


@by_scipy
def test_the_fid_of_exported_pngs_is_pytorch_fid_s(trained, weights, tmp_path, monkeypatch):
    """Files and numbers all the way: PNGs that `sample` wrote, pytorch-fid's own loader, network and distance."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    n, state = 20, random_state()
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, tmp_path / "weights.pth")
    theirs = pytorch_fid(monkeypatch, tmp_path / "weights.pth").fid_score
    run("sample", trained, "-n", n, "-o", tmp_path / "samples")
    reference = pictures(n, 32)
    np.save(tmp_path / "reference.npy", reference)
    (tmp_path / "reference").mkdir()
    for i, image in enumerate(reference):
        Image.fromarray(image).save(tmp_path / "reference" / f"{i}.png")
    folders = [str(tmp_path / name) for name in ("samples", "reference")]
    expected = theirs.calculate_fid_given_paths(folders, 10, "cpu", 2048, num_workers=0)
    options = ["--metric", "fid", "--inception", tmp_path / "weights.pth", "--reference", tmp_path / "reference.npy"]
    result, told = json_of(run("evaluate", trained, *options, "-n", n, "--json"))
    assert "reference.npy: has shape (32, 32, 3), the run's samples have (8, 8, 1)" in told
    assert result["fid"] == pytest.approx(expected, rel=1e-3)
    theirs.save_fid_stats([folders[1], str(tmp_path / "stats.npz")], 10, "cpu", 2048, num_workers=0)
    result, _ = json_of(run("evaluate", trained, *options[:-1], tmp_path / "stats.npz", "-n", n, "--json"))
    assert result["fid"] == pytest.approx(expected, rel=1e-3)


def json_of(output):
    lines = output.splitlines()
    return json.loads(lines[-1]), "\n".join(lines[:-1])


def test_statistics_of_data_serve_as_a_reference(trained, weights, quick, tmp_path):
    np.save(tmp_path / "pictures.npy", pictures(4, 32))
    output = run("stats", tmp_path / "pictures.npy", "-o", tmp_path / "s.npz", "--inception", weights)
    assert "4 images" in output
    found = {}
    for name in ("s.npz", "pictures.npy"):
        options = ["--metric", "fid", "--inception", weights, "--reference", tmp_path / name, "-n", 2]
        text = run("evaluate", trained, *options)
        found[name] = {line.split()[0]: line.split()[1] for line in text.splitlines() if line.startswith("  ")}
    assert found["s.npz"] == found["pictures.npy"]
    assert found["s.npz"]["reference_samples"] == "4"
    assert float(found["s.npz"]["fid"]) > 0


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--metric", "fid"], 1, "--inception"),
        (["--metric", "fid", "--inception", "nowhere.pth"], 1, "nowhere.pth"),
        (["--metric", "is"], 1, "--metric fid,kid"),
        (["--reference", "a.npz"], 2, "--metric"),
        (["--metric", "kid", "--inception", "WEIGHTS", "--reference", "STATS"], 1, "--metric fid"),
        (["--metric", "fid", "--inception", "WEIGHTS", "--reference", "nowhere"], 1, "nowhere"),
        (["--metric", "fid", "--inception", "WEIGHTS", "--reference", "grid"], 1, "images"),
    ],
)
def test_what_an_evaluation_lacks_is_told(trained, weights, statistics, options, status, said):
    named = [{"WEIGHTS": weights, "STATS": statistics}.get(option, option) for option in options]
    output = run("evaluate", trained, *named, status=status)
    assert said in output.splitlines()[-1]


def test_points_have_no_fid(tmp_path, weights):
    run("train", *SMALL, "--steps", 1, "--out", tmp_path)
    options = ["--metric", "fid", "--inception", weights]
    assert "images" in run("evaluate", tmp_path / "00000-ring", *options, status=1)
    assert "images" in run("stats", "grid", "-o", tmp_path / "s.npz", "--inception", weights, status=1)
    assert ".npz" in run("stats", "digits", "-o", tmp_path / "s.txt", "--inception", weights, status=1)
    assert not {"s.npz", "s.txt"} & tree(tmp_path)
    training = ["train", *SMALL, "--steps", 1, "--out", tmp_path / "new", "--fid-every", 1]
    assert "--inception" in run(*training, status=1)
    assert "images" in run(*training, "--inception", weights, status=1)
    assert not (tmp_path / "new").exists()


def test_other_data_in_place_of_the_run_s_must_have_its_shape(trained, weights):
    said = run("evaluate", trained, "--metric", "fid", "--inception", weights, "--data", "grid", status=1)
    assert "data grid: has shape (2,), the run's samples have (8, 8, 1)" in said


# Training


@pytest.fixture
def scripted(monkeypatch):
    """FIDs of a list, in turns, whatever the samples."""
    values = []
    monkeypatch.setattr(compare, "frechet_distance_of", lambda *_: values.pop(0))
    monkeypatch.setattr(
        compare, "summarize", lambda blocks, n, *_: Statistics(sum(map(len, blocks)), *[np.zeros(1)] * 2)
    )
    return values


def metrics_of(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["fid"] for line in lines if "fid" in line}


def test_the_best_checkpoint_by_fid_is_kept(scripted, weights, statistics, tmp_path, monkeypatch):
    monkeypatch.chdir(weights.parent)
    scripted += [5.0, 3.0, 4.0, 3.5]
    options = ["--inception", weights.name, "--fid-every", 2, "--fid-samples", 70, "--fid-reference", statistics]
    keep = ["--steps", 7, "--keep-checkpoints", 1, "--checkpoint-every", 1]
    output = run("train", *SMALL_IMAGES, *options, *keep, "--out", tmp_path)
    path = tmp_path / "00000-digits-conv"
    assert metrics_of(path) == {2: 5.0, 4: 3.0, 6: 4.0, 7: 3.5}
    assert "step 4: FID 3.000, the lowest so far" in output
    assert "step 6: FID 4.000\n" in output
    assert "step 4: FID 3.000" in (path / "log.txt").read_text()
    assert sorted(p.name for p in (path / "checkpoints").iterdir()) == ["best.json", "best.npz", "step-0000007.npz"]
    assert json.loads((path / "checkpoints/best.json").read_text()) == {"step": 4, "fid": 3.0}
    config = json.loads((path / "config.json").read_text())
    assert config["inception"] == str(weights)
    assert config["fid_reference"] == str(statistics)
    run("sample", path / "checkpoints/best.npz", "-n", 2, "-o", tmp_path / "a.npz")


def test_measuring_changes_nothing_but_what_is_logged(scripted, weights, statistics, tmp_path):
    scripted += [1.0, 2.0]
    options = ["--inception", weights, "--fid-every", 1, "--fid-samples", 2, "--fid-reference", statistics]
    run("train", *SMALL_IMAGES, "--steps", 2, *options, "--out", tmp_path)
    run("train", *SMALL_IMAGES, "--steps", 2, "--out", tmp_path)
    one, other = (arrays(tmp_path / f"0000{i}-digits-conv" / "checkpoints/step-0000002.npz") for i in range(2))
    assert one == other


def test_a_resumed_run_forgets_a_best_checkpoint_that_lies_ahead(scripted, weights, statistics, tmp_path):
    scripted += [5.0, 1.0]
    options = ["--inception", weights, "--fid-every", 2, "--fid-samples", 2, "--fid-reference", statistics]
    run("train", *SMALL_IMAGES, "--steps", 4, "--checkpoint-every", 1, *options, "--out", tmp_path)
    path = tmp_path / "00000-digits-conv"
    scripted += [2.0]
    run("train", "--resume", path / "checkpoints/step-0000003.npz", "--yes")
    assert metrics_of(path) == {2: 5.0, 4: 2.0}
    assert json.loads((path / "checkpoints/best.json").read_text()) == {"step": 4, "fid": 2.0}
    scripted += [3.0, 1.5]
    run("train", "--resume", path / "checkpoints/best.npz", "--fid-every", 5, "--steps", 4)
    assert json.loads((path / "checkpoints/best.json").read_text())["step"] == 4


def untrained():
    """A checkpoint of a small pair on digits."""
    return checkpoints.initial(resolve("digits-conv", g_width=4, d_width=4), SampleSpace((8, 8, 1)))


def test_a_stop_ends_the_measurement():
    class AfterOne:
        """Asks to stop when it has been asked twice."""

        asked = 0

        def __bool__(self):
            self.asked += 1
            return self.asked > 1

    seen, record = [], lambda *counts: seen.append(counts)
    assert compare.compare(untrained(), 200, 0, Identity, random_statistics(), ("fid",), record, AfterOne()) is None
    assert seen[-1] == (64, 200)


def test_a_device_s_samples_have_the_fid_and_kid_of_the_host_s():
    checkpoint, found = untrained(), []
    for xp in (np, strict_cupy):
        network = network_of(random_state(divisor=16), xp)
        reference = summarize([pictures(9, 8, channels=1)], 9, network, keep=9)
        found.append(compare.compare(checkpoint.to(xp), 10, 0, network, reference, ("fid", "kid")))
    host, device = found
    assert set(host) == {"fid", "kid", "kid_std"}
    assert host["fid"] > 0
    assert device["fid"] == pytest.approx(host["fid"], rel=1e-3)
    assert device["kid"] == pytest.approx(host["kid"], abs=1e-7)  # means of float32 kernels near 1
