"""Images that are decoded in bands equal those that are decoded as a whole."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from herbray.data.imaging import images
from herbray.data.imaging.bands import read as bands
from herbray.data.imaging.formats import Formats, open_image
from herbray.data.imaging.originals import ImageRefused
from herbray.data.imaging.reduction import decode_reduced

WIDTH, HEIGHT = 101, 157
_RNG = np.random.default_rng(89)
_NOISE = _RNG.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)


def noise(mode):
    if mode == "I;16":
        return Image.fromarray(_RNG.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16))
    image = Image.fromarray(_NOISE, "RGBA")
    return image if mode == "RGBA" else image.convert(mode)


def save(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def tiled_tiff(pixels, tile, deflated, order="<"):
    """A TIFF of tiles, which Pillow cannot write."""
    rows, columns, samples = pixels.shape
    padded = np.zeros((-(-rows // tile) * tile, -(-columns // tile) * tile, samples), np.uint8)
    padded[:rows, :columns] = pixels
    tiles = [
        padded[y : y + tile, x : x + tile].tobytes()
        for y in range(0, padded.shape[0], tile)
        for x in range(0, padded.shape[1], tile)
    ]
    tiles = [zlib.compress(each) for each in tiles] if deflated else tiles
    count = len(tiles)
    tags = [
        *((256, 4, 1, columns), (257, 4, 1, rows), (258, 3, samples, 0), (259, 3, 1, 8 if deflated else 1)),
        *((262, 3, 1, 2), (277, 3, 1, samples), (322, 4, 1, tile), (323, 4, 1, tile)),
        *((324, 4, count, 0), (325, 4, count, 0)),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    first = start + 2 * samples + 8 * count
    offsets = np.cumsum([0, *map(len, tiles)])[:-1] + first
    further = {258: start, 324: start + 2 * samples, 325: start + 2 * samples + 4 * count}
    out = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    for tag, kind, many, value in tags:
        short = kind == 3 and many == 1
        number = struct.pack(f"{order}HH", value, 0) if short else struct.pack(f"{order}I", further.get(tag, value))
        out += struct.pack(f"{order}HHI", tag, kind, many) + number
    out += struct.pack(f"{order}I{samples}H{count}I{count}I", 0, *[8] * samples, *offsets, *map(len, tiles))
    return out + b"".join(tiles)


FILES = {
    **{f"PNG {mode}": save(noise(mode), "PNG") for mode in ("L", "LA", "P", "RGB", "RGBA", "I;16", "1")},
    "PNG with a transparent colour": save(noise("P"), "PNG", transparency=3),
    "PNG of few chunks": save(noise("RGB"), "PNG", compress_level=0),
    **{
        f"TIFF {mode} {compression}": save(noise(mode), "TIFF", compression=compression, strip_size=2000)
        for mode in ("L", "P", "RGB", "CMYK", "I;16")
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")
    },
    **{
        f"TIFF {each}, one strip": save(noise("RGB"), "TIFF", compression=each)
        for each in ("raw", "tiff_adobe_deflate")
    },
    "TIFF of one strip": save(noise("RGB"), "TIFF", compression="tiff_lzw"),
    "TIFF predicted": save(noise("RGB"), "TIFF", compression="tiff_adobe_deflate", tiffinfo={317: 2}),
    "TIFF predicted, strips": save(noise("RGB"), "TIFF", compression="tiff_lzw", tiffinfo={317: 2}, strip_size=2000),
    "TIFF raw, strips": save(noise("RGB"), "TIFF", compression="raw", strip_size=700),
    "TIFF deflated, strips": save(noise("RGBA"), "TIFF", compression="tiff_adobe_deflate", strip_size=3000),
    "TIFF JPEG": save(noise("RGB"), "TIFF", compression="jpeg", strip_size=5000),
    "TIFF tiles": tiled_tiff(_NOISE[:, :, :3], 32, deflated=False),
    "TIFF deflated tiles": tiled_tiff(_NOISE[:, :, :3], 16, deflated=True),
    "TIFF tiles, other order of bytes": tiled_tiff(_NOISE[:, :, :3], 32, deflated=True, order=">"),
    "TIFF bilevel": save(noise("1"), "TIFF", compression="group4"),
    "BMP": save(noise("RGB"), "BMP"),
    "GIF": save(noise("P"), "GIF"),
}
ALL = Formats(jpeg2000=1, gif=1, bmp=1)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("factor", [1, 3])
def test_bands_give_what_the_whole_image_gives(name, factor, monkeypatch):
    data = FILES[name]
    found = []
    for pixels in (10**9, 11 * WIDTH):
        monkeypatch.setattr(bands, "BAND_PIXELS", pixels)
        with open_image(data, ALL) as opened:
            found.append(decode_reduced(data, opened, factor))
    (whole, *extents), (banded, *others) = found
    assert (banded == whole).all()
    assert whole.shape == (-(-HEIGHT // factor), -(-WIDTH // factor), 3)
    assert extents == others == [WIDTH / factor, HEIGHT / factor]


def test_most_files_are_really_cut(monkeypatch):
    monkeypatch.setattr(bands, "BAND_PIXELS", 11 * WIDTH)
    monkeypatch.setattr(Image.Image, "crop", _forbid_large_crops)
    for name, data in FILES.items():
        if name not in ("PNG 1", "TIFF bilevel", "TIFF of one strip", "BMP", "GIF"):
            with open_image(data, ALL) as opened:
                decode_reduced(data, opened, 2)
                assert opened.tile, name  # Pillow has not decoded it


_crop = Image.Image.crop


def _forbid_large_crops(image, box):
    assert image.height < HEIGHT
    return _crop(image, box)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_bands_are_turned_upright(kind, orientation, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = save(noise("RGB"), kind, exif=exif)
    whole = images.shrink_to_pixels(data, 50)
    monkeypatch.setattr(bands, "BAND_PIXELS", 20 * WIDTH)
    box = [(0.1, 0.1, 0.4, 0.25)]
    assert np.abs(images.shrink_to_pixels(data, 50).astype(int) - whole).max() <= 3  # partial squares at other edges
    painted = images.shrink_to_pixels(data, 50, boxes=box)
    rows, columns = painted.shape[:2]
    inner = painted[rows // 10 + 2 : rows // 4 - 2, columns // 10 + 2 : 2 * columns // 5 - 2].reshape(-1, 3)
    assert np.ptp(inner, axis=0).max() < 20


@pytest.mark.parametrize(
    "name", ["PNG RGB", "PNG of few chunks", "TIFF RGB raw", "TIFF deflated, strips", "TIFF tiles"]
)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused_in_bands_too(name, share, monkeypatch):
    monkeypatch.setattr(bands, "BAND_PIXELS", 11 * WIDTH)
    data = FILES[name]
    with pytest.raises(ImageRefused):
        images.shrink_to_jpeg(data[: int(share * len(data))], 64)


def test_random_damage_gives_a_picture_or_a_reason(monkeypatch):
    monkeypatch.setattr(bands, "BAND_PIXELS", 11 * WIDTH)
    rng = np.random.default_rng(3)
    pictures = 0
    for name in ("PNG RGB", "TIFF RGB tiff_lzw", "TIFF deflated tiles", "TIFF RGB raw", "TIFF JPEG"):
        sound = FILES[name]
        for _ in range(20):
            data = bytearray(sound)
            header = min(400, len(data))
            for place in rng.integers(8, header if rng.random() < 0.5 else len(data), rng.integers(1, 4)):
                data[place] = rng.integers(256)
            with contextlib.suppress(ImageRefused):
                pictures += min(images.shrink_to_pixels(bytes(data), 64).shape[:2]) == 64
    assert 0 < pictures < 100


def test_strips_that_overlap_are_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr(bands, "BAND_PIXELS", 11 * WIDTH)
    data = FILES["TIFF deflated tiles"]
    count = len(range(0, HEIGHT, 16)) * len(range(0, WIDTH, 16))
    start = 8 + 2 + 12 * 10 + 4 + 2 * 3
    bomb = data[:start] + struct.pack(f"<{count}I", *[0] * count) + struct.pack(f"<{count}I", *[len(data)] * count)
    with pytest.raises(ImageRefused, match="overlap"):
        images.shrink_to_pixels(bomb + data[len(bomb) :], 64)


def test_a_strip_with_fewer_rows_than_the_image_is_truncated(monkeypatch):
    monkeypatch.setattr(bands, "BAND_PIXELS", 11 * WIDTH)
    size = struct.pack("<I", WIDTH * HEIGHT * 3)
    data = FILES["TIFF raw, one strip"]
    assert data.count(size) == 1
    with pytest.raises(ImageRefused, match="a strip has 30,300 of 47,571 bytes") as caught:
        images.shrink_to_pixels(data.replace(size, struct.pack("<I", WIDTH * 100 * 3)), 64)
    assert caught.value.reason == "truncated"


def test_what_cannot_be_cut_has_a_limit_of_its_own(monkeypatch):
    monkeypatch.setattr(bands, "BAND_PIXELS", 11 * WIDTH)
    monkeypatch.setattr(bands, "MAX_WHOLE_PIXELS", WIDTH * HEIGHT - 1)
    images.shrink_to_pixels(FILES["PNG RGB"], 64)
    with pytest.raises(ImageRefused, match=r"101×157 px in one piece.*TIFF in strips") as caught:
        images.shrink_to_pixels(FILES["TIFF bilevel"], 64)
    assert caught.value.reason == "too-large"
