"""Animations as GIF files."""

import numpy as np
from PIL import Image

from minicoulomb import pictures


def test_an_animation_keeps_the_colours_of_its_frames_and_their_times(tmp_path):
    colours = [(255, 255, 255), (200, 30, 9), (254, 255, 255), (0, 0, 90)]
    frames = (Image.new("RGB", (6, 4), colour) for colour in colours)
    pictures.save_animation(frames, tmp_path / "a.gif", seconds=0.2, hold=1.0)
    with Image.open(tmp_path / "a.gif") as gif:
        shown = []
        for i in range(gif.n_frames):
            gif.seek(i)
            shown.append((gif.convert("RGB").getpixel((3, 2)), gif.info["duration"]))
    assert next(colour for colour, _ in shown) == (255, 255, 255)
    assert shown[-1] == ((0, 0, 90), 1000)
    assert shown[0][1] == 200


def test_an_animation_of_many_colours_keeps_its_white_and_is_close_in_all_others(tmp_path):
    page = np.stack([*np.meshgrid(np.arange(256), np.arange(256)), np.full((256, 256), 90)], axis=-1).astype(np.uint8)
    page[:100] = np.random.default_rng(0).integers(245, 256, (100, 256, 3))
    page[:10] = 255
    pictures.save_animation(iter([Image.fromarray(page)] * 2), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        shown = np.asarray(gif.convert("RGB")).astype(int)
    assert (shown[:10] == 255).all()
    assert np.abs(shown - page).max() < 20
