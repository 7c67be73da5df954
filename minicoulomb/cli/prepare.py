"""`minicoulomb prepare`: a folder, zip, tar or LMDB of images, or CIFAR-10, as one array."""

import click

from minicoulomb.arrays.threads import available_cores
from minicoulomb.cli.common import PATH
from minicoulomb.cli.console import showing, tell_skipped
from minicoulomb.data.cache import prepare as prepare_images
from minicoulomb.data.sources import CHANNELS, FORMS, image_source
from minicoulomb.errors import UserError


@click.command()
@click.argument("source", type=PATH)
@click.argument("output", type=PATH)
@click.option("--size", type=click.IntRange(1), help="side of the images  [64; of CIFAR-10: 32]")
@click.option("--crop", type=click.IntRange(1), help="side of the centred square cut out first; the largest by default")
@click.option("--channels", type=click.Choice(["1", "3"]), default=str(CHANNELS), help="1: grey, 3: colour  [3]")
@click.option("--skip-bad", is_flag=True, help="leave out images that cannot be read instead of stopping")
@click.option("--workers", type=click.IntRange(1), help="processes that decode; one for each core by default")
def prepare(source, output, size, crop, channels, skip_bad, workers):
    """Decode the images in SOURCE into the array OUTPUT (.npy), to be used as --data.

    SOURCE is a folder, zip or tar of images (CelebA), an LMDB (LSUN), or CIFAR-10. Interrupted, the same command goes
    on where it was.
    """
    images = image_source(source)
    if images is None:
        raise UserError(f"{source}: must be {FORMS.rpartition(', or')[0]}; a .npy / .npz file is used as it is")
    report = prepare_images(
        images,
        output,
        size=size or images.size,
        crop=crop,
        channels=int(channels),
        skip_bad=skip_bad,
        workers=workers or available_cores(),
        progress=showing("preparing"),
    )
    for name, reason in report.skipped:
        tell_skipped(name, reason)
    click.echo(f"{report.n} images: {report.path}" + (" (unchanged)" if report.reused else ""))
