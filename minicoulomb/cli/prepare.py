"""`minicoulomb prepare`: a folder, zip, tar or LMDB of images, or CIFAR-10, as one array."""

import click

from minicoulomb.arrays.threads import available_cores
from minicoulomb.cli.common import PATH
from minicoulomb.cli.console import count_of, say, showing, skipped, warn
from minicoulomb.data.cache import prepare as prepare_images
from minicoulomb.data.sources import Found, image_source, suit
from minicoulomb.errors import UserError

# The sides of images that anybody has.
SIDE = click.IntRange(1, 2**16)


@click.command()
@click.argument("source", type=PATH)
@click.argument("output", type=PATH)
@click.option("--size", type=SIDE, help="side of the images  [that of small images, else 32]")
@click.option("--crop", type=SIDE, help="side of the central square that is cut out first  [the largest]")
@click.option(
    "--pad/--no-pad", default=None, help="whole images on a square of their border's colour  [if a little smaller]"
)
@click.option("--channels", type=click.Choice(["1", "3"]), help="1: grey, 3: colour  [1 if all are grey]")
@click.option("--skip-bad", is_flag=True, help="skip images that cannot be read instead of stopping")
@click.option("--workers", type=click.IntRange(1), help="processes for decoding  [one per core]")
def prepare(source, output, size, crop, pad, channels, skip_bad, workers):
    """Decode images into one array.

    SOURCE is a folder, zip or tar of images (CelebA), an LMDB (LSUN), or CIFAR-10; OUTPUT is a .npy file, for use as
    --data. Size, channels and padding follow from a look at some images, as in train. After an interruption the same
    command continues.
    """
    if not output.name:
        raise UserError(f"{str(output)!r}: is no name of a file; use one like images.npy")
    forms = "a folder, zip or tar of images, an LMDB, or CIFAR-10"
    if not source.exists():
        raise UserError(f"{source}: must be {forms}; nothing is there")
    images = image_source(source)
    if images is None:
        raise UserError(f"{source}: must be {forms}; use a .npy or .npz file as --data directly")
    chosen = {"data": str(source), "size": size, "crop": crop, "pad": pad, "channels": channels and int(channels)}
    found, chosen = suit(Found(str(source), images), chosen, further="")
    warn(found.about)
    settings = {name: chosen[name] for name in ("size", "crop", "pad", "channels") if name in chosen}
    # Where no image can be read nothing is chosen, and the first one's error is told.
    settings = {"size": images.size, "channels": images.channels, **settings, "skip_bad": skip_bad}
    settings |= {"workers": workers or available_cores(), "listed": found.entries}
    report = prepare_images(images, output, **settings, progress=showing("preparing"))
    for name, reason in report.skipped:
        skipped(name, reason)
    say(f"{count_of(report.n, 'image')}: {report.path}" + (" (unchanged)" if report.reused else ""))
