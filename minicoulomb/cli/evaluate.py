"""`minicoulomb evaluate`: the quality of a run's samples, by own metrics, FID, KID or the birthday test."""

import json
from math import prod

import click
import numpy as np

from minicoulomb import pictures
from minicoulomb.arrays.limits import check_pairs
from minicoulomb.arrays.threads import watching
from minicoulomb.cli.common import OUTPUT, PATH, UserPath, load, open_data, open_reference, run_directory
from minicoulomb.cli.console import PATIENCE, say, showing, table, warn
from minicoulomb.cli.options import config_options, named
from minicoulomb.evaluation import duplicates as birthday
from minicoulomb.evaluation.evaluate import EVALUATED, EVALUATED_LINES, measure, nearest_training, parts_of
from minicoulomb.evaluation.verdict import verdict
from minicoulomb.fid import compare
from minicoulomb.pictures.output import check_rows
from minicoulomb.training.sampling import BLOCK, sample_blocks, samples

SAMPLES = f"{EVALUATED}, {EVALUATED_LINES} lines; duplicates: {birthday.BATCHES} x {birthday.LARGEST} at most"
SAMPLES = f"{SAMPLES}; fid, kid: {compare.SAMPLES}"


@click.command()
@click.argument("run", type=PATH)
@click.option("-n", "--n-lines", "n", type=click.IntRange(2), help=f"samples, or lines of text  [{SAMPLES}]")
@click.option("--metric", metavar="NAME", help="fid, kid or fid,kid, by --inception; or duplicates, the birthday test")
@click.option("--reference", type=UserPath(), help="for fid, kid: .npz with mu and sigma, or images  [the run's data]")
@click.option("-o", "output", type=OUTPUT, help="for duplicates: picture.png of the closest pairs, and training images")
@click.option("--seed", type=click.IntRange(0), default=0, help="seed of the samples  [0]")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@config_options("data", "inception", "batch_statistics", "backend", "device", "tf32", "threads")
def evaluate(run, n, metric, reference, output, seed, as_json, **options):
    """Measure the quality of a run's samples.

    The reference is the run's data, or for FID and KID also --reference. --metric duplicates estimates how many
    different samples the generator makes, from near-duplicates in batches. Held-out data define what is near.
    """
    if output and metric != "duplicates":
        raise click.UsageError("-o applies only to --metric duplicates; add it, or use minicoulomb sample")
    if reference and metric in (None, "duplicates"):
        raise click.UsageError("--reference applies only to FID and KID; add --metric fid,kid")
    backend, checkpoint = load(run, named(options))
    config, cache, said = checkpoint.config, run_directory(run).parent / "cache", []
    if metric == "duplicates":
        metrics, said = _duplicates(checkpoint, open_data(config, cache, space=checkpoint.space), n, seed, output)
    elif metric:
        n = n or compare.SAMPLES
        metrics = _compare(checkpoint, backend, compare.parse_metrics(metric), reference, n, seed, cache)
    else:
        dataset = open_data(config, cache, space=checkpoint.space)
        n = n or (EVALUATED_LINES if dataset.alphabet else EVALUATED)
        pairs = n * min(n, getattr(dataset, "n_train", n)) if not dataset.alphabet else n
        check_pairs(f"{n:,} samples", pairs, prod(dataset.shape), "use a smaller -n")
        progress = showing("samples", "samples", PATIENCE)
        x = samples(checkpoint.G, checkpoint.state, n, seed, config.run.batch_statistics, progress)
        with watching(showing("distances, part", "parts", PATIENCE)):
            lines = showing("lines", "lines", PATIENCE)
            metrics = measure(checkpoint, dataset, x, seed, search=True, progress=lines)
        said = verdict(metrics, parts_of(dataset), config)
    metrics = {"step": checkpoint.state.step, **metrics}
    say(*([json.dumps(metrics)] if as_json else [*table(metrics), *said]))


def _duplicates(checkpoint, dataset, n, seed, output):
    """The birthday test of n samples, and a sentence on it."""
    config, _, G, _, state = checkpoint
    size = birthday.batch_size(dataset.shape)
    n = -(-(n or birthday.BATCHES * size) // BLOCK) * BLOCK  # whole blocks
    check_pairs(f"{n:,} samples", n * size, prod(dataset.shape), "use a smaller -n")
    if output:
        check_rows("-o", birthday.PAIRS, 4, dataset.shape, output)
    blocks = sample_blocks(G, state, n, seed, config.run.batch_statistics, showing("samples", "samples", PATIENCE))
    metrics, found = birthday.duplicates(blocks, dataset, n, seed)
    if output:
        pairs = np.array([pair for _, *pair in found.closest])  # (pairs, 2, *shape)
        nearest, _ = nearest_training(pairs.reshape(-1, *dataset.shape), dataset, 1)
        pictures.save(pictures.neighbour_rows(pairs, nearest.reshape(pairs.shape)), output)
    return metrics, [birthday.in_words(metrics, min(n, size))]


def _compare(checkpoint, backend, metrics, reference, n, seed, cache):
    """FID and KID of n samples, with the numbers of samples and of reference images."""
    config = checkpoint.config
    compare.check_images(checkpoint.space.shape)
    compare.check_time(n, "-n", backend.xp)
    network = compare.open_network(config.run.inception, backend.xp)
    reference = reference or config.run.fid_reference or config.data.data
    opener = open_data if reference == config.data.data else open_reference
    opened = lambda config, found: opener(config, cache, found, checkpoint.space)
    y = compare.open_reference(reference, config, network, metrics, opened, showing("reference"))
    if "fid" in metrics:
        warn(compare.too_few(n, "-n"))
    found = compare.compare(checkpoint, n, seed, network, y, metrics, showing("samples"))
    return {"samples": n, "reference_samples": y.n, **found}
