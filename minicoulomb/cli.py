"""The command line: it parses, calls, prints.

    minicoulomb train       train on the 25 Gaussians, the ring, digits, images in any form, or an array
    minicoulomb sample      pictures, PNG files or arrays from a run
    minicoulomb evaluate    how good a run's samples are
    minicoulomb field       the potential and its forces, exact and as D has learned them
    minicoulomb particles   free particles in the exact field, without networks
    minicoulomb plot        curves of what runs logged
    minicoulomb report      a run on one page that opens without a network
    minicoulomb stats       a data set's statistics, as pytorch-fid keeps them
    minicoulomb prepare     a folder, zip, tar or LMDB of images, or CIFAR-10, as one array
    minicoulomb models      the networks, layer by layer
    minicoulomb gradcheck   every gradient against finite differences, autograd, JAX or PyTorch
    minicoulomb benchmark   times and memory side by side with PyTorch
    minicoulomb info        versions, the processor and the GPU, or why there is none

A mistake in the input is told in one line and exits with 1, a wrong option with 2; Ctrl-C exits with 130 and
SIGTERM with 143, after the run is saved.
"""

import signal
import sys

import click

from minicoulomb import __version__
from minicoulomb.commands.benchmark import benchmark
from minicoulomb.commands.evaluate import evaluate
from minicoulomb.commands.field import field
from minicoulomb.commands.gradcheck import gradcheck
from minicoulomb.commands.info import info
from minicoulomb.commands.models import models
from minicoulomb.commands.particles import particles
from minicoulomb.commands.plot import plot
from minicoulomb.commands.prepare import prepare
from minicoulomb.commands.report import report
from minicoulomb.commands.sample import sample
from minicoulomb.commands.stats import stats
from minicoulomb.commands.train import train
from minicoulomb.errors import UserError


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


COMMANDS = (train, sample, evaluate, field, particles, plot, report, stats, prepare, models, gradcheck, benchmark, info)
for command in COMMANDS:
    main.add_command(command)
