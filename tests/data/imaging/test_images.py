import contextlib
import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from herbray.data.imaging import images, originals
from herbray.data.imaging.formats import Formats
from herbray.data.imaging.jpeg2000_header import count_levels
from herbray.data.imaging.jpeg_header import is_scalable
from herbray.data.imaging.originals import ImageRefused


def picture(width=120, height=180, mode="RGB", kind="JPEG", **options):
    """A sheet with a dark half: bytes in the wanted format."""
    pixels = np.full((height, width, 3), 235, np.uint8)
    pixels[: height // 2, :, 1:] = 40  # the upper half is red
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind, **options)
    return out.getvalue()


def photograph(width, height, mode="RGB", kind="JPEG", **options):
    """Soft patches, sharp leaves and a little grain: bytes in the wanted format."""
    rng = np.random.default_rng(89)
    soft = Image.fromarray(rng.integers(90, 230, (9, 7, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(soft).astype(np.float32)
    y, x = np.mgrid[:height, :width] / width
    pixels[np.sin(19 * x + 3 * y) + np.sin(23 * y - 4 * x) > 1.1] *= 0.45
    pixels += rng.normal(0, 2, pixels.shape)
    out = io.BytesIO()
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)
    image.save(out, kind, **({"quality": 90} if kind == "JPEG" else {}) | options)
    return out.getvalue()


def by_pillow(image, side):
    """The reference: everything decoded, one Lanczos filter."""
    scale = side / min(image.size)
    size = round(image.width * scale), round(image.height * scale)
    return np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))


def psnr(found, wanted):
    return 10 * np.log10(255**2 / max(1e-9, np.mean((found.astype(float) - wanted) ** 2)))


def pixels_of(found):
    return np.asarray(Image.open(io.BytesIO(found.jpeg)).convert("RGB")).astype(int)


@pytest.mark.parametrize(("width", "height"), [(120, 180), (180, 120), (40, 60), (64, 64), (1000, 1403)])
def test_the_short_side_is_exact_and_the_aspect_is_kept(width, height):
    found = images.shrink_to_jpeg(picture(width, height), 64)
    assert min(found.width, found.height) == 64
    assert abs(found.width / found.height - width / height) < 0.02
    assert Image.open(io.BytesIO(found.jpeg)).size == (found.width, found.height)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_allowed_formats_give_the_same_picture(kind):
    pixels = pixels_of(images.shrink_to_jpeg(picture(kind=kind), 60))
    assert pixels[10, 30, 0] > 200
    assert pixels[10, 30, 1] < 80
    assert pixels[80, 30].min() > 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height", "side"),
    [(500, 700, 256), (1101, 1533, 256), (2003, 2805, 256), (2100, 1403, 96), (90, 130, 128)],
    ids=["full", "half", "quarter", "eighth", "enlarged"],
)
def test_reduced_is_a_full_decode_and_lanczos_within_46_decibels(width, height, side):
    data = photograph(width, height)
    found = images.shrink_to_pixels(data, side)
    with Image.open(io.BytesIO(data)) as opened:
        assert psnr(found, by_pillow(opened, side)) > 46


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"progressive": True},
        {"subsampling": 0},
        {"subsampling": 1},
        {"keep_rgb": True},
        {"restart_marker_rows": 1},
        {"mode": "L"},
        {"mode": "CMYK"},
        {"kind": "PNG"},
        {"kind": "TIFF"},
        {"kind": "WEBP", "lossless": True},
        {"kind": "PNG", "mode": "RGBA"},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
def test_every_kind_of_file_keeps_46_decibels(options):
    data = photograph(801, 1203, **options)
    with Image.open(io.BytesIO(data)) as opened:
        assert psnr(images.shrink_to_pixels(data, 120), by_pillow(opened, 120)) > 46


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1"])
def test_other_colour_modes_become_rgb(mode):
    found = images.shrink_to_jpeg(picture(mode=mode, kind="TIFF" if mode == "CMYK" else "PNG"), 32)
    assert Image.open(io.BytesIO(found.jpeg)).mode == "RGB"


def sixteen_bits(kind="TIFF", bits=16, **options):
    """A sheet of which half is as bright as can be declared, and half is half as bright."""
    grey = np.full((64, 64), (1 << bits) - 1, np.uint16)
    grey[:, :32] //= 2
    out = io.BytesIO()
    Image.fromarray(grey).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "dark", "bright"),
    [
        (sixteen_bits("PNG"), 127, 255),
        (sixteen_bits("TIFF"), 127, 255),
        (sixteen_bits("TIFF", bits=14), 32, 64),  # declares 16 bits: not stretched to its own maximum
        (sixteen_bits("TIFF", bits=14, tiffinfo={281: 16383}), 127, 255),
    ],
    ids=["PNG", "TIFF", "less than declared", "declared maximum"],
)
def test_sixteen_bit_grey_is_scaled_by_its_declared_depth(data, dark, bright):
    pixels = images.shrink_to_pixels(data, 64)
    assert (pixels[32, 10].tolist(), pixels[32, 50].tolist()) == ([dark] * 3, [bright] * 3)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_of_unknown_depth_are_refused(kind):
    out = io.BytesIO()
    Image.fromarray(np.full((64, 64), 7, kind)).save(out, "TIFF")
    with pytest.raises(ImageRefused, match="does not say which is white") as caught:
        images.shrink_to_pixels(out.getvalue(), 64)
    assert caught.value.reason == "depth"


def test_further_formats_are_read_if_they_are_allowed():
    allowed = Formats(jpeg2000=1, gif=1, bmp=1)
    for kind in ("JPEG2000", "GIF", "BMP"):
        data = picture(kind=kind)
        with pytest.raises(ImageRefused, match=f"set formats.{kind.lower()} of the shard job") as caught:
            images.shrink_to_pixels(data, 60)
        assert caught.value.reason == "format"
        pixels = images.shrink_to_pixels(data, 60, formats=allowed)
        assert pixels[10, 30, 0] > 200
        assert pixels[10, 30, 1] < 80
        assert pixels[80, 30].min() > 200


@pytest.mark.parametrize("size", [(801, 1203), (1024, 800)])
def test_jpeg_2000_is_decoded_at_reduced_scale(size):
    allowed = Formats(jpeg2000=1)
    data = photograph(*size, kind="JPEG2000")
    assert count_levels(data) == 5
    assert count_levels(photograph(64, 64, kind="JPEG2000", num_resolutions=1)) == 0
    assert count_levels(data[:20]) == count_levels(b"") == 0
    with Image.open(io.BytesIO(data)) as opened:
        assert psnr(images.shrink_to_pixels(data, 120, formats=allowed), by_pillow(opened, 120)) > 38


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "GIF", "BMP"])
def test_each_format_has_a_limit_of_pixels(kind):
    data = picture(200, 300, kind=kind)  # 0.06 megapixels
    key = kind.lower()
    images.shrink_to_pixels(data, 60, formats=Formats(**{key: 0.06}))
    with pytest.raises(
        ImageRefused, match=rf"200×300 px are 0\.06 megapixels; formats\.{key} .* allows 0\.05"
    ) as caught:
        images.shrink_to_pixels(data, 60, formats=Formats(**{key: 0.05}))
    assert caught.value.reason == "too-large"


def test_a_bomb_is_refused_before_it_is_decoded():
    head = b"IHDR" + (15_000).to_bytes(4, "big") + (20_000).to_bytes(4, "big") + b"\x08\x02\0\0\0"
    pixels = b"IDAT" + b"\0" * 100  # is no deflated stream: decoding would fail otherwise
    chunks = [len(part[4:]).to_bytes(4, "big") + part + zlib.crc32(part).to_bytes(4, "big") for part in (head, pixels)]
    with pytest.raises(ImageRefused, match=r"300 megapixels; formats\.png of the shard job allows 200"):
        images.shrink_to_pixels(b"\x89PNG\r\n\x1a\n" + b"".join(chunks), 64)


def test_a_cut_out_plant_lies_on_white_paper():
    layer = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    out = io.BytesIO()
    layer.save(out, "PNG")
    assert pixels_of(images.shrink_to_jpeg(out.getvalue(), 32)).min() > 250


@pytest.mark.slow
@pytest.mark.parametrize("orientation", range(10))  # 0 and 9 mean nothing
@pytest.mark.parametrize("size", [(150, 200), (700, 933)])  # decoded in full, and at a quarter
def test_exif_orientation_is_applied(orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = photograph(*size, exif=exif)
    with Image.open(io.BytesIO(data)) as opened:
        upright = by_pillow(ImageOps.exif_transpose(opened).convert("RGB"), 64)
    found = images.shrink_to_pixels(data, 64)
    assert found.shape == upright.shape
    assert psnr(found, upright) > 36


def test_broken_exif_does_not_change_the_pixels():
    sound = images.shrink_to_pixels(photograph(200, 300), 64)
    rng = np.random.default_rng(1)
    for length in (0, 3, 7, 12, 40, 200):
        exif = b"Exif\0\0MM\0*" + rng.bytes(length)
        with contextlib.suppress(ImageRefused):
            assert (images.shrink_to_pixels(photograph(200, 300, exif=exif), 64) == sound).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not an image at all", "not-an-image"),
        (picture()[: len(picture()) // 2], "truncated"),
        (picture()[:30], "truncated"),
        (picture(kind="PNG")[:-200], "truncated"),
        (picture(kind="GIF"), "format"),
        (picture(kind="PPM"), "not-an-image"),
        (picture(8, 12), "too-small"),
        (picture(40, 600), "too-long"),
    ],
)
def test_what_is_refused_and_why(data, reason):
    with pytest.raises(ImageRefused) as caught:
        images.shrink_to_jpeg(data, 64)
    assert caught.value.reason == reason
    assert str(caught.value)


def entropy(data):
    """Where the compressed pixels begin."""
    at = data.index(b"\xff\xda")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_that_ends_in_the_middle_is_truncated(progressive):
    data = photograph(600, 900, progressive=progressive)
    first = entropy(data)
    for share in (0.01, 0.5, 0.9, 0.99):
        with pytest.raises(ImageRefused) as caught:
            images.shrink_to_jpeg(data[: first + int(share * (len(data) - first))], 64)
        assert caught.value.reason == "truncated"


def test_damage_that_pillow_paints_over_is_refused():
    data = bytearray(photograph(600, 900))
    middle = (entropy(data) + len(data)) // 2
    data[middle : middle + 400] = b"\xfe" * 400  # no code has so many ones
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
    with pytest.raises(ImageRefused) as caught:
        images.shrink_to_jpeg(bytes(data), 64)
    assert caught.value.reason == "damaged"


def test_a_file_that_was_closed_too_early_is_damaged():
    data = photograph(600, 900)
    middle = (entropy(data) + len(data)) // 2
    with pytest.raises(ImageRefused) as caught:
        images.shrink_to_jpeg(data[:middle] + b"\xff\xd9", 64)
    assert caught.value.reason == "damaged"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data + b"\0" * 1000,
        lambda data: data + photograph(50, 50),
        lambda data: data[:-2] + b"\0\0\0\xff\xd9",
        lambda data: data[:2] + b"\xff\xff\xff" + data[2:],
    ],
    ids=["zeros after the end", "a second image after the end", "padding before the end", "fill before a marker"],
)
def test_harmless_oddities_change_nothing(spoil):
    data = photograph(600, 900)
    assert psnr(images.shrink_to_pixels(spoil(data), 64), images.shrink_to_pixels(data, 64)) > 46


def test_a_lossless_frame_is_never_decoded_at_reduced_scale():
    data = photograph(600, 900)
    assert is_scalable(data)
    lossless = data.replace(b"\xff\xc0", b"\xff\xc3", 1)
    assert not is_scalable(lossless)
    assert not is_scalable(data[:2] + b"\0" + data[2:])
    with pytest.raises(ImageRefused):
        images.shrink_to_jpeg(lossless, 64)


def test_random_damage_gives_a_picture_or_a_reason():
    rng = np.random.default_rng(3)
    sound = photograph(200, 300)
    for _ in range(200):
        data = bytearray(sound)
        for place in rng.integers(2, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(256)
        with contextlib.suppress(ImageRefused):
            assert min(images.shrink_to_pixels(bytes(data), 64).shape[:2]) == 64


def test_a_header_that_promises_too_many_pixels_is_refused_unread():
    data = bytearray(picture())
    at = data.index(b"\xff\xc0") + 5  # height and width in the frame header
    data[at : at + 4] = (60000).to_bytes(2, "big") * 2
    with pytest.raises(ImageRefused) as caught:
        images.shrink_to_jpeg(bytes(data), 64)
    assert caught.value.reason == "too-large"


@pytest.mark.parametrize(("make", "reason"), [("nothing", "missing"), ("empty", "empty"), ("folder", "missing")])
def test_files_that_cannot_be_read(tmp_path, make, reason):
    path = tmp_path / "sheet.jpg"
    if make == "empty":
        path.touch()
    if make == "folder":
        path.mkdir()
    with pytest.raises(ImageRefused) as caught:
        originals.read_bytes(str(path))
    assert caught.value.reason == reason


def test_squares_are_cut_where_they_should_be():
    found = images.shrink_to_jpeg(picture(120, 240), 60)  # 60×120: red above, paper below
    top, centre, bottom = (
        images.decode_squares([found.jpeg], 60, np.array([at]))[0].astype(int) for at in (0.0, 0.5, 1.0)
    )
    assert top[30, 30, 1] < 80
    assert bottom[30, 30].min() > 200
    assert (images.decode_squares([found.jpeg], 60)[0] == centre).all()


def test_squares_of_shards_of_another_size_are_refused():
    found = images.shrink_to_jpeg(picture(), 32)
    with pytest.raises(ValueError, match="side=64"):
        images.decode_squares([found.jpeg], 64)


def test_squares_fill_what_is_given_to_them():
    small = [
        images.shrink_to_jpeg(picture(120, height), 60).jpeg for height in (120, 180, 240)
    ]  # the first fits exactly
    out = np.zeros((5, 60, 60, 3), np.uint8)
    assert np.shares_memory(images.decode_squares(small, 60, out=out[1:4]), out)
    assert (out[1:4] == images.decode_squares(small, 60)).all()
    assert not out[[0, 4]].any()
    for wrong in (out, out[:3].astype(np.int16), out[:3, :, ::-1], np.zeros((3, 60, 60, 1), np.uint8)):
        with pytest.raises(ValueError, match="3 squares need"):
            images.decode_squares(small, 60, out=wrong)


def test_a_damaged_image_among_squares_is_an_error():
    found = images.shrink_to_jpeg(photograph(120, 180), 60).jpeg
    with pytest.raises(ValueError, match="Premature end"):
        images.decode_squares([found[:-200]], 60)


@pytest.mark.parametrize(
    ("width", "height", "options"),
    [
        (1200, 1800, {}),  # decoded at a quarter
        (181, 120, {"progressive": True}),
        (40, 300, {}),
        (64, 64, {}),
        (120, 180, {"kind": "PNG"}),
        (120, 181, {"mode": "L"}),
        (500, 730, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}),
    ],
)
def test_a_padded_sheet_lies_whole_in_the_middle_of_a_square_of_its_border(width, height, options):
    data = photograph(width, height, **options)
    found = images.shrink_to_pixels(data, 96, "pad")
    assert found.shape == (96, 96, 3)
    with Image.open(io.BytesIO(data)) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    across, down = (max(1, round(length * 96 / max(upright.size))) for length in upright.size)
    left, top = (96 - across) // 2, (96 - down) // 2
    sheet = found[top : top + down, left : left + across]
    assert psnr(sheet, np.asarray(upright.resize((across, down), Image.Resampling.LANCZOS)).astype(float)) > 42
    bands = [
        (found[:top], sheet[0]),
        (found[top + down :], sheet[-1]),
        (found[:, :left], sheet[:, 0]),
        (found[:, left + across :], sheet[:, -1]),
    ]
    for band, edge in bands:
        assert (band == np.median(edge, axis=0).astype(np.uint8)).all()


def test_the_square_of_a_padded_sheet_has_what_the_crop_has_lost():
    data = picture(120, 240)  # the upper half is red
    crop, pad = (images.shrink_to_jpeg(data, 60, 95, geometry) for geometry in ("crop", "pad"))
    assert (crop.width, crop.height, pad.width, pad.height) == (60, 120, 60, 60)
    for square, rows in (
        (images.decode_squares([crop.jpeg], 60)[0], 60),
        (images.decode_squares([pad.jpeg], 60)[0], 60),
    ):
        assert abs(int((square[:, 30, 1] < 100).sum()) - rows / 2) <= 1
    assert (
        images.decode_squares([pad.jpeg], 60, np.array([0.9])).tolist()
        == images.decode_squares([pad.jpeg], 60).tolist()
    )
    assert images.shrink_to_jpeg(data, 60, 95).jpeg == crop.jpeg
