"""`minicoulomb evaluate`: the quality of a run's samples, by minicoulomb's own metrics, FID or KID."""

import json
from math import prod

import click

from minicoulomb.arrays.limits import check_pairs
from minicoulomb.arrays.threads import watching
from minicoulomb.cli.common import PATH, UserPath, load, open_data, open_reference, run_directory
from minicoulomb.cli.console import PATIENCE, say, showing, table, warn
from minicoulomb.cli.options import config_options, named
from minicoulomb.evaluation.evaluate import EVALUATED, EVALUATED_LINES, measure, parts_of
from minicoulomb.evaluation.verdict import verdict
from minicoulomb.fid import compare
from minicoulomb.training.sampling import samples


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "-n",
    "--n-lines",
    "n",
    type=click.IntRange(2),
    help=f"samples, or lines of text  [{EVALUATED}; {EVALUATED_LINES} lines; {compare.SAMPLES} for --metric]",
)
@click.option("--metric", metavar="fid,kid", help="FID or KID instead; needs --inception")
@click.option("--reference", type=UserPath(), help="for --metric: .npz with mu and sigma, or images  [the run's data]")
@click.option("--seed", type=click.IntRange(0), default=0, help="seed of the samples  [0]")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@config_options("data", "inception", "batch_statistics", "backend", "device", "tf32", "threads")
def evaluate(run, n, metric, reference, seed, as_json, **options):
    """Measure the quality of a run's samples.

    The reference is the run's data, or with --metric also --reference.
    """
    backend, checkpoint = load(run, named(options))
    config, cache, said = checkpoint.config, run_directory(run).parent / "cache", []
    if metric:
        n = n or compare.SAMPLES
        metrics = _compare(checkpoint, backend, compare.parse_metrics(metric), reference, n, seed, cache)
    elif reference:
        raise click.UsageError("--reference applies only to FID and KID; add --metric fid,kid")
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
