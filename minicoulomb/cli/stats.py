"""`minicoulomb stats`: mean and covariance of Inception's features of a data set, in the format of pytorch-fid."""

import click

from minicoulomb.cli.common import OUTPUT, UserPath, compute_on, open_data
from minicoulomb.cli.console import count_of, say, showing, warn
from minicoulomb.cli.options import config_options, named
from minicoulomb.config import Config
from minicoulomb.errors import UserError
from minicoulomb.fid import compare
from minicoulomb.fid.statistics import write_statistics


@click.command()
@click.argument("data", type=UserPath())
@click.option("-o", "output", type=OUTPUT, required=True, help="file.npz for mu and sigma")
@config_options("inception", "size", "crop", "channels", "skip_bad", "backend", "device", "tf32", "threads")
def stats(data, output, **options):
    """Write statistics of a data set in the format of pytorch-fid.

    They are mean and covariance of Inception's features of DATA, any --data of train. Images are decoded as for
    training: the central square, resized to --size (64).
    """
    if output.suffix != ".npz":
        raise UserError(f"{output}: statistics are written to a .npz file; use -o {output.stem}.npz")
    config = Config.of(data=data, **named(options))
    backend = compute_on(config)
    dataset = open_data(config, output.parent / "cache")
    compare.check_images(dataset.shape)
    network = compare.open_network(config.run.inception, backend.xp)
    found = compare.dataset_statistics(dataset, network, progress=showing("images"))
    write_statistics(output, found)
    say(f"{count_of(found.n, 'image')}: {output}")
    warn(compare.too_few(found.n))
