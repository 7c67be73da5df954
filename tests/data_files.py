"""Images and real files of every format that data come in, made here."""

import io
import pickle
import struct
import tarfile
import zipfile

import numpy as np
from PIL import Image

from minicoulomb.errors import UserError


def picture(i, side=(20, 30)):
    """The i-th picture: of grey level 10 i, so that rows can be told apart; no two have the same size in bytes."""
    return Image.new("RGB", (side[0] + i % 7, side[1]), (10 * i % 256,) * 3)


def encoded(i, form="PNG", **options):
    """The bytes of a file with the i-th picture."""
    file = io.BytesIO()
    picture(i).save(file, form, **options)
    return file.getvalue()


def names(n):
    """Names as CelebA's, in the order of the pictures."""
    return [f"img_align_celeba/{i + 1:06d}.png" for i in range(n)]


def contents(n):
    return dict(zip(names(n), map(encoded, range(n))))


def levels(array):
    """Which pictures the rows of a prepared array show, by their grey levels."""
    return (array[:, 0, 0, 0] // 10).tolist()


def write_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_zip(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.mkdir("img_align_celeba")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path, files, mode="w:gz", **options):
    with tarfile.open(path, mode, **options) as archive:
        folder = tarfile.TarInfo("img_align_celeba")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_lmdb(path, values):
    """A database as LSUN's: a folder with data.mdb and lock.mdb, keys as bytes."""
    import lmdb

    with lmdb.open(str(path), map_size=2**26) as environment, environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    return path


# CIFAR-10


def cifar_pixels(n, seed=0):
    """(n, 32, 32, 3) pixels and n labels."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, n).tolist()


def cifar_records(pixels, labels):
    """The binary format, byte by byte as its page says: <1 x label><3072 x pixel>, reds, greens, blues, row by row."""
    content = bytearray()
    for image, label in zip(pixels, labels):
        content.append(label)
        for channel in range(3):
            for row in range(32):
                for column in range(32):
                    content.append(image[row, column, channel])
    return bytes(content)


def cifar_pickle(pixels, labels, batch=b"training batch 1 of 5"):
    """The Python format as the real files have it: protocol 2 by Python 2, with byte strings for keys and data.

    Python 3 cannot write byte strings of Python 2, so this writes the opcodes. They are those of the real files:
    cPickle's memo is left out.
    """
    rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)

    def text(value):
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    def number(value):
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + 2 * (b"J" + struct.pack("<i", -1)) + number(0) + b"tb"
    shape = number(rows.shape[0]) + number(rows.shape[1]) + b"\x86"
    array += b"(" + number(1) + shape + dtype + b"\x89" + text(rows.tobytes()) + b"tb"
    numbers = b"](" + b"".join(map(number, labels)) + b"e"
    items = text(b"data") + array + text(b"labels") + numbers + text(b"batch_label") + text(batch)
    items += text(b"filenames") + b"](" + b"".join(text(b"x_%06d.png" % i) for i in range(len(rows))) + b"e"
    return b"\x80\x02}(" + items + b"u."


def cifar_files(form, n=6, batches=5):
    """The files of an unpacked archive, the test batch and what describes them included; and the training pixels."""
    write = {"bin": cifar_records, "py": cifar_pickle}[form]
    suffix = ".bin" if form == "bin" else ""
    files, training = {f"test_batch{suffix}": write(*cifar_pixels(n, seed=99))}, []
    for number in range(1, batches + 1):
        pixels, labels = cifar_pixels(n, seed=number)
        files[f"data_batch_{number}{suffix}"] = write(pixels, labels)
        training.append(pixels)
    files["batches.meta" + ".txt" * (form == "bin")] = pickle.dumps({"label_names": ["airplane"]}, 2)
    files["readme.html"] = b"<html>"
    return {f"cifar-10-batches-{form}/{name}": content for name, content in files.items()}, np.concatenate(training)


def check_flips(path, bits, read, check):
    """Assert that the file with one of these bits flipped is refused, or that what `read` finds passes `check`.

    Both must occur.
    """
    whole, counts = path.read_bytes(), {True: 0, False: 0}
    for bit in bits:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = read(path)
        except UserError:
            counts[False] += 1
        else:
            counts[True] += 1
            check(found)
    assert all(counts.values())
