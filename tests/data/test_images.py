import io

import numpy as np
import pytest
from PIL import Image

from herbray.data import images
from herbray.data.images import ImageRefused


def picture(width=120, height=180, mode="RGB", kind="JPEG", **options):
    """A sheet with a dark half: bytes in the wanted format."""
    pixels = np.full((height, width, 3), 235, np.uint8)
    pixels[: height // 2, :, 1:] = 40  # the upper half is red
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind, **options)
    return out.getvalue()


def pixels_of(found):
    return np.asarray(Image.open(io.BytesIO(found.jpeg)).convert("RGB")).astype(int)


@pytest.mark.parametrize(("width", "height"), [(120, 180), (180, 120), (40, 60), (64, 64), (1000, 1403)])
def test_the_short_side_is_exact_and_the_aspect_is_kept(width, height):
    found = images.shrink(picture(width, height), 64)
    assert min(found.width, found.height) == 64
    assert abs(found.width / found.height - width / height) < 0.02
    assert Image.open(io.BytesIO(found.jpeg)).size == (found.width, found.height)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_allowed_formats_give_the_same_picture(kind):
    pixels = pixels_of(images.shrink(picture(kind=kind), 60))
    assert pixels[10, 30, 0] > 200
    assert pixels[10, 30, 1] < 80
    assert pixels[80, 30].min() > 200


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1"])
def test_other_colour_modes_become_rgb(mode):
    found = images.shrink(picture(mode=mode, kind="TIFF" if mode == "CMYK" else "PNG"), 32)
    assert Image.open(io.BytesIO(found.jpeg)).mode == "RGB"


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    ramp = np.tile(np.linspace(0, 60000, 64).astype(np.uint16), (64, 1))
    out = io.BytesIO()
    Image.fromarray(ramp).save(out, "PNG")
    pixels = pixels_of(images.shrink(out.getvalue(), 64))
    assert pixels[32, 32].mean() == pytest.approx(128, abs=8)


def test_a_cut_out_plant_lies_on_white_paper():
    layer = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    out = io.BytesIO()
    layer.save(out, "PNG")
    assert pixels_of(images.shrink(out.getvalue(), 32)).min() > 250


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    pixels = pixels_of(images.shrink(picture(exif=exif), 60))
    assert pixels[80, 30, 1] < 80
    assert pixels[10, 30].min() > 200


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not an image at all", "not-an-image"),
        (picture()[: len(picture()) // 2], "truncated"),
        (picture()[:30], "truncated"),
        (picture(kind="PNG")[:-200], "truncated"),
        (picture(kind="GIF"), "not-an-image"),
        (picture(8, 12), "too-small"),
        (picture(40, 600), "too-long"),
    ],
)
def test_what_is_refused_and_why(data, reason):
    with pytest.raises(ImageRefused) as caught:
        images.shrink(data, 64)
    assert caught.value.reason == reason
    assert str(caught.value)


def test_a_header_that_promises_too_many_pixels_is_refused_unread():
    data = bytearray(picture())
    at = data.index(b"\xff\xc0") + 5  # height and width in the frame header
    data[at : at + 4] = (60000).to_bytes(2, "big") * 2
    with pytest.raises(ImageRefused) as caught:
        images.shrink(bytes(data), 64)
    assert caught.value.reason == "too-large"


@pytest.mark.parametrize(("make", "reason"), [("nothing", "missing"), ("empty", "empty"), ("folder", "missing")])
def test_files_that_cannot_be_read(tmp_path, make, reason):
    path = tmp_path / "sheet.jpg"
    if make == "empty":
        path.touch()
    if make == "folder":
        path.mkdir()
    with pytest.raises(ImageRefused) as caught:
        images.read_bytes(str(path))
    assert caught.value.reason == reason


def test_squares_are_cut_where_they_should_be():
    found = images.shrink(picture(120, 240), 60)  # 60×120: red above, paper below
    top, centre, bottom = (images.squares([found.jpeg], 60, np.array([at]))[0].astype(int) for at in (0.0, 0.5, 1.0))
    assert top[30, 30, 1] < 80
    assert bottom[30, 30].min() > 200
    assert (images.squares([found.jpeg], 60)[0] == centre).all()


def test_squares_of_shards_of_another_size_are_refused():
    found = images.shrink(picture(), 32)
    with pytest.raises(ValueError, match="shards of 64 px"):
        images.squares([found.jpeg], 64)
