"""`minicoulomb prepare`: a folder, zip, tar or LMDB of images, or CIFAR-10, as one array."""

import click

from minicoulomb.arrays.threads import available_cores
from minicoulomb.cli.common import PATH
from minicoulomb.cli.console import count_of, say, showing, skipped
from minicoulomb.data.cache import prepare as prepare_images
from minicoulomb.data.sources import CHANNELS, image_source
from minicoulomb.errors import UserError

# The sides of images that anybody has.
SIDE = click.IntRange(1, 2**16)


@click.command()
@click.argument("source", type=PATH)
@click.argument("output", type=PATH)
@click.option("--size", type=SIDE, help="side of the images  [64; CIFAR-10: 32]")
@click.option("--crop", type=SIDE, help="side of the central square that is cut out first  [the largest]")
@click.option(
    "--pad", is_flag=True, help="put whole images on a square of the colour of their border instead of cutting"
)
@click.option("--channels", type=click.Choice(["1", "3"]), default=str(CHANNELS), help="1: grey, 3: colour  [3]")
@click.option("--skip-bad", is_flag=True, help="skip images that cannot be read instead of stopping")
@click.option("--workers", type=click.IntRange(1), help="processes for decoding  [one per core]")
def prepare(source, output, size, crop, pad, channels, skip_bad, workers):
    """Decode images into one array.

    SOURCE is a folder, zip or tar of images (CelebA), an LMDB (LSUN), or CIFAR-10; OUTPUT is a .npy file, for use as
    --data. After an interruption the same command continues.
    """
    if not output.name:
        raise UserError(f"{str(output)!r}: is no name of a file; use one like images.npy")
    forms = "a folder, zip or tar of images, an LMDB, or CIFAR-10"
    if not source.exists():
        raise UserError(f"{source}: must be {forms}; nothing is there")
    images = image_source(source)
    if images is None:
        raise UserError(f"{source}: must be {forms}; use a .npy or .npz file as --data directly")
    settings = {"size": size or images.size, "crop": crop, "channels": int(channels), "pad": pad, "skip_bad": skip_bad}
    workers = workers or available_cores()
    report = prepare_images(images, output, **settings, workers=workers, progress=showing("preparing"))
    for name, reason in report.skipped:
        skipped(name, reason)
    say(f"{count_of(report.n, 'image')}: {report.path}" + (" (unchanged)" if report.reused else ""))
