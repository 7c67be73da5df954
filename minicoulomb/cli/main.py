"""The command line: it parses, calls, prints.

    minicoulomb train       train on the 25 Gaussians, the ring, digits, images in any form, text, or an array
    minicoulomb sample      pictures, PNG files or arrays from a run
    minicoulomb evaluate    the quality of a run's samples
    minicoulomb field       the potential and its forces, exact and as learned by D
    minicoulomb particles   free particles in the exact field, without networks
    minicoulomb plot        curves of the metrics of runs
    minicoulomb report      a run on one page that works offline
    minicoulomb stats       statistics of a data set, in the format of pytorch-fid
    minicoulomb prepare     a folder, zip, tar or LMDB of images, or CIFAR-10, as one array
    minicoulomb models      the networks, layer by layer
    minicoulomb gradcheck   every gradient against finite differences, autograd, JAX or PyTorch
    minicoulomb info        versions, the processor and the GPU, or the reason why it cannot be used

A mistake in the input prints one line and exits with 1, a wrong option with 2. Ctrl-C exits with 130, SIGTERM with 143
and SIGHUP with 129, after the run is saved. So it is if the output is closed or full, which exits with 1.
"""

from importlib import import_module

import click

from minicoulomb import __version__
from minicoulomb.cli.common import CONTEXT, PrintsErrors
from minicoulomb.world import launch

# \b keeps click from joining the lines below.
COMPLETION = """
To complete commands, options and paths, add the line of your shell to ~/.bashrc, ~/.zshrc, or
~/.config/fish/config.fish:

\b
  eval "$(_MINICOULOMB_COMPLETE=bash_source minicoulomb)"
  eval "$(_MINICOULOMB_COMPLETE=zsh_source minicoulomb)"
  _MINICOULOMB_COMPLETE=fish_source minicoulomb | source
"""
COMMANDS = "train sample evaluate field particles plot report stats prepare models gradcheck info".split()


class Files(PrintsErrors, click.Group):
    """The commands in the files of this folder, imported on use."""

    def main(self, *args, **kwargs):
        if (launch.started() or (0, 1))[0]:  # before options are read, whose errors process 0 prints
            launch.mute()
        return super().main(*args, **kwargs)

    def list_commands(self, ctx):
        return COMMANDS

    def get_command(self, ctx, name):
        if name not in COMMANDS:
            return None
        command = getattr(import_module(f"minicoulomb.cli.{name}"), name)
        command.short_help = command.help.partition("\n")[0]  # click cuts its own at one line
        return command


@click.group(cls=Files, context_settings=CONTEXT, epilog=COMPLETION)
@click.version_option(__version__, "-V", "--version")
@click.option("--mpi", is_flag=True, help="join the processes of an MPI launcher that is not noticed by itself")
def main(mpi):
    """Coulomb GANs without a framework (Unterthiner et al., ICLR 2018)."""
    launch.join(mpi)
