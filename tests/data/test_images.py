"""Real files in every format, made here with Pillow, become the pixels that they show."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from minicoulomb.data import images
from minicoulomb.data.images import decode_image
from minicoulomb.errors import UserError

# Four quarters, each of one colour: what is left, right, up and down can be told.
CORNERS = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 0]]], np.uint8)


def quarters(side=32):
    return CORNERS.repeat(side // 2, axis=0).repeat(side // 2, axis=1)


def middle_of_quarters(pixels):
    quarter = len(pixels) // 4
    return pixels[quarter :: 2 * quarter, quarter :: 2 * quarter].astype(int)


def decode(path, *args, **options):
    return decode_image(path.read_bytes(), *args, **options)


def write(path, array_or_image, **options):
    image = array_or_image if isinstance(array_or_image, Image.Image) else Image.fromarray(array_or_image)
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_every_format_gives_its_colours(tmp_path, suffix):
    options = {"webp": {"lossless": True}, "jpg": {"quality": 95, "subsampling": 0}}.get(suffix, {})
    pixels = decode(write(tmp_path / f"a.{suffix}", quarters(), **options), 16)
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(middle_of_quarters(pixels) - CORNERS).max() <= 6


# What each EXIF orientation k stores, written out: the upright image with its rows and columns moved.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a[::-1].transpose(1, 0, 2)[::-1, ::-1],
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_the_exif_orientation_is_turned_upright(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](quarters()))
    path = write(tmp_path / f"a.{suffix}", stored, exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
    assert np.abs(middle_of_quarters(decode(path, 16)) - CORNERS).max() <= 6


def test_metadata_that_pillow_cannot_write_again_still_turn_the_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0  # orientation and resolution, a fraction
    as_bytes = (
        exif.tobytes().replace(b"\x01\x1a\x00\x05", b"\x01\x1a\x00\x07").replace(b"\x1a\x01\x05", b"\x1a\x01\x07")
    )
    assert as_bytes != exif.tobytes()
    path = write(tmp_path / "a.png", np.ascontiguousarray(STORED[6](quarters())), exif=as_bytes)
    assert np.abs(middle_of_quarters(decode(path, 16)) - CORNERS).max() <= 6


def test_alpha_lies_over_white(tmp_path):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, 4:] = [100, 50, 0, 128]
    pixels = decode(write(tmp_path / "a.png", rgba), 8)
    assert (pixels[:, 0] == 255).all()
    over = [round(255 + (c - 255) * 128 / 255) for c in (100, 50, 0)]
    assert np.abs(pixels[:, -1].astype(int) - over).max() <= 1


def test_grey_with_alpha_and_transparent_palettes_lie_over_white(tmp_path):
    grey = write(tmp_path / "la.png", Image.merge("LA", [Image.new("L", (8, 8), 40), Image.new("L", (8, 8), 0)]))
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((7, 7), 1)
    for path in (grey, write(tmp_path / "p.png", palette, transparency=0)):
        assert (decode(path, 8)[0, 0] == 255).all()
    assert (decode(tmp_path / "p.png", 8, crop=8)[7, 7] == [200, 100, 50]).all()


def test_palettes_give_their_colours(tmp_path):
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    assert (decode(write(tmp_path / "p.png", palette), 4) == [200, 100, 50]).all()


def test_cmyk_becomes_colour(tmp_path):
    path = write(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (255, 0, 0, 0)), quality=95)
    assert np.abs(decode(path, 8)[0, 0].astype(int) - [0, 255, 255]).max() <= 3


@pytest.mark.parametrize(
    ("stored", "shown"), [(0, 0), (65535, 255), (257 * 100, 100), (257 * 100 + 128, 100), (40000, 156)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_greys_are_scaled_not_clipped(tmp_path, stored, shown, channels):
    path = write(tmp_path / "a.png", np.full((8, 8), stored, np.uint16))
    assert (decode(path, 8, channels=channels) == shown).all()


def test_1_bit_and_grey_images_come_in_grey_and_colour(tmp_path):
    bits = write(tmp_path / "bits.png", Image.new("1", (8, 8), 1))
    grey = write(tmp_path / "grey.png", np.full((8, 8), 77, np.uint8))
    assert (decode(bits, 8, channels=1) == 255).all()
    assert (decode(grey, 8, channels=3) == 77).all()
    assert decode(grey, 8, channels=1).shape == (8, 8, 1)


def test_the_centre_is_cut_out(tmp_path):
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[5:15, 15:25] = 200
    path = write(tmp_path / "a.png", picture)
    assert (decode(path, 10, crop=10) == 200).all()
    whole = decode(path, 20)  # the central 20x20
    assert (whole[5:15, 5:15] == 200).all()
    assert whole[0].max() == 0


def test_shrinking_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    pixels = decode(write(tmp_path / "a.png", stripes), 16, channels=1).astype(int)
    assert np.abs(pixels[2:-2, 2:-2] - 127.5).max() <= 4


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("truncated", r"damaged \(.*runcated"),
        ("text", "begins with 74 68 69 73"),
        ("empty", "is empty"),
        ("gif", "begins with 47 49 46 38"),
        ("riff", "damaged"),
        ("head", "damaged"),
    ],
)
def test_what_is_no_whole_image_is_told(tmp_path, damage, said):
    jpeg = write(tmp_path / "a.jpg", quarters(64)).read_bytes()
    content = {
        "truncated": jpeg[:-200],
        "text": b"this is no image",
        "empty": b"",
        "gif": write(tmp_path / "a.gif", quarters()).read_bytes(),
        "riff": b"RIFF\x00\x00\x00\x00WAVE",
        "head": jpeg[:3] + b"junk" * 20,
    }[damage]
    with pytest.raises(UserError, match=said) as caught:
        decode_image(content, 8)
    assert "replace or remove it" in str(caught.value)


def test_pixels_are_decoded_as_they_are():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert (decode_image(pixels, 32) == pixels).all()
    assert (decode_image(pixels.transpose(1, 0, 2), 16, crop=16) == pixels.transpose(1, 0, 2)[8:24, 8:24]).all()


def test_an_image_smaller_than_the_crop_says_so(tmp_path):
    with pytest.raises(UserError, match="32x32 .* crop of 33; use --crop 32"):
        decode(write(tmp_path / "a.png", quarters()), 8, crop=33)


def test_a_decompression_bomb_is_refused_and_a_large_photograph_is_not(tmp_path, monkeypatch):
    path = write(tmp_path / "a.png", quarters())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 32 * 2 // 3)  # Pillow warns here ...
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(path, 8).shape == (8, 8, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 32 // 3)  # ... and refuses from twice that on
    with pytest.raises(UserError, match="pixels"):
        decode(path, 8)


@pytest.mark.parametrize(("size", "crop", "channels"), [(0, None, 3), (8, 0, 3), (8, None, 2), (8, None, 4)])
def test_an_impossible_geometry_is_refused(tmp_path, size, crop, channels):
    with pytest.raises(UserError, match="must be"):
        decode(write(tmp_path / "a.png", quarters()), size, crop, channels)


def saved(mode, size, form, **options):
    file = io.BytesIO()
    Image.new(mode, size).save(file, form, **options)
    return file.getvalue()


def webp_of(width, height):
    """A file of a few bytes that declares a size: 14 bits each, after the first byte of its data."""
    content = saved("RGB", (8, 8), "WEBP", lossless=True)
    return content[:21] + struct.pack("<L", width - 1 | height - 1 << 14) + content[25:]


@pytest.mark.parametrize(
    ("form", "size", "options"),
    [
        ("WEBP", (13000, 13000), {}),
        ("WEBP", (5200, 5200), {}),
        ("PNG", (60000, 2900), {}),
        ("PNG", (8200, 8200), {}),
        ("JPEG", (8200, 8200), {}),
        ("JPEG", (5200, 5200), {"progressive": True}),
    ],
)
def test_a_small_file_of_many_pixels_is_refused_before_they_unfold(monkeypatch, form, size, options):
    if form == "WEBP":
        content = webp_of(*size)
    else:
        content = saved("L" if form == "PNG" else "RGB", size, form, **options)
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(UserError, match=f"{size[0]}x{size[1]} pixels: .* would unfold to .* at most 268,435,456"):
        decode_image(content, 8)


def test_a_webp_of_34_bytes_is_told():
    with pytest.raises(UserError, match="damaged|pixels"):
        decode_image(webp_of(16383, 16383)[:34], 8)


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_takes_minutes(monkeypatch):
    content = saved("L", (1000, 1000), "JPEG", progressive=True)
    assert decode_image(content, 8).shape == (8, 8, 3)
    last = content[content.rindex(b"\xff\xda") : -2]
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(UserError, match="1000x1000 pixels: .* would unfold"):
        decode_image(content[:-2] + 1000 * last + content[-2:], 8)


def png_chunk(kind, content):
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))


@pytest.mark.parametrize("where", ["before the pixels", "after the pixels"])
@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))),
        png_chunk(b"tEXt", b"a\0" + b"x" * (3 * 10**6)),
        png_chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(10**7))),
        png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**7))),
        b"".join(png_chunk(b"zTXt", b"%d\0\0" % i + zlib.compress(bytes(10**6))) for i in range(70)),
    ],
    ids=["compressed text", "text", "international text", "profile", "70 texts"],
)
def test_a_png_with_large_texts_or_profiles_gives_its_pixels_upright(tmp_path, chunk, where):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = write(tmp_path / "a.png", np.ascontiguousarray(STORED[6](quarters())), exif=exif).read_bytes()
    at = 33 if where == "before the pixels" else len(content) - 12
    assert np.abs(middle_of_quarters(decode_image(content[:at] + chunk + content[at:], 16)) - CORNERS).max() <= 6


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "I;16", "1"])
@pytest.mark.parametrize("crop", [None, 41])
@pytest.mark.parametrize("channels", [1, 3])
def test_strips_of_a_large_image_give_the_same_bytes(tmp_path, monkeypatch, mode, crop, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (57, 83, 4), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(pixels if "A" in mode else pixels[..., :3].copy()).convert(mode)
    path = write(tmp_path / "a.png", image, **({"transparency": 3} if mode == "P" else {}))
    whole = decode(path, 16, crop, channels)
    monkeypatch.setattr(images, "STRIP", 300)
    assert (decode(path, 16, crop, channels) == whole).all()
