"""The command line: it parses, calls, prints.

    minicoulomb train       train on the 25 Gaussians, the ring, digits, images in any form, or an array
    minicoulomb sample      pictures, PNG files or arrays from a run
    minicoulomb evaluate    how good a run's samples are
    minicoulomb stats       a data set's statistics, as pytorch-fid keeps them
    minicoulomb prepare     a folder, zip, tar or LMDB of images, or CIFAR-10, as one array
    minicoulomb models      the networks, layer by layer
    minicoulomb gradcheck   every gradient against finite differences, JAX or PyTorch
    minicoulomb benchmark   times and memory side by side with PyTorch
    minicoulomb info        versions, the processor and the GPU, or why there is none

A mistake in the input is told in one line and exits with 1, a wrong option with 2; Ctrl-C exits with 130 and
SIGTERM with 143, after the run is saved.
"""

import json
import signal
import sys
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path

import click

from minicoulomb import __version__, pictures
from minicoulomb import checkpoint as checkpoints
from minicoulomb.backend import open_backend
from minicoulomb.benchmark.cases import Setting, open_torch, select
from minicoulomb.benchmark.report import HEADER, environment
from minicoulomb.config import Config
from minicoulomb.console import Console, Progress
from minicoulomb.data.cache import prepare as prepare_images
from minicoulomb.data.sources import CHANNELS, FORMS, image_shape, image_source, kind, open_dataset
from minicoulomb.errors import UserError
from minicoulomb.evaluate import evaluate as evaluate_samples
from minicoulomb.evaluate import nearest_training
from minicoulomb.export import check_rows, export
from minicoulomb.gradcheck import check
from minicoulomb.inception import compare
from minicoulomb.inception.statistics import write_statistics
from minicoulomb.info import describe, lines
from minicoulomb.models import DISCRIMINATORS, GENERATORS, Space, build
from minicoulomb.options import config_options, flag, given
from minicoulomb.presets import PRESETS, absolute, resolve
from minicoulomb.run import Run, find_checkpoint
from minicoulomb.sampling import interpolations, sample_blocks, samples
from minicoulomb.signals import StopRequest
from minicoulomb.threads import available_cores, set_threads
from minicoulomb.train import train as train_run

# What may differ when a run goes on; all else is the run's identity.
RESUMABLE = {"steps", "data", "backend", "device", "tf32", "threads", "batch_statistics"}
RESUMABLE |= {"log_every", "sample_every", "checkpoint_every", "keep_checkpoints"}
RESUMABLE |= {"fid_every", "fid_samples", "fid_reference", "inception"}
# How many samples are measured; a run ends with it where samples have at most SMALL numbers, and it takes seconds.
EVALUATED, SMALL = 2500, 512
# The discriminator `my-big` has no generator of its own.
GENERATOR_OF = {"my-big": "my"}
PATH = click.Path(path_type=Path)


class Commands(click.Group):
    """Commands that tell a UserError in one line, without a traceback, and exit with 1."""

    def invoke(self, ctx):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            click.echo("\nstopped", err=True)
            sys.exit(128 + signal.SIGINT)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__)
def main():
    """Coulomb GANs without a framework (Unterthiner et al., ICLR 2018)."""


@main.command()
@click.option("--preset", type=click.Choice(list(PRESETS)), help="settings to start from; grid, or what suits --data")
@click.option("--out", type=PATH, default=Path("runs"), help="where the numbered run directory is made  [runs]")
@click.option("--resume", type=PATH, metavar="RUN", help="go on with a run, exactly as if it had not stopped")
@click.option("--init-from", type=PATH, metavar="CKPT", help="start a new run from a checkpoint's (or run's) weights")
@click.option(
    "--until", type=click.IntRange(1), metavar="STEP", help="stop and save at this step; schedules go by --steps"
)
@click.option("--dry-run", is_flag=True, help="print the resolved configuration as JSON and stop")
@config_options()
def train(preset, out, resume, init_from, until, dry_run, **options):
    """Train a Coulomb GAN; without options, on 25 Gaussians in the plane, in about two minutes.

    In brackets are the defaults of settings that the preset leaves alone.
    """
    chosen = given(options)
    if resume:
        _check_resumable(preset, init_from, chosen)
        backend, checkpoint = _load(resume, chosen)
        config = checkpoint.config
        if checkpoint.state.step > config.steps:
            raise UserError(f"steps {config.steps}: the run is at step {checkpoint.state.step}; use --steps above that")
    else:
        config = resolve(preset, **chosen)
    if dry_run:
        click.echo(config.to_json())
        return

    if kind(config.data) == "images":  # before they are decoded, see whether their size fits the networks
        build(config, Space(image_shape(config)))
    cache = (_run_directory(resume).parent if resume else out) / "cache"
    dataset = open_dataset(config, cache, _showing("preparing"), _tell_skipped)
    space = Space(dataset.shape, dataset.scale, dataset.bound)
    if resume:
        if space != checkpoint.space:
            raise UserError(f"data {config.data}: not the run's: {space} where {checkpoint.space} was; use --data")
        fid = _periodic_fid(checkpoint, backend, cache)
        run = Run.open(_run_directory(resume))
        run.rewind(config, checkpoint.state.step)
    else:
        backend = _compute_on(config)
        checkpoint = checkpoints.initial(config, space, backend.xp)
        if init_from:
            _copy_weights(checkpoints.load(find_checkpoint(init_from)).to(backend.xp), checkpoint, init_from)
        fid = _periodic_fid(checkpoint, backend, cache)
        run = Run.create(out, dataset.name, checkpoint)
    _train(run, checkpoint, dataset, backend, min(until or config.steps, config.steps), fid)


def _periodic_fid(checkpoint, backend, cache):
    """A function of what asks to stop, for the FID of the checkpoint's state, or None."""
    config, state = checkpoint.config, checkpoint.state
    if not config.fid_every:
        return None
    network = compare.open_network(config.inception, backend.xp)
    reference = compare.open_reference(
        config.fid_reference or config.data,
        *(config, network, ("fid",), cache, _showing("reference"), _showing("preparing"), _tell_skipped),
    )
    measure, seeing = compare.Comparison(network, reference), _showing("FID")
    _warn(compare.too_few(config.fid_samples, "--fid-samples"))

    def fid(stop):
        found = measure(checkpoint.G, state, config, config.fid_samples, config.seed, seeing, stop)
        return found and found["fid"]

    return fid


def _train(run, checkpoint, dataset, backend, until, fid):
    state, config = checkpoint.state, checkpoint.config
    console = Console(run, state.step, until)
    if backend.choice:
        console.line(backend.choice)
    console.line(
        f"{run.path}: {dataset.name}, step {state.step} to {until}, "
        f"{backend.name}{', TF32' * backend.tf32}, {config.dtype}, seed {config.seed}"
    )
    with StopRequest() as stop:
        train_run(run, checkpoint, dataset, backend, until, stop, console.report, fid and partial(fid, stop))
    if state.step < config.steps:
        console.line(f"stopped and saved at step {state.step}; go on with: minicoulomb train --resume {run.path}")
        sys.exit(stop.exit_status if stop else 0)
    if prod(dataset.shape) <= SMALL:
        x = samples(checkpoint.G, state, EVALUATED, config.seed, config.batch_statistics)
        for line in _table(evaluate_samples(x, dataset, config)):
            console.line(line)
    console.line(f"picture: {run.picture_path(state.step)}")


def _check_resumable(preset, init_from, chosen):
    fixed = [flag(name) for name in chosen if name not in RESUMABLE]
    fixed += ["--preset"] * bool(preset) + ["--init-from"] * bool(init_from)
    if fixed:
        raise click.UsageError(f"{', '.join(fixed)}: cannot change when a run goes on; use --init-from for a new run")


def _run_directory(path: Path) -> Path:
    return path.parent.parent if path.is_file() else path


def _load(path, chosen=None):
    """(backend, checkpoint) of a run directory or checkpoint file, with the chosen settings on top of the run's."""
    checkpoint = checkpoints.load(find_checkpoint(path))
    chosen = chosen or {}
    checkpoint = checkpoint._replace(config=replace(checkpoint.config, **(chosen | absolute(chosen))))
    backend = _compute_on(checkpoint.config)
    return backend, checkpoint.to(backend.xp)


def _compute_on(config):
    """The configured backend, with the configured number of threads on the host."""
    set_threads(config.threads)
    return open_backend(config.backend, config.device, config.tf32)


def _tell_choice(backend):
    """What --backend auto chose and why, beside the output, which may be JSON."""
    if backend.choice:
        click.echo(backend.choice, err=True)


def _copy_weights(source, target, path):
    for name in ("theta", "w", "statistics", "average", "average_statistics"):
        new, old = getattr(source.state, name), getattr(target.state, name)
        if new.shape != old.shape:
            raise UserError(
                f"{path}: {name} has {new.size} numbers, this run's networks take {old.size}; give equal networks"
            )
        old[...] = new


def _showing(what):
    """A callback that shows how far a long count of images is, on a terminal."""
    return Progress(what) if sys.stderr.isatty() else None


def _warn(text):
    if text:
        click.echo(text, err=True)


def _tell_skipped(name, reason):
    click.echo(f"skipped {name}: {reason}", err=True)


@main.command()
@click.argument("run", type=PATH)
@click.option("-n", "n", type=click.IntRange(1), help="how many samples  [64], or rows of the two below  [8]")
@click.option("-o", "output", type=PATH, required=True, help="a picture.png, a folder for one PNG each, or a file.npz")
@click.option("--interpolate", is_flag=True, help="a picture whose row i leads from the sample i to the sample i + 1")
@click.option("--steps", type=click.IntRange(2), help="images in a row of --interpolate  [10]")
@click.option(
    "--neighbours", type=click.IntRange(1), metavar="K", help="each sample beside its K nearest training images"
)
@click.option("--seed", type=click.IntRange(0), default=0, help="sample i depends on the seed and on i alone  [0]")
@config_options("data", "batch_statistics", "backend", "device", "tf32", "threads")
def sample(run, n, output, interpolate, steps, neighbours, seed, **options):
    """Draw samples from RUN, a run directory or one of its checkpoints."""
    chosen = given(options)
    _check_sample_options(interpolate, steps, neighbours, chosen)
    backend, checkpoint = _load(run, chosen)
    _tell_choice(backend)
    config, space, G, _, state = checkpoint
    if not (interpolate or neighbours):
        n = n or 64
        export(sample_blocks(G, state, n, seed, config.batch_statistics), n, space.shape, output)
        click.echo(f"{n} samples: {output}")
    elif interpolate:
        n, steps = n or 8, steps or 10
        check_rows("--interpolate", n, steps, space.shape, output)
        rows = interpolations(G, state, n, steps, seed, config.batch_statistics)
        pictures.save(pictures.image_grid(rows.reshape(-1, *space.shape), steps), output)
        click.echo(f"{n} rows, each from one sample to the next: {output}")
    else:
        n = n or 8
        check_rows("--neighbours", n, neighbours + 1, space.shape, output)
        dataset = open_dataset(config, _run_directory(run).parent / "cache", _showing("preparing"), _tell_skipped)
        x = samples(G, state, n, seed, config.batch_statistics)
        nearest, distances = nearest_training(x, dataset, neighbours)
        pictures.save(pictures.neighbour_rows(x, nearest), output)
        first = distances[:, 0]
        click.echo(
            f"{n} samples, framed, beside the nearest of {dataset.n_train} training images, at a distance of "
            f"{first.min():.3g} to {first.max():.3g}: {output}"
        )


def _check_sample_options(interpolate, steps, neighbours, chosen):
    if interpolate and neighbours:
        raise click.UsageError("--interpolate and --neighbours: are two pictures; ask for one at a time")
    if steps and not interpolate:
        raise click.UsageError("--steps: belongs to --interpolate; add it, or leave --steps out")
    if "data" in chosen and not neighbours:
        raise click.UsageError("--data: is what --neighbours looks at; add --neighbours K, or leave --data out")


@main.command()
@click.argument("run", type=PATH)
@click.option(
    "-n", "n", type=click.IntRange(2), help=f"how many samples  [{EVALUATED}; {compare.SAMPLES} for --metric]"
)
@click.option("--metric", metavar="fid,kid", help="instead of the own metrics; takes --inception")
@click.option("--reference", help="for --metric: mu and sigma in a .npz, or images; the run's own data by default")
@click.option("--seed", type=click.IntRange(0), default=0, help="of the samples  [0]")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@config_options("data", "inception", "batch_statistics", "backend", "device", "tf32", "threads")
def evaluate(run, n, metric, reference, seed, as_json, **options):
    """Measure how good the samples of RUN are, against its data; with --metric by FID or KID."""
    backend, checkpoint = _load(run, given(options))
    _tell_choice(backend)
    config, cache = checkpoint.config, _run_directory(run).parent / "cache"
    if metric:
        n = n or compare.SAMPLES
        metrics = _compare(checkpoint, backend, compare.parse_metrics(metric), reference, n, seed, cache)
    elif reference:
        raise click.UsageError("--reference: is for FID and KID; add --metric fid,kid")
    else:
        dataset = open_dataset(config, cache, _showing("preparing"), _tell_skipped)
        x = samples(checkpoint.G, checkpoint.state, n or EVALUATED, seed, config.batch_statistics)
        metrics = evaluate_samples(x, dataset, config)
    metrics = {"step": checkpoint.state.step, **metrics}
    click.echo(json.dumps(metrics) if as_json else "\n".join(_table(metrics)))


def _compare(checkpoint, backend, metrics, reference, n, seed, cache):
    """FID and KID of n samples, with the number of both sides' images."""
    config = checkpoint.config
    compare.check_images(checkpoint.space.shape)
    network = compare.open_network(config.inception, backend.xp)
    y = compare.open_reference(
        reference or config.fid_reference or config.data,
        *(
            config,
            network,
            metrics,
            cache,
            _showing("reference"),
            _showing("preparing"),
            _tell_skipped,
        ),
    )
    if "fid" in metrics:
        _warn(compare.too_few(n, "-n"))
    measure = compare.Comparison(network, y, metrics)
    found = measure(checkpoint.G, checkpoint.state, config, n, seed, _showing("samples"))
    return {"samples": n, "reference_samples": y.n, **found}


@main.command()
@click.argument("data")
@click.option("-o", "output", type=PATH, required=True, help="a file.npz with mu and sigma")
@config_options("inception", "size", "crop", "channels", "skip_bad", "backend", "device", "tf32", "threads")
def stats(data, output, **options):
    """Write mean and covariance of Inception's features of DATA, whatever --data takes, as pytorch-fid reads them.

    A folder of images is decoded as for training: its centre, resized to --size (64).
    """
    if output.suffix != ".npz":
        raise UserError(f"{output}: statistics are a .npz file; use -o {output.stem}.npz")
    config = Config(data=data, **given(options))
    backend = _compute_on(config)
    _tell_choice(backend)
    dataset = open_dataset(config, output.parent / "cache", _showing("preparing"), _tell_skipped)
    compare.check_images(dataset.shape)
    network = compare.open_network(config.inception, backend.xp)
    found = compare.dataset_statistics(dataset, network, progress=_showing("images"))
    write_statistics(output, found)
    click.echo(f"{found.n} images: {output}")
    _warn(compare.too_few(found.n))


@main.command()
@click.argument("source", type=PATH)
@click.argument("output", type=PATH)
@click.option("--size", type=click.IntRange(1), help="side of the images  [64; of CIFAR-10: 32]")
@click.option("--crop", type=click.IntRange(1), help="side of the centred square cut out first; the largest by default")
@click.option("--channels", type=click.Choice(["1", "3"]), default=str(CHANNELS), help="1: grey, 3: colour  [3]")
@click.option("--skip-bad", is_flag=True, help="leave out images that cannot be read instead of stopping")
@click.option("--workers", type=click.IntRange(1), help="processes that decode; one for each core by default")
def prepare(source, output, size, crop, channels, skip_bad, workers):
    """Decode the images in SOURCE into the array OUTPUT (.npy), to be used as --data.

    SOURCE is a folder, zip or tar of images (CelebA), an LMDB (LSUN), or CIFAR-10. Interrupted, the same command goes
    on where it was.
    """
    kind(str(source))  # tells what is not there
    images = image_source(source)
    if images is None:
        raise UserError(f"{source}: must be {FORMS.rpartition(', or')[0]}; a .npy / .npz file is used as it is")
    report = prepare_images(
        images,
        output,
        size=size or images.size,
        crop=crop,
        channels=int(channels),
        skip_bad=skip_bad,
        workers=workers or available_cores(),
        progress=_showing("preparing"),
    )
    for name, reason in report.skipped:
        _tell_skipped(name, reason)
    click.echo(f"{report.n} images: {report.path}" + (" (unchanged)" if report.reused else ""))


@main.command()
@click.argument("names", nargs=-1, type=click.Choice(list(DISCRIMINATORS)))
@click.option("--size", type=int, default=64, help="side of the images  [64]")
@click.option("--channels", type=click.Choice(["1", "3"]), default="3", help="1 for grey, 3 for colour  [3]")
@click.option("--latent", type=click.IntRange(1), default=16, help="dimension of z  [16]")
def models(names, size, channels, latent):
    """Print the layers of the networks NAMES, by default of all."""
    space = Space((size, size, int(channels)))
    for name in names or DISCRIMINATORS:
        G, D = build(Config(generator=GENERATOR_OF.get(name, name), discriminator=name, latent=latent), space)
        if name in GENERATORS:
            _print_network(f"generator {name}", G)
        _print_network(f"discriminator {name}", D)


def _print_network(title, network):
    click.echo(f"{title}: {'x'.join(map(str, network.input_shape))}, {network.size:,} parameters")
    for layer, shape, parameters in network.summary():
        click.echo(f"  {layer:<16}{'x'.join(map(str, shape)) or '1':<14}{parameters:>12,}")
    click.echo()


@main.command()
@click.option("--model", type=click.Choice(list(DISCRIMINATORS)), default="my", help="networks of Algorithm 1  [my]")
@click.option("--size", type=int, default=16, help="side of the images  [16]")
@click.option("--against", type=click.Choice(["jax", "torch"]), help="a library, instead of finite differences")
@click.option("--seed", type=click.IntRange(0), default=0, help="of all that is random  [0]")
@config_options("backend", "device")
def gradcheck(model, size, against, seed, **options):
    """Check every layer's gradients, the field, and both gradients of Algorithm 1, in float64.

    Exits with 1 if one of them is off by more than its bound.
    """
    networks = {"generator": GENERATOR_OF.get(model, model), "discriminator": model}
    config = Config(**networks, latent=8, d=1.0, eps=1.0, **given(options))
    backend = open_backend(config.backend, config.device)
    _tell_choice(backend)
    rows = check(config, Space((size, size, 3)), against, seed, backend)
    click.echo(
        f"{'':<36}{'gradient':<16}{'error':>9}{'bound':>9}   (relative, against {against or 'finite differences'})"
    )
    for name, what, error, bound, ok in rows:
        click.echo(f"{name:<36}{what:<16}{error:9.1e}{bound:9.0e}" + ("" if ok else "   WRONG"))
    wrong = sum(not row.ok for row in rows)
    if wrong:
        raise UserError(f"{wrong} of {len(rows)} gradients: beyond their bound; see the rows marked WRONG")


@main.command()
@click.argument("cases", nargs=-1)
@click.option("--threads", type=click.IntRange(1), default=1, help="of both sides  [1]")
@click.option(
    "--repeats", type=click.IntRange(1), default=5, help="pairs of samples, at most, where they are slow  [5]"
)
@click.option("--list", "only_list", is_flag=True, help="print the names of the cases and stop")
@click.option("--json", "json_path", type=PATH, metavar="FILE", help="write the figures there as well")
@config_options("backend", "device", "tf32")
def benchmark(cases, threads, repeats, only_list, json_path, **options):
    """Compare times and memory with PyTorch's, on this machine, in float32.

    CASES are names of cases or how they begin: step, step-grid, memory, ...; by default all are run. Each is first
    checked to compute the same on both sides. A ratio below 1 is in favour of minicoulomb. With --backend cupy both
    compute on the same GPU, and neither uses TF32 unless --tf32 lets both.
    """
    config = Config(**given(options))
    selected = select(cases, gpu=config.backend != "numpy")  # a name that finds none is told before all else
    if only_list:
        click.echo("\n".join(case.name for case in selected))
        return
    torch_version = open_torch(threads)  # before CuPy, which takes NVIDIA's libraries as it finds them loaded
    backend = open_backend(config.backend, config.device, config.tf32)
    _tell_choice(backend)
    selected = select(cases, gpu=backend.name == "cupy")
    about, rows, failed = environment(threads, torch_version, backend), [], {}
    click.echo(", ".join(f"{name} {value}" for name, value in about.items()) + "\n")
    click.echo("\n".join(HEADER))
    for case in selected:
        try:
            rows.append(case(Setting(threads, repeats, backend)))
            click.echo(rows[-1].line())
        except UserError as error:  # the other cases have their times all the same
            failed[case.name] = str(error)
            click.echo(f"| `{case.name}` | {error} | | |")
        if json_path:
            figures = {**about, "rows": [row._asdict() for row in rows], "failed": failed}
            json_path.write_text(json.dumps(figures, indent=2) + "\n")
    notes = [f"- `{row.case}`: {row.note}" for row in rows if row.note]
    if notes:
        click.echo("\n" + "\n".join(notes))
    if failed:
        raise UserError(f"{len(failed)} of {len(selected)} cases: no times, for the reason that stands in the table")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@config_options("backend", "device", "tf32")
def info(as_json, **options):
    """Print versions, the processor, and the GPU, or why CuPy cannot compute on one."""
    config = Config(**{"backend": "auto", **given(options)})
    values = describe(config.backend, config.device, config.tf32)
    click.echo(json.dumps(values, indent=2) if as_json else "\n".join(lines(values)))


def _table(metrics):
    return [f"  {name:<18}{_shown(value)}" for name, value in metrics.items()]


def _shown(value):
    if value is None:
        return "unknown"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
