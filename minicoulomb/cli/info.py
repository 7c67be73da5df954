"""`minicoulomb info`: versions, the processor and the GPU, or the reason why it cannot be used."""

import json

import click

from minicoulomb.cli.console import say, table
from minicoulomb.cli.environment import describe
from minicoulomb.cli.options import config_options, named
from minicoulomb.config import Config


@click.command()
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@config_options("backend", "device", "tf32")
def info(as_json, **options):
    """Print versions, the processor, and the GPU if one is usable."""
    config = Config.of(**{"backend": "auto", **named(options)})
    values = describe(config.run.backend, config.run.device, config.run.tf32)
    say(*(json.dumps(values, indent=2).splitlines() if as_json else table(values)))
