"""`minicoulomb train`: start or continue a run."""

import sys
from functools import partial
from pathlib import Path

import click

from minicoulomb.cli.common import PATH, compute_on, configure, load, open_data, open_reference, run_directory
from minicoulomb.cli.console import Console, say, showing, table, warn
from minicoulomb.cli.options import Grouped, config_options, flag, named
from minicoulomb.data.source import Source
from minicoulomb.data.sources import find
from minicoulomb.data.text import to_lines
from minicoulomb.errors import UserError
from minicoulomb.evaluation.evaluate import EVALUATED_LINES, distance, fit, measure, measured, mode_metrics, parts_of
from minicoulomb.evaluation.ngrams import ngram_metrics
from minicoulomb.evaluation.verdict import verdict
from minicoulomb.fid import compare
from minicoulomb.models import SampleSpace, build
from minicoulomb.pictures import save
from minicoulomb.pictures.output import write_lines
from minicoulomb.pictures.training_picture import IMAGES, training_picture
from minicoulomb.presets import PRESETS, preset_of
from minicoulomb.training import checkpoint as checkpoints
from minicoulomb.training.loop import train as train_run
from minicoulomb.training.plateau import Plateau, check_watched
from minicoulomb.training.run import RunDirectory, find_checkpoint
from minicoulomb.training.run import load as load_checkpoint
from minicoulomb.training.sampling import samples
from minicoulomb.training.signals import StopRequest
from minicoulomb.training.steps import Steps
from minicoulomb.world.launch import current

# Values that make a run faster, if they are below its own.
FASTER = {"batch_size": 64, "g_width": 32, "d_width": 32, "size": 32}
# Lines of text that are shown while a run trains.
SHOWN = 10
# The settings that a resumed run may change; all others identify the run.
RESUMABLE = {"steps", "data", "backend", "device", "tf32", "threads", "batch_statistics"}
RESUMABLE |= {"log_every", "sample_every", "checkpoint_every", "keep_checkpoints"}
RESUMABLE |= {"fid_every", "fid_samples", "fid_reference", "inception"}


@click.command(cls=Grouped)
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    metavar="NAME",
    help=f"settings to start from: {', '.join(PRESETS)}  [grid, or as fits --data]",
)
@click.option("--out", type=PATH, default=Path("runs"), help="folder for the numbered run directory  [runs]")
@click.option("--resume", type=PATH, metavar="RUN", help="continue a run, exactly as if it had not stopped")
@click.option("--init-from", type=PATH, metavar="CKPT", help="start a new run from the weights of a checkpoint or run")
@click.option("--until", type=click.IntRange(1), metavar="STEP", help="stop and save here; schedules end at --steps")
@click.option("--yes", is_flag=True, help="with --resume CHECKPOINT: remove the run's later checkpoints, do not ask")
@click.option("--graph/--no-graph", default=True, help="on a GPU, launch a step as one CUDA graph; same numbers")
@click.option("--dry-run", is_flag=True, help="print the resolved configuration as JSON and stop")
@config_options()
def train(preset, out, resume, init_from, until, yes, graph, dry_run, **options):
    """Train a Coulomb GAN, by default on 25 Gaussians in the plane.

    The default takes about two minutes. Brackets hold its settings; --help beside --preset or --data shows theirs.
    """
    chosen, found = named(options), None
    if resume:
        _check_resumable(preset, init_from, chosen)
        run = RunDirectory.open(run_directory(resume))
        if not dry_run:
            _hold(run)
        backend, checkpoint = load(resume, chosen)
        config = checkpoint.config
        if (step := checkpoint.state.step) > config.algorithm.steps:
            raise UserError(f"steps {config.algorithm.steps}: the run is at step {step}; use a larger --steps")
    else:
        config, found = configure(preset, chosen)
    if dry_run:
        click.echo(config.to_json())
        return
    until = min(until or config.algorithm.steps, config.algorithm.steps)
    if resume:
        _confirm(run, step, until, yes)
        ended = Plateau(config, (entry for entry in run.entries() if entry["step"] <= step)).ended
        if ended or step == until:
            run.rewind(checkpoint, find_checkpoint(resume))
            option = "--steps M" if step == config.algorithm.steps else "a larger --until"
            option = "a new run with --init-from and without --plateau" if ended else option
            say(f"{run.path}: finished at step {step}{', its second plateau' * ended}; {option} goes further")
            return

    found = found or find(config.data.data, config.data.length is not None)
    warn(found.about)
    if isinstance(found.decoded(config), Source):  # check that their size fits the networks before they are decoded
        build(config.networks, SampleSpace(found.shape(config)))
    cache = (run_directory(resume).parent if resume else out) / "cache"
    dataset = open_data(config, cache, found, checkpoint.space if resume else None, same=True)
    steps_of = Steps
    if (world := current()) is not None:
        from minicoulomb.world.steps import shared

        steps_of = shared(world, config, partial(open_data, config, cache, same=True))
    check_watched(config, dataset)
    if resume:
        fid = _periodic_fid(checkpoint, backend, dataset, cache)
        run.rewind(checkpoint, find_checkpoint(resume))
    else:
        backend = compute_on(config)
        checkpoint = checkpoints.initial(config, SampleSpace.of(dataset), backend.xp)
        if init_from:
            source = load_checkpoint(init_from).to(backend.xp)
            checkpoints.copy_weights(source, checkpoint, str(find_checkpoint(init_from)))
        fid = _periodic_fid(checkpoint, backend, dataset, cache)
        run = RunDirectory.create(out, _name(preset, found, dataset), checkpoint)
        _hold(run)
    stop = StopRequest()
    try:
        faster = "" if resume else _faster(config, dataset.shape)
        _train(run, checkpoint, dataset, backend, until, fid, stop, faster, graph, steps_of)
    except OSError as error:  # of a closed or full output; the state is saved
        if stop:  # the terminal of a SIGHUP is gone
            sys.exit(128 + stop.signal)
        what = f"{error.filename or 'output'}: cannot be written ({error.strerror}): saved at step"
        again = f"continue with: minicoulomb train --resume {run.path}"
        raise UserError(f"{what} {checkpoint.state.step}; {again}") from error


def _name(preset, found, dataset):
    """The name of the data, and that of the preset unless it suits them by itself."""
    if preset in (None, preset_of(found.kind)):
        return dataset.name
    return preset if PRESETS[preset].get("data") == found.data else f"{dataset.name}-{preset}"


def _hold(run):
    """Keep other processes from training the run while this command runs."""
    if not click.get_current_context().with_resource(run.only_here()):
        warn(f"{run.path}: its file system has no locks; let no other process train this run")


def _confirm(run, step, until, yes):
    """Ask before a run goes back to an earlier step."""
    if step > until:
        raise UserError(f"until {until}: the run is at step {step}; use a larger --until")
    if not (later := run.later(step)) or yes:
        return
    text = f"{run.path}: going back to step {step} removes checkpoints up to step {later[-1]}, and pictures and metrics"
    if not sys.stdin.isatty():
        raise UserError(f"{text}; add --yes, or start a new run with --init-from")
    click.confirm(f"{text}; go back?", abort=True)


def _periodic_fid(checkpoint, backend, dataset, cache):
    """A function from a request to stop to the FID of the checkpoint's state, or None."""
    config, settings = checkpoint.config, checkpoint.config.run
    if not settings.fid_every:
        return None
    compare.check_time(settings.fid_samples, "--fid-samples", backend.xp)
    network = compare.open_network(settings.inception, backend.xp)
    opened = lambda config, found: open_reference(config, cache, found, checkpoint.space)
    reference = compare.open_reference(
        settings.fid_reference or dataset, config, network, ("fid",), opened, showing("reference")
    )
    n, progress = settings.fid_samples, showing("FID")
    warn(compare.too_few(n, "--fid-samples"))

    def fid(stop):
        found = compare.compare(checkpoint, n, settings.seed, network, reference, progress=progress, stop=stop)
        return found and found["fid"]

    return fid


def _faster(config, shape):
    """Options with which a new run of the same data would take less time."""
    values = config.settings() | {"size": shape[0] if len(shape) == 3 else 0}
    if config.algorithm.objective == "field":
        values["d_width"] = 0
    # Where a width is None, that of the network is larger.
    lower = [f"{flag(n)} {value}" for n, value in FASTER.items() if values[n] is None or values[n] > value]
    return ", ".join(["fewer --steps", *lower])


def _train(run, checkpoint, dataset, backend, until, fid, stop, faster, graph, steps_of):
    state, config = checkpoint.state, checkpoint.config
    console = Console(run, state.step, until, faster)
    if backend.choice:
        run.log(backend.choice)
    console.line(
        f"{run.path}: {dataset.name}, step {state.step} to {until}, "
        f"{backend.name}{', TF32' * backend.tf32}, {config.run.dtype}, seed {config.run.seed}"
    )
    seen = {}
    look = partial(_look, checkpoint, dataset, seen, console.line)
    with stop:
        fid = fid and partial(fid, stop)
        report, remark = console.report, console.line
        train_run(run, checkpoint, dataset, backend, until, stop, report, look, fid, graph, remark, steps_of)
    if state.step < config.algorithm.steps and not Plateau(config, run.entries()).ended:
        console.line(f"stopped and saved at step {state.step}; continue with: minicoulomb train --resume {run.path}")
        sys.exit(128 + stop.signal if stop else 0)
    n = EVALUATED_LINES if dataset.alphabet else measured(dataset.shape)
    x = samples(checkpoint.G, state, n, config.run.seed, config.run.batch_statistics)
    metrics = measure(checkpoint, dataset, x, config.run.seed, d=seen)
    for line in (*table(metrics), *verdict(metrics, parts_of(dataset), config)):
        console.line(line)
    kind = "lines" if dataset.alphabet else "picture"
    console.line(f"{kind}: {run.picture_path(state.step, bool(dataset.alphabet))}")


def _look(checkpoint, dataset, seen, say_line, path):
    """Show samples of the same z at every step, and return what is quickly measured of them and of D, kept in `seen`.

    The squared MMD of samples has another name than that of a mini-batch, mmd2.
    """
    config, space, G, _, state = checkpoint
    n = measured(space.shape)
    x = samples(G, state, max(n, EVALUATED_LINES * bool(space.alphabet)), config.run.seed, config.run.batch_statistics)
    if space.alphabet:
        lines = to_lines(x[:IMAGES], space.alphabet)
        write_lines(lines, path)
        for line in lines[:SHOWN]:
            say_line(f"    {line}")
    else:
        save(training_picture(checkpoint, dataset, x), path)
    if not state.step:  # before the first step nothing is logged
        return {}
    seen.clear()
    seen.update(fit(checkpoint, dataset, n, config.run.seed))
    found = mode_metrics(x, dataset) | distance(x[:n], dataset, config) | seen
    if space.alphabet:
        found |= ngram_metrics(x[:EVALUATED_LINES], dataset, config.run.seed, search=False)
    found.pop("reference_samples", None)
    return {"sample_mmd2" if name == "mmd2" else name: value for name, value in found.items()}


def _check_resumable(preset, init_from, chosen):
    fixed = [flag(name) for name in chosen if name not in RESUMABLE]
    fixed += ["--preset"] * bool(preset) + ["--init-from"] * bool(init_from)
    if fixed:
        raise click.UsageError(f"{', '.join(fixed)}: cannot change in a resumed run; use --init-from for a new run")
