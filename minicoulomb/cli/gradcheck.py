"""`minicoulomb gradcheck`: every gradient against finite differences, autograd, JAX or PyTorch."""

import click

from minicoulomb.cli.common import compute_on
from minicoulomb.cli.console import say
from minicoulomb.cli.models import SIDE
from minicoulomb.cli.options import config_options, named
from minicoulomb.config import Config
from minicoulomb.errors import UserError
from minicoulomb.models import DISCRIMINATORS, GENERATOR_OF, SampleSpace
from minicoulomb.verify.gradcheck import check
from minicoulomb.verify.oracles import ORACLES

# Of text: at 512 channels a ReLU lies at its kink at every step of a difference.
CHARACTERS, NARROW = 8, {"g_width": 16, "d_width": 16}


@click.command()
@click.option("--model", type=click.Choice(list(DISCRIMINATORS)), default="my", help="networks of Algorithm 1  [my]")
@click.option("--size", type=SIDE, default=16, help="side of the images, or length of lines  [16]")
@click.option("--against", type=click.Choice(list(ORACLES)), help="library to compare with  [finite differences]")
@click.option("--seed", type=click.IntRange(0), default=0, help="seed of all random numbers  [0]")
@config_options("backend", "device")
def gradcheck(model, size, against, seed, **options):
    """Check all gradients against finite differences or a library.

    These are the gradients of every layer, of the field, of Algorithm 1 and of its baselines, in float64. The exit
    status is 1 if an error is larger than its bound.
    """
    networks = {"generator": GENERATOR_OF.get(model, model), "discriminator": model}
    networks |= NARROW if model == "text" else {}
    config = Config.of(**networks, latent=8, d=1.0, eps=1.0, **named(options))
    backend = compute_on(config)
    space = SampleSpace((size, CHARACTERS) if model == "text" else (size, size, 3))
    rows = check(config, space, against, seed, backend)
    reference = against or "finite differences"
    say(f"{'':<36}{'gradient':<16}{'error':>9}{'bound':>9}   (relative, against {reference})")
    for name, what, error, bound, ok in rows:
        say(f"{name:<36}{what:<16}{error:9.1e}{bound:9.0e}" + ("" if ok else "   WRONG"))
    wrong = sum(not row.ok for row in rows)
    if wrong:
        raise UserError(f"{wrong} of {len(rows)} gradients: errors above the bound; see the rows marked WRONG")
