"""Every kind of file that is read, whole, and the command that reads it.

`make_world` writes them all into one folder. A case copies what its kind `needs`, damages the file at `path`, and runs
`action`. What is inside a checksum is damaged by `layers` too: see damage.py.
"""

import gzip
import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from data_files import cifar_files, contents, encoded, write_folder, write_lmdb, write_tar, write_zip
from inception_cases import random_state
from torch_cases import write_legacy
from torch_cases import write_zip as write_torch

# On large networks a case would take seconds.
TINY = "--threads 1 --g-width 4 --d-width 4 --g-depth 1 --d-depth 1 --batch-size 4 --sample-every 0".split()
NETWORKS = "--generator mlp --discriminator mlp".split()
TRAIN = [*"train --steps 9 --until 1".split(), *NETWORKS, *TINY]
RUN = "runs/00000-ring"


class Kind(NamedTuple):
    """path: the file to be damaged; action: what reads it; room: whose code that is.

    needs     the other files and folders of the world that the action needs
    layers    the forms of the content, beside its bytes, that are damaged: "zip", "tar", "png", "about"
    checked   a checksum covers the content: whatever loads must equal what was written
    share     of the cases, for slow readers
    """

    path: str
    action: Callable[[], object]
    room: str
    needs: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    checked: bool = False
    share: float = 1.0


def cli(*argv: str) -> Callable[[], None]:
    """An action that calls the command line within this process."""
    from minicoulomb.cli.main import main

    return partial(main, list(argv), prog_name="minicoulomb")


def saved(read: Callable[[], dict]) -> Callable[[], None]:
    """An action that saves the arrays that `read` returns, and prints its UserError as the command line would."""
    from minicoulomb.errors import UserError

    def action():
        try:
            found = read()
        except UserError as error:
            print("Error:", error, file=sys.stderr)
            sys.exit(1)
        arrays = ((name, np.asarray(array)) for name, array in sorted(found.items()))
        parts = (f"{name!r} {array.shape} {array.dtype} ".encode() + array.tobytes() for name, array in arrays)
        Path("out.numbers").write_bytes(b"".join(parts))

    return action


def kinds() -> dict[str, Kind]:
    from minicoulomb.fid.statistics import read_statistics
    from minicoulomb.fid.torch_file import read_torch
    from minicoulomb.fid.weights import load_weights, read_safetensors
    from minicoulomb.pictures.metric_series import read_metrics
    from minicoulomb.report.images import read as read_picture

    def train(path, room="P", **more):
        return Kind(path, cli(*TRAIN, "--data", path), room, **more)

    def text(path):
        return Kind(path, cli("train", "--steps", "9", "--until", "1", "--length", "4", *TINY, "--data", path), "P")

    def prepare(path, source=None, **more):
        return Kind(path, cli("prepare", source or path, "out.npy", "--size", "8", "--workers", "1"), "D", **more)

    def image(path, **more):
        return prepare(path, str(Path(path).parent), needs=(str(Path(path).parent),), **more)

    def run(path, *argv, **more):
        return Kind(f"{RUN}/{path}", cli(*argv), **{"room": "R", "needs": (RUN,), **more})

    def called(path, read, **more):
        return Kind(path, saved(lambda: read(Path(path))), **{"room": "U", **more})

    resume = ("train", "--resume", RUN, "--steps", "20", "--until", "10", "--sample-every", "0")
    sample = ("sample", RUN, "-n", "2", "-o", "out.npz")
    again = cli("prepare", "faces", "faces.npy", "--size", "8", "--workers", "1")
    cached = {"room": "D", "needs": ("faces", "faces.npy", "faces.npy.json", "faces.npy.files")}
    last = "checkpoints/step-0000008.npz"
    return {
        "points.npy": train("points.npy"),
        "images.npy": train("images.npy"),
        "points.csv": train("points.csv"),
        "points.npz": train("points.npz", layers=("zip",), checked=True),
        "images.npz": train("images.npz", layers=("zip",), checked=True),
        "text": text("book.txt"),
        "text, compressed": text("book.txt.gz"),
        "png": image("png/a.png", layers=("png",)),
        "jpg": image("jpg/a.jpg"),
        "webp": image("webp/a.webp"),
        "gif named png": image("gif/a.png"),
        "zip of images": prepare("a.zip", layers=("zip",), checked=True),
        "tar": prepare("a.tar", layers=("tar",)),
        "tar.gz": prepare("a.tar.gz", layers=("tar",), checked=True),
        "tar.bz2": prepare("a.tar.bz2", layers=("tar",), checked=True),
        "tar.xz": prepare("a.tar.xz", layers=("tar",), checked=True),
        "lmdb": prepare("lmdb/data.mdb", "lmdb"),
        "cifar python": prepare("py/cifar-10-batches-py/data_batch_1", "py", needs=("py",)),
        "cifar binary": prepare("bin/cifar-10-batches-bin/data_batch_1.bin", "bin", needs=("bin",)),
        "cifar tar.gz": prepare("py.tar.gz", layers=("tar",), checked=True),
        "manifest of a cache": Kind("faces.npy.json", again, **cached),
        "list of a cache": Kind("faces.npy.files", again, **cached),
        "array of a cache": Kind("faces.npy", again, **cached),
        "journal": Kind(".part.npy.partial/journal", cli("prepare", "faces", "part.npy", "--size", "8",
                                                         "--workers", "1"), "D", ("faces", ".part.npy.partial")),
        "checkpoint": run(last, *sample, room="U", layers=("zip", "about"), checked=True),
        "checkpoint to resume": run(last, *resume, room="U", layers=("zip", "about"), checked=True),
        "init-from": run(last, *TRAIN[:1], "--preset", "ring", "--init-from", RUN, "--until", "1", *TINY, room="R",
                         layers=("about",)),
        "config.json": run("config.json", *resume),
        "metrics.jsonl": run("metrics.jsonl", *resume),
        "metrics.jsonl, drawn": called(f"{RUN}/metrics.jsonl", lambda _: {
            f"{i} {part}": getattr(series, part)
            for i, series in enumerate(read_metrics(Path(RUN)).values()) for part in ("steps", "values")}),
        "best.json": run("checkpoints/best.json", *resume),
        "log.txt": run("log.txt", "report", RUN, "-o", "out.html", room="U", share=0.04),
        "sample in a report": called(f"{RUN}/samples/step-0000008.png",
                                     lambda path: {"x": np.asarray(read_picture(path) or 0)}, layers=("png",)),
        "settings in a plot": run("config.json", "plot", RUN, "-o", "out.svg", room="M", share=0.06),
        "inception .npz": called("inception.npz", load_weights, layers=("zip",), checked=True),
        "pth": called("a.pth", read_torch, layers=("zip",), checked=True),
        "pth, weights": called("inception.pth", load_weights, layers=("zip",), checked=True),
        "old pth": called("old.pth", read_torch),
        "safetensors": called("a.safetensors", read_safetensors),
        "statistics": called("statistics.npz", lambda path: read_statistics(path)._asdict(), layers=("zip",),
                             checked=True, share=0.3),
    }  # fmt: skip


def make_world(world: Path) -> Path:
    """A new folder with every kind of file."""
    from safetensors.numpy import save_file

    from minicoulomb.cli.main import main
    from minicoulomb.data import cache
    from minicoulomb.data.folder import Folder

    world.mkdir()
    rng = np.random.default_rng(0)
    points, images = rng.standard_normal((40, 2)), rng.integers(0, 256, (20, 8, 8, 1), np.uint8)
    np.save(world / "points.npy", points)
    np.save(world / "images.npy", images)
    np.savetxt(world / "points.csv", points, delimiter=",", header="x,y", comments="")
    (world / "book.txt").write_text("The æther,\nв мире 你好 🦉\n\n" * 20, encoding="utf-8")
    (world / "book.txt.gz").write_bytes(gzip.compress((world / "book.txt").read_bytes(), mtime=0))
    np.savez_compressed(world / "points.npz", x=points)
    np.savez(world / "images.npz", images=images, labels=np.arange(20))
    for suffix, form in {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF"}.items():
        name = "a.png" if form == "GIF" else f"a.{suffix}"
        write_folder(world / suffix, {name: encoded(3, form), "b.png": encoded(4)})
    write_zip(world / "a.zip", contents(3))
    for suffix, mode in {"": "", ".gz": "gz", ".bz2": "bz2", ".xz": "xz"}.items():
        write_tar(world / f"a.tar{suffix}", contents(3), f"w:{mode}")
    write_lmdb(world / "lmdb", {b"%040x" % i: encoded(i, "WEBP") for i in range(3)})
    for form in ("py", "bin"):
        write_folder(world / form, cifar_files(form, 2, 1)[0])
    write_tar(world / "py.tar.gz", cifar_files("py", 2, 1)[0])

    write_folder(world / "faces", contents(70))
    settings = {"size": 8, "workers": 1}
    cache.prepare(Folder(world / "faces"), world / "faces.npy", **settings)
    _interrupted(cache, Folder(world / "faces"), world / "part.npy", settings)

    run = "train --preset ring --steps 12 --until 8 --checkpoint-every 4 --log-every 2".split()
    with redirect_stdout(io.StringIO()):
        with suppress(SystemExit):  # with status 0: --until is reached
            main([*run, *TINY, "--sample-every", "8", "--out", str(world / "runs")], standalone_mode=False)
        images = ["--steps", "1", "--data", str(world / "images.npy"), "--out", str(world / "images")]
        main(["train", *NETWORKS, *TINY, *images], standalone_mode=False)
    best = world / RUN / "checkpoints" / "best.npz"
    best.write_bytes((world / RUN / "checkpoints" / "step-0000004.npz").read_bytes())
    best.with_suffix(".json").write_text(json.dumps({"step": 4, "fid": 12.5}))

    few = dict(list(random_state(divisor=16).items())[:12])
    floats = {name: np.asarray(array, np.float32) for name, array in few.items()}
    np.savez_compressed(world / "inception.npz", **few)
    write_torch(world / "inception.pth", floats)
    small = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b.weight": np.ones(5, np.float32)}
    write_torch(world / "a.pth", small)
    write_legacy(world / "old.pth", small)
    save_file(small, world / "a.safetensors")
    np.savez_compressed(world / "statistics.npz", mu=np.zeros(2048), sigma=np.eye(2048), n=np.array(5))
    return world


def _interrupted(cache, source, target, settings):
    """Leave the work of a `prepare` that is interrupted after its first batch."""
    from minicoulomb.data import partial as work

    def stop(*_):
        raise KeyboardInterrupt

    before, work.JOURNAL_EVERY = work.JOURNAL_EVERY, 0
    try:
        cache.prepare(source, target, progress=stop, **settings)
    except KeyboardInterrupt:
        work.JOURNAL_EVERY = before


def npy(array: np.ndarray) -> bytes:
    """The bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
