"""`minicoulomb models`: the networks, layer by layer."""

import click

from minicoulomb.cli.console import say
from minicoulomb.config import Networks
from minicoulomb.models import DISCRIMINATORS, GENERATOR_OF, GENERATORS, SampleSpace, build

# The sides of images that anybody has.
SIDE = click.IntRange(8, 2**16)
# The lines of the One Billion Word benchmark.
TEXT = SampleSpace((32, 2048))


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(DISCRIMINATORS)))
@click.option("--size", type=SIDE, default=64, help="side of the images  [64]")
@click.option("--channels", type=click.Choice(["1", "3"]), default="3", help="1 for grey, 3 for colour  [3]")
@click.option("--latent", type=click.IntRange(1, 2**31), default=16, help="dimension of z  [16]")
def models(names, size, channels, latent):
    """Print the layers of the networks NAMES, by default of all.

    Those of text take lines of 32 characters of 2,048.
    """
    for name in names or DISCRIMINATORS:
        space = TEXT if name == "text" else SampleSpace((size, size, int(channels)))
        networks = Networks(generator=GENERATOR_OF.get(name, name), discriminator=name, latent=latent)
        G, D = build(networks, space)
        if name in GENERATORS:
            _print_network(f"generator {name}", G)
        _print_network(f"discriminator {name}", D)


def _print_network(title, network):
    say(f"{title}: {'x'.join(map(str, network.input_shape))}, {network.size:,} parameters")
    rows = [(name, "x".join(map(str, shape)) or "1", f"{n:,}") for name, shape, n in network.summary()]
    first, second, third = (max(map(len, column)) for column in zip(*rows))
    for name, shape, n in rows:
        say(f"  {name:<{first}}  {shape:<{second}}  {n:>{third}}")
    say()
