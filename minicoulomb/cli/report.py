"""`minicoulomb report`: a run on one page that works offline."""

import click

from minicoulomb import __version__
from minicoulomb.cli.common import OUTPUT, PATH, load, open_data, run_directory
from minicoulomb.cli.console import say
from minicoulomb.cli.options import config_options, named
from minicoulomb.errors import UserError
from minicoulomb.files import atomic_write
from minicoulomb.pictures.metric_curves import matplotlib_version
from minicoulomb.report import gather, page, shared
from minicoulomb.training.checkpoint import versions
from minicoulomb.training.run import find_checkpoint


@click.command()
@click.argument("run", type=PATH)
@click.option("-o", "output", type=OUTPUT, help="page.html  [report.html in the run's directory]")
@config_options("data", "batch_statistics", "backend", "device", "tf32", "threads")
def report(run, output, **options):
    """Show a run on one page that works offline.

    The page has samples, field, curves, metrics, settings and networks. Needs matplotlib: pip install
    'minicoulomb[plot]'.
    """
    output = output or run_directory(run) / "report.html"
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{output}: a report is an .html file; use -o {output.stem}.html")
    made_by = {"report by minicoulomb": __version__, "Matplotlib": matplotlib_version()}
    _, checkpoint = load(run, named(options))
    folder = run_directory(run)
    try:
        dataset = open_data(checkpoint.config, folder.parent / "cache", space=checkpoint.space)
    except UserError as reason:
        dataset = reason
    facts = gather(run, folder, checkpoint, versions(find_checkpoint(run)) | made_by, dataset)
    with atomic_write(output) as file:
        file.write(page(shared(facts, folder)).encode("utf-8", "backslashreplace"))
    say(f"{facts.name}, step {checkpoint.state.step:,}: {output}")
