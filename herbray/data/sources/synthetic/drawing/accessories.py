"""Draw the accessories of a sheet: ruler, colour chart, label, barcode, stamp, envelope."""

from functools import lru_cache
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from herbray.data.sources.synthetic.drawing.strokes import Colour, mix, tint
from herbray.data.sources.synthetic.institutions import Herbarium

_CHART_COLOURS: Final[tuple[Colour, ...]] = (
    *((115, 82, 68), (194, 150, 130), (98, 122, 157), (87, 108, 67), (133, 128, 177), (103, 189, 170)),
    *((214, 126, 44), (80, 91, 166), (193, 90, 99), (94, 60, 108), (157, 188, 64), (224, 163, 46)),
    *((56, 61, 150), (70, 148, 73), (175, 54, 60), (231, 199, 31), (187, 86, 149), (8, 133, 161)),
    *((243, 243, 242), (200, 200, 200), (160, 160, 160), (122, 122, 121), (85, 85, 85), (52, 52, 52)),
)
Box = tuple[float, float, float, float]


@lru_cache(maxsize=16)
def draw_mount(herbarium: Herbarium, width: int, height: int) -> Image.Image:
    """Draw the empty sheet of a herbarium on its scanner, with ruler and colour chart; the same for all its sheets.

    Args:
        herbarium: owner of the sheet.
        width: pixels.
        height: pixels.

    Returns:
        An RGB image; copy it before painting.
    """
    image = Image.new("RGB", (width, height), herbarium.bed)
    draw = ImageDraw.Draw(image)
    draw.rectangle(paper_box(herbarium, width, height), fill=herbarium.paper)
    _draw_ruler(draw, herbarium, width, height)
    if herbarium.chart == "patches":
        _draw_patches(draw, width, herbarium)
    elif herbarium.chart == "strip":
        _draw_strip(draw, width, height)
    if herbarium.margins[1] > 0.05:
        tone = (214, 214, 214)
        draw.ellipse((0.05 * width, 0.02 * width, 0.08 * width, 0.05 * width), outline=tone, width=max(1, width // 250))
        _draw_text(draw, (0.1 * width, 0.024 * width), herbarium.title.upper(), 0.024 * width, tone)
    return image


def paper_box(herbarium: Herbarium, width: int, height: int) -> Box:
    """Return the box that the paper covers, in pixels: left, top, right, bottom."""
    left, top, right, bottom = (edge * width for edge in herbarium.margins)
    return left, top, width - right - 1, height - bottom - 1


def mount_boxes(herbarium: Herbarium, width: int, height: int) -> list[Box]:
    """Return the boxes, in pixels, of all that `draw_mount` draws on or beside the paper: ruler, chart and title."""
    boxes = [_ruler_box(herbarium, width, height)]
    if herbarium.chart == "patches":
        left, top, cell = _place_patches(herbarium, width)
        boxes.append((left, top, left + 6 * cell + 4, top + 4 * cell + 4))
    elif herbarium.chart == "strip":
        top = height - 0.058 * width
        boxes += [
            (0.69 * width, top, width, top + 0.038 * width),
            (0.02 * width, top, 0.07 * width, top + 0.04 * width),
        ]
    if herbarium.margins[1] > 0.05:
        boxes.append((0.05 * width, 0.02 * width, 0.56 * width, 0.055 * width))
    return boxes


def _ruler_box(herbarium: Herbarium, width: int, height: int) -> Box:
    upright = herbarium.ruler in ("left", "right")
    length, thick = (0.62 if upright else 0.36) * width, 0.045 * width
    x, y = {
        "top": (0.58 * width, 0.014 * width),
        "bottom": (0.32 * width, height - 0.062 * width),
        "left": (0.008 * width, 0.16 * width),
        "right": (width - 0.055 * width, 0.3 * width),
    }[herbarium.ruler]
    return (x, y, x + thick, y + length) if upright else (x, y, x + length, y + thick)


def _draw_ruler(draw: ImageDraw.ImageDraw, herbarium: Herbarium, width: int, height: int) -> None:
    ink, ground = ((235, 235, 235), (12, 12, 12)) if herbarium.ruler_dark else ((20, 20, 20), (250, 250, 248))
    upright = herbarium.ruler in ("left", "right")
    x, y, right, bottom = box = _ruler_box(herbarium, width, height)
    length, thick = (bottom - y, right - x) if upright else (right - x, bottom - y)
    draw.rectangle(box, fill=ground)
    steps = 20
    for step in range(steps):
        at, reach = (step + 0.5) * length / steps, thick * (0.75 if step % 5 == 0 else 0.45)
        if upright and not herbarium.ruler_dark:  # a chequered bar of centimetres
            side = x + (step % 2) * thick / 2
            draw.rectangle((side, y + at - length / steps / 2, side + thick / 2, y + at + length / steps / 2), fill=ink)
        elif upright:
            draw.line((x, y + at, x + reach, y + at), fill=ink, width=max(1, width // 300))
        else:
            draw.line((x + at, y, x + at, y + reach), fill=ink, width=max(1, width // 300))


def _place_patches(herbarium: Herbarium, width: int) -> tuple[float, float, float]:
    """Return left, top and the side of a patch, in pixels."""
    left = width - 0.23 * width - herbarium.margins[2] * width
    return left, herbarium.margins[1] * width + 0.015 * width, 0.034 * width


def _draw_patches(draw: ImageDraw.ImageDraw, width: int, herbarium: Herbarium) -> None:
    left, top, cell = _place_patches(herbarium, width)
    draw.rectangle((left, top, left + 6 * cell + 4, top + 4 * cell + 4), fill=(24, 24, 24))
    for index, tone in enumerate(_CHART_COLOURS):
        x, y = left + index % 6 * cell + 3, top + index // 6 * cell + 3
        draw.rectangle((x, y, x + 0.8 * cell, y + 0.8 * cell), fill=tone)


def _draw_strip(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    cell, top = 0.013 * width, height - 0.058 * width
    for index, tone in enumerate((*_CHART_COLOURS[-6:], *_CHART_COLOURS[:18])):
        x = 0.69 * width + index * cell
        draw.rectangle((x, top, x + cell, top + 0.038 * width), fill=tone)
    draw.rectangle((0.02 * width, top, 0.07 * width, top + 0.04 * width), fill=(176, 30, 66))


def draw_label(
    draw: ImageDraw.ImageDraw, herbarium: Herbarium, box: Box, lines: tuple[str, ...], name_end: float
) -> None:
    """Draw a printed label: the herbarium's name, the blurred name of the plant (as in Half-Earth), and further lines.

    Args:
        draw: drawing context of an RGB image.
        herbarium: owner, with title and label paper.
        box: left, top, right, bottom in pixels.
        lines: collector, locality and date.
        name_end: where the name of the plant ends, as a share of the label's width.
    """
    left, top, right, bottom = box
    wide, row = right - left, (bottom - top) / (len(lines) + 4.2)
    draw.rectangle((left + 2, top + 2, right + 2, bottom + 2), fill=tint(herbarium.paper, -0.18))
    draw.rectangle(box, fill=herbarium.label, outline=tint(herbarium.label, -0.25))
    ink = (46, 44, 48)
    _draw_text(draw, (left + 0.06 * wide, top + 0.35 * row), herbarium.title.upper(), 0.82 * row, ink, 0.88 * wide)
    blur = tint(herbarium.label, -0.16)
    draw.rounded_rectangle(
        (left + 0.08 * wide, top + 1.7 * row, left + name_end * wide, top + 2.55 * row),
        0.4 * row,
        fill=blur,
    )
    for index, line in enumerate(lines):
        _draw_text(draw, (left + 0.06 * wide, top + (2.95 + index) * row), line, 0.7 * row, ink, 0.88 * wide)


def draw_barcode(draw: ImageDraw.ImageDraw, x: float, y: float, width: float, code: int) -> None:
    """Draw a barcode sticker whose bars encode the number."""
    draw.rectangle((x, y, x + width, y + 0.38 * width), fill=(252, 252, 252), outline=(200, 200, 200))
    bars = f"{(code + 1) * 0x9E3779B97F4A7C15 % 2**40:040b}"
    cell = 0.86 * width / len(bars)
    for index, bar in enumerate(bars):
        if bar == "1":
            at = x + 0.07 * width + index * cell
            draw.rectangle((at, y + 0.06 * width, at + 0.8 * cell, y + 0.26 * width), fill=(24, 24, 24))
    draw.line((x + 0.25 * width, y + 0.32 * width, x + 0.75 * width, y + 0.32 * width), fill=(70, 70, 70))


def draw_stamp(draw: ImageDraw.ImageDraw, herbarium: Herbarium, x: float, y: float, size: float) -> None:
    """Draw the owner's stamp, in thin ink."""
    ink = mix(herbarium.ink, herbarium.paper, 0.33)
    line = max(1, round(size / 40))
    if herbarium.stamp == "diamond":
        for shrink in (1.0, 0.8):
            wide, tall = size * shrink, 0.62 * size * shrink
            corners = ((x - wide, y), (x, y - tall), (x + wide, y), (x, y + tall), (x - wide, y))
            draw.line(corners, fill=ink, width=line)
    else:
        tall = size if herbarium.stamp == "round" else 0.62 * size
        for shrink in (1.0, 0.72):
            draw.ellipse(
                (x - size * shrink, y - tall * shrink, x + size * shrink, y + tall * shrink), outline=ink, width=line
            )
    for row in (-0.22, 0.0, 0.22):
        reach = (0.48 - abs(row)) * size
        draw.line((x - reach, y + row * size, x + reach, y + row * size), fill=ink, width=max(1, 2 * line))


def draw_envelope(draw: ImageDraw.ImageDraw, herbarium: Herbarium, x: float, y: float, size: float) -> None:
    """Draw a folded paper envelope for fragments."""
    tone, edge = tint(herbarium.paper, 0.2), tint(herbarium.paper, -0.2)
    fall = max(1.0, size / 60)
    draw.rectangle((x + fall, y + fall, x + size + fall, y + 0.72 * size + fall), fill=edge)
    draw.rectangle((x, y, x + size, y + 0.72 * size), fill=tone, outline=edge)
    draw.line((x, y, x + 0.5 * size, y + 0.36 * size, x + size, y), fill=edge)


def _draw_text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: float, ink: Colour, room: float = 1e9
) -> None:
    """Draw a line of text no wider than `room`; text below six pixels is drawn as dashes."""
    if size < 6:
        x, pitch = at[0], 0.5 * size
        for word in text.split():
            end = min(x + pitch * len(word), at[0] + room)
            draw.line((x, at[1] + size / 2, end, at[1] + size / 2), fill=ink, width=max(1, round(size / 3)))
            x = end + pitch
            if x >= at[0] + room:
                break
        return
    font = _font(round(size))
    wide = font.getlength(text)
    if wide > room:
        font = _font(max(4, int(size * room / wide)))
    draw.text(at, text, font=font, fill=ink)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
