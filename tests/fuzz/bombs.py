"""The part bombs: small files that unfold to gigabytes or never end, each read by the command line."""

import bz2
import gzip
import io
import json
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from data_files import encoded, write_folder
from PIL import Image
from torch_cases import Global, Persistent, dumps, tensor, write_legacy
from torch_cases import write_zip as write_torch

from .kinds import RUN, TRAIN, make_world, npy
from .trial import Failure, Fault, command, fault, idle, place, spread

GB = 10**9
NEST = b"[" * 200_000


def png(width, height, *chunks):
    """A PNG that declares this size, with further chunks, and the pixels of a small one."""
    small, parts = encoded(1), []
    ihdr = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    for name, content in ((b"IHDR", ihdr), *chunks):
        parts.append(struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content)))
    return small[:8] + b"".join(parts) + small[33:]


def webp(side):
    """A lossless WebP of one colour and few bytes, whose size is patched into its header."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (7, 7, 7)).save(file, "WEBP", lossless=True)
    content = bytearray(file.getvalue())
    bits = int.from_bytes(content[21:25], "little") >> 28 << 28 | (side - 1) << 14 | side - 1
    content[21:25] = bits.to_bytes(4, "little")
    return bytes(content)


def jpeg(side):
    """A JPEG whose frame header declares this size."""
    content = encoded(1, "JPEG")
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">2H", side, side) + content[at + 4 :]


def zip_bytes(**members):
    """A deflated zip; a number stands for that many zeros, and __ for a dot."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            with archive.open(name.replace("__", "."), "w", force_zip64=True) as member:
                for start in range(0, content if isinstance(content, int) else 1, 2**24):
                    member.write(bytes(min(2**24, content - start)) if isinstance(content, int) else content)
    return file.getvalue()


def zipped(**members):
    return lambda path: path.write_bytes(zip_bytes(**members))


def zeros(shape, dtype="<f8"):
    """The header of a .npy file of this shape, without its numbers."""
    file = io.BytesIO()
    np.lib.format.write_array_header_2_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def headed(text):
    """A .npy file whose header is this text."""
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text


def lying(content, **sizes):
    """A zip archive whose directory declares other sizes."""
    content = bytearray(content)
    at = content.index(b"PK\1\2")
    struct.pack_into("<I", content, at + 24, sizes["size"])
    return bytes(content)


def tar(size=0, kind=b"0", name="a.png", body=b"", pax=None):
    """A tar archive of one member with this size, whatever follows."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    field = b"\xff" * 4 + size.to_bytes(8, "big", signed=True) if size < 0 else b"\x80" + size.to_bytes(11, "big")
    block[124:136] = field
    block[148:156] = b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:])
    return bytes(block) + body + bytes(-len(body) % 512 + 1024)


def pax(**fields):
    """A tar archive of a small file with these pax records; __ stands for a dot."""
    lines = b""
    for key, value in fields.items():
        record = b" %s=%s\n" % (key.replace("__", ".").encode(), value.encode())
        length = next(n for n in range(len(record), len(record) + 9) if n == len(record) + len(str(n)))
        lines += str(length).encode() + record
    return tar(len(lines), b"x", body=lines)[:-1024] + tar(5, body=b"hello")


def many(pack, size, *kind, **name):
    """A compressed tar archive of one member of `size` zeros: streams one after the other."""
    return lambda path: path.write_bytes(pack(tar(size, *kind, **name)[:512]) + pack(bytes(10**8)) * (size // 10**8))


def cifar(pickle):
    return lambda path: write_folder(path, {"cifar-10-batches-py/data_batch_1": pickle})


PICKLES = {
    "9 bytes for 4 GB": b"\x80\x04\x8e" + struct.pack("<Q", 4 * GB) + b".",
    "a text of 4 GB": b"\x80\x02X\xff\xff\xff\xffa.",
    "a memo of 2**31 places": b"\x80\x02]r\xff\xff\xff\x7f.",
    "tuples in tuples": b"\x80\x02)" + b"\x85" * 3_000_000 + b".",
    "lists that double": b"\x80\x02]q\x00" + b"".join(b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1])
                                                        for i in range(60)) + b".",
    "dicts that double": b"\x80\x02}q\x00" + b"".join(b"}(K\x00h" + bytes([i]) + b"K\x01h" + bytes([i]) + b"uq"
                                                        + bytes([i + 1]) for i in range(60)) + b".",
    "a number of a million digits": b"I" + b"9" * 10**6 + b"\n.",
    "a long number": b"\x80\x02\x8b" + struct.pack("<I", 4 * 10**6) + b"\x7f" * (4 * 10**6) + b".",
    "a list of itself": b"\x80\x02]q\x00(h\x00e.",
    "frames of 2**60": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
}  # fmt: skip


def with_about(path, **settings):
    """The world's checkpoint with other settings in its text."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(np.load(io.BytesIO(members["about.npy"])).tobytes())
    about["config"] |= settings.pop("config", {})
    about["space"] |= settings.pop("space", {})
    text = settings.pop("text", None) or json.dumps(about | settings).encode()
    members["about.npy"] = npy(np.frombuffer(text, np.uint8))
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def lmdb(path, size=None, page=None):
    """The world's database cut to `size` bytes, or with the number of its last page changed."""
    content = bytearray((path.parent / "lmdb/data.mdb").read_bytes())[:size]
    for meta in (0, 4096) if page else ():
        struct.pack_into("<Q", content, meta + 16 + 8 + 16 + 2 * 48, page)
    write_folder(path, {"data.mdb": bytes(content)})


CHECKPOINT = f"{RUN}/checkpoints/step-0000008.npz"
HUGE = {
    "a": tensor(Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", 6)), 0, (10**5,) * 3, (0, 0, 0))
}
FIELDS = b"".join(b"('a%d', '<f8', (9999,))," % i for i in range(300))
SPARSE = {"GNU__sparse__major": "1", "GNU__sparse__minor": "0", "GNU__sparse__realsize": str(2**60)}
TEXT = zlib.compress(bytes(10**8))


def image(content):
    return lambda path: write_folder(path, {"a.png": content})


def in_run(name, make):
    """Something else in the place of a file of the world's run."""
    if isinstance(make, bytes):
        return lambda path: (path.parent / RUN / name).write_bytes(make)
    return lambda path: make(path.parent / RUN / name)


def about(**settings):
    return lambda path: with_about(path.parent / CHECKPOINT, **settings)


def long(head, size):
    """A file of holes: `size` bytes that need no space on disk."""
    return lambda path: (path.write_bytes(head), os.truncate(path, size))


# (the command, the room): the name of each bomb, and its bytes or what makes the file or folder "bomb".
BOMBS = {
    ("prepare bomb out.npy --size 8 --workers 1", "D"): {
        "WebP of 16383 x 16383 pixels": image(webp(16383)),
        "PNG of 2**31 pixels a side": image(png(2**31 - 1, 2**31 - 1)),
        "PNG of 12000 x 14000 pixels": image(png(12000, 14000)),
        "JPEG of 65500 x 65500 pixels": image(jpeg(65500)),
        "JPEG of 12000 x 12000 pixels": image(jpeg(12000)),
        "PNG with a text of 100 MB": image(png(21, 30, (b"zTXt", b"a\0\0" + TEXT))),
        "PNG with a profile of 100 MB": image(png(21, 30, (b"iCCP", b"a\0\0" + TEXT))),
        "zip with an image of 1 GB": zipped(a__png=GB),
        "zip that declares 4 GB": lying(zip_bytes(a__png=b"hello"), size=2**32 - 2),
        "zip of 20,000 images that are none": zipped(**{f"a{i}__png": b"x" for i in range(20_000)}),
        "tar.gz with a member of 3 GB": many(gzip.compress, 3 * GB),
        "tar.bz2 with a member of 9 GB": many(bz2.compress, 9 * GB, name="a.txt"),
        "tar.gz with a name of 1 GB": many(gzip.compress, GB, b"L"),
        "tar.gz with a pax header of 1 GB": many(gzip.compress, GB, b"x"),
        "tar with a negative size": tar(-512, body=bytes(512)),
        "tar with a pax size below 0": pax(size="-1024"),
        "tar with a pax size of 2**80": pax(size=str(2**80)),
        "tar with a size of 2**87": tar(2**87),
        "tar with a sparse file of 2**60 bytes": pax(**SPARSE),
        "LMDB cut short": partial(lmdb, size=8192),
        "LMDB cut within a page": partial(lmdb, size=9000),
        "LMDB of 2**50 pages": partial(lmdb, page=2**50),
        **{f"CIFAR-10: {name}": cifar(pickle) for name, pickle in PICKLES.items()},
    },
    (" ".join([*TRAIN, "--data", "bomb"]), "P"): {
        "points of 10**12 rows": zeros((10**12, 2)),
        "a .npz of 1 GB of zeros": zipped(x__npy=GB),
        "a .npz whose array has 10**12 rows": zipped(x__npy=zeros((10**12, 2)) + bytes(160)),
        "an array with a header of 4 GB": b"\x93NUMPY\x03\x00\xff\xff\xff\xff{",
        "an array with nested brackets for a header": headed(b"{'descr': " + b"(" * 9000 + b"}"),
        "an array of many fields": headed(b"{'descr': [" + FIELDS + b"], 'fortran_order': False, 'shape': (9,)}"),
        "a pipe for data": os.mkfifo,
        "a file of 50 GB of holes for data": long(b"\x93NUMPY", 50 * GB),
    },
    (f"sample {RUN} -n 2 -o out.npz", "U"): {
        "a checkpoint with a million layers": about(config={"g_depth": 10**6}),
        "a checkpoint with 10**9 units": about(config={"g_width": 10**9}),
        "a checkpoint of images of 2**30 pixels a side": about(space={"shape": [2**30, 2**30, 3]}),
        "a checkpoint with nested JSON": about(text=NEST),
        "a checkpoint with an array of 1 GB": in_run(CHECKPOINT[16:], zipped(about__npy=b"x", theta__npy=GB)),
        "a checkpoint that is a pipe": in_run("checkpoints/step-0000009.npz", os.mkfifo),
    },
    (f"train --resume {RUN} --steps 20 --until 9", "R"): {
        "a checkpoint at step 10**400": about(step=10**400),
        "metrics of 20 GB without a line": in_run("metrics.jsonl", long(b"", 20 * GB)),
        "nested metrics": in_run("metrics.jsonl", NEST + b"\n"),
        "metrics with a long number": in_run("metrics.jsonl", b'{"step": ' + b"9" * 10**6 + b"}\n"),
        "nested best.json": in_run("checkpoints/best.json", NEST),
        "nested config.json": in_run("config.json", NEST),
    },
    (f"plot {RUN} -o out.svg", "M"): {"nested settings": in_run("config.json", NEST)},
    (f"report {RUN} -o out.html", "U"): {
        "a log of 5 GB": in_run("log.txt", long(b"", 5 * GB)),
        "a sample in the run of 2**31 pixels a side": in_run("samples/step-0000008.png", png(2**31 - 1, 9)),
    },
    ("stats digits -o out.npz --inception bomb", "U"): {
        "Inception of 1 GB": zipped(Conv2d_1a_3x3__conv__weight__npy=GB),
        "statistics of 1 GB for Inception": zipped(mu__npy=b"x", sigma__npy=GB),
        "safetensors with a header of 2**62": struct.pack("<Q", 2**62) + b"{}",
        "safetensors with nested JSON": struct.pack("<Q", len(NEST) + 5) + b'{"a":' + NEST,
        "weights of 10**15 numbers": lambda path: write_torch(path, {}, HUGE),
        "weights of 10**15 numbers, old": lambda path: write_legacy(path, {}, HUGE),
        "weights with numbers of 1 GB": zipped(**{"a/data__pkl": dumps({}), "a/data/0": GB}),
        "weights of 50 GB of holes": long(b"\x80\x02", 50 * GB),
        "old weights: a memo of 2**31 places": PICKLES["a memo of 2**31 places"],
        **{f"weights: {name}": zipped(**{"a/data__pkl": pickle}) for name, pickle in PICKLES.items()},
    },
}  # fmt: skip


def case(root, world, every, number):
    argv, room, name, make = every[number]
    folder = root / f"case-{number}"
    folder.mkdir()
    place(world, ["runs", "lmdb"], folder)
    path = folder / "bomb"
    path.write_bytes(make) if isinstance(make, bytes) else make(path)
    outcome = command(argv.split(), folder, idle())
    found, left = fault(outcome), [file.name for file in folder.glob("out*")]
    if outcome.status and left and not found:
        found = Fault(f"an error left {left[0]}")
    content = path.read_bytes() if path.is_file() and path.stat().st_size < 10**6 else b""
    shutil.rmtree(folder)
    return Failure(found, f"{name}: {argv}", room, outcome.output, content) if found else None


def attack(part: str, seed: int, numbers: range, root: Path, workers: int) -> Iterator[Failure | None]:
    """The failure, or None, of each bomb."""
    world = make_world(root / "world")
    every = [(argv, room, *bomb) for (argv, room), bombs in BOMBS.items() for bomb in bombs.items()]
    yield from spread(
        partial(case, root, world, every), range(len(every))[numbers.start : numbers.stop : numbers.step], workers
    )
