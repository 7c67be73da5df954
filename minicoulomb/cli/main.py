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
    minicoulomb info        versions, the processor and the GPU, or why there is none

A mistake in the input is told in one line and exits with 1, a wrong option with 2; Ctrl-C exits with 130 and
SIGTERM with 143, after the run is saved.
"""

import click

from minicoulomb import __version__
from minicoulomb.cli.common import CONTEXT, Commands
from minicoulomb.cli.evaluate import evaluate
from minicoulomb.cli.field import field
from minicoulomb.cli.gradcheck import gradcheck
from minicoulomb.cli.info import info
from minicoulomb.cli.models import models
from minicoulomb.cli.particles import particles
from minicoulomb.cli.plot import plot
from minicoulomb.cli.prepare import prepare
from minicoulomb.cli.report import report
from minicoulomb.cli.sample import sample
from minicoulomb.cli.stats import stats
from minicoulomb.cli.train import train


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__)
def main():
    """Coulomb GANs without a framework (Unterthiner et al., ICLR 2018)."""


COMMANDS = (train, sample, evaluate, field, particles, plot, report, stats, prepare, models, gradcheck, info)
for command in COMMANDS:
    main.add_command(command)
