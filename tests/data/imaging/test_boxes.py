import io

import numpy as np
import pytest
from PIL import Image

from herbray.data.imaging import images
from herbray.data.imaging.boxes import BoxesRefused, format_boxes, paint_boxes, parse_boxes

PAPER, INK = (228, 214, 180), (20, 30, 160)
LABEL = (0.55, 0.8, 0.9, 0.95)
BOX = (0.53, 0.78, 0.92, 0.97)
STORED = {  # EXIF orientation → the transform from the upright image to the stored one
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def sheet(width, height, label=True):
    """An upright sheet of paper with a green plant and, in the lower right, a label of ink."""
    pixels = np.full((height, width, 3), PAPER, np.uint8)
    pixels[height // 5 : height // 2, width // 4 : width // 2] = (60, 110, 50)
    if label:
        left, top, right, bottom = LABEL
        pixels[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = INK
    return Image.fromarray(pixels)


def stored(upright, orientation=1, kind="JPEG"):
    """The bytes of a file that a viewer shows as `upright`; without the traces that JPEG leaves around edges."""
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    exif = Image.Exif()
    exif[0x0112] = orientation
    transform = STORED[orientation]
    out = io.BytesIO()
    (upright if transform is None else upright.transpose(transform)).save(out, kind, exif=exif, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("0.6 0.85 1 1", ((0.6, 0.85, 1, 1),)),
        (" 0 0 .5 1e-1 ;0.5  0.5 0.75 1", ((0, 0, 0.5, 0.1), (0.5, 0.5, 0.75, 1))),
        ("none", ()),
    ],
)
def test_text_becomes_boxes(text, boxes):
    assert parse_boxes(text) == boxes
    assert parse_boxes(format_boxes(boxes)) == boxes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a box: write four numbers"),
        ("12", "'12' is not a box: write four numbers"),
        ("0 0 1", "write four numbers"),
        ("0 0 0.5 0.5 1", "write four numbers"),
        ("0,1 0,2 0,3 0,4", "write four numbers"),
        ("0 0 0.5 0.5;", "'' is not a box"),
        ("left top right bottom", "write four numbers"),
        ("nan 0 1 1", "left < right and top < bottom"),
        ("-0.1 0 0.5 0.5", "shares of width and height, from 0 to 1"),
        ("0 0 120 340", "shares of width and height, from 0 to 1"),
        ("0.5 0.5 0.5 0.8", "left < right"),
        ("0.1 0.9 0.5 0.2", "top < bottom"),
        ("0 0 1 1", "covers the whole sheet"),
    ],
)
def test_text_that_is_no_boxes_is_refused(text, message):
    with pytest.raises(BoxesRefused, match=message):
        parse_boxes(text)


def test_a_box_takes_the_colour_around_it_and_nothing_else_changes():
    pixels = np.full((100, 80, 3), 200, np.uint8)
    pixels[:20] = 10  # the scanner's bed
    pixels[40:60, 30:50] = 90
    wanted = pixels.copy()
    wanted[40:60, 30:50] = 200
    wanted[0:10, 20:60] = 10
    pixels[0:10, 20:60] = 250  # a ruler on the bed, at the edge of the image
    paint_boxes(pixels, [(30 / 80, 0.4, 50 / 80, 0.6), (0.25, 0, 0.75, 0.1)])
    assert (pixels == wanted).all()


def test_a_pixel_that_a_box_touches_is_painted():
    pixels = np.full((10, 10, 1), 200, np.uint8)
    pixels[3:7, 3:7] = 0
    paint_boxes(pixels, [(0.35, 0.35, 0.65, 0.65)])
    assert (pixels == 200).all()


@pytest.mark.parametrize("size", [(150, 200), (700, 933)])  # decoded in full, and at a reduced scale
@pytest.mark.parametrize("orientation", STORED)
def test_boxes_hide_the_label_in_every_orientation(orientation, size):
    found = images.shrink_to_pixels(stored(sheet(*size), orientation), 64, boxes=[BOX])
    wanted = images.shrink_to_pixels(stored(sheet(*size, label=False), orientation), 64)
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() <= 8
    unmasked = images.shrink_to_pixels(stored(sheet(*size), orientation), 64)
    assert np.abs(unmasked.astype(int) - wanted).max() > 100


@pytest.mark.parametrize("geometry", ["crop", "pad"])
@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("PNG", "L"), ("JPEG", "L"), ("JPEG", "CMYK")])
def test_boxes_hide_the_label_in_every_kind_of_file(kind, mode, geometry):
    with_label, without = (stored(sheet(300, 400, label).convert(mode), kind=kind) for label in (True, False))
    found = images.shrink_to_pixels(with_label, 64, geometry, boxes=[BOX])
    wanted = images.shrink_to_pixels(without, 64, geometry)
    assert np.abs(found.astype(int) - wanted).max() <= 8
