"""`python -m benchmarks`: times and memory side by side with PyTorch."""

import json

import click

from benchmarks.cases import Setting, open_torch, select
from benchmarks.measure import Skipped
from benchmarks.report import HEADER, environment
from minicoulomb.arrays.backend import open_backend
from minicoulomb.cli.common import CONTEXT, PATH, Command
from minicoulomb.cli.console import warn
from minicoulomb.cli.options import config_options, named
from minicoulomb.config import Config
from minicoulomb.errors import UserError


@click.command(cls=Command, context_settings=CONTEXT)
@click.argument("cases", nargs=-1)
@click.option("--threads", type=click.IntRange(1), default=1, help="threads of both sides  [1]")
@click.option("--repeats", type=click.IntRange(1), default=5, help="pairs of samples; fewer if they are slow  [5]")
@click.option("--list", "only_list", is_flag=True, help="print the names of the cases and stop")
@click.option("--json", "json_path", type=PATH, metavar="FILE", help="also write the figures to this file")
@config_options("backend", "device", "tf32")
def benchmark(cases, threads, repeats, only_list, json_path, **options):
    """Compare times and memory with PyTorch's, on this machine, in float32.

    CASES are names of cases or their beginnings: step, step-grid, memory, ...; by default all cases run. Each case
    first checks that both sides compute the same. A ratio below 1 is in favour of minicoulomb. With --backend cupy
    both compute on the same GPU, and use TF32 only with --tf32.
    """
    config = Config.of(**named(options))
    selected = select(cases, gpu=config.run.backend != "numpy")  # so that an unknown name is reported first
    if only_list:
        click.echo("\n".join(case.name for case in selected))
        return
    torch_version = open_torch(threads)  # before CuPy, which uses the NVIDIA libraries that are loaded
    backend = open_backend(config.run.backend, config.run.device, config.run.tf32)
    warn(backend.choice)
    selected = select(cases, gpu=backend.name == "cupy")
    about, rows, failed, skipped = environment(threads, torch_version, backend), [], {}, {}
    click.echo(", ".join(f"{name} {value}" for name, value in about.items()) + "\n")
    click.echo("\n".join(HEADER))
    for case in selected:
        try:
            rows.append(case(Setting(threads, repeats, backend)))
            click.echo(rows[-1].line())
        except Skipped as reason:
            skipped[case.name] = str(reason)
            click.echo(f"| `{case.name}` | skipped: {reason} | | |")
        except UserError as error:  # the other cases are measured
            failed[case.name] = str(error)
            click.echo(f"| `{case.name}` | {error} | | |")
        if json_path:
            figures = {**about, "rows": [row._asdict() for row in rows], "failed": failed, "skipped": skipped}
            json_path.write_text(json.dumps(figures, indent=2) + "\n")
    notes = [f"- `{row.case}`: {row.note}" for row in rows if row.note]
    if notes:
        click.echo("\n" + "\n".join(notes))
    if failed:
        raise UserError(f"{len(failed)} of {len(selected)} cases: not measured; the table has the reasons")
