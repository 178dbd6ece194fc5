"""Draw one sheet: from its description to pixels."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from herbray.data.imaging.boxes import Box
from herbray.data.sources.synthetic.drawing import accessories
from herbray.data.sources.synthetic.drawing.habits import PlantCondition
from herbray.data.sources.synthetic.drawing.plant import PressedPlant, press_plant
from herbray.data.sources.synthetic.drawing.strokes import Strokes, tint
from herbray.data.sources.synthetic.flora import Taxon
from herbray.data.sources.synthetic.institutions import Herbarium
from herbray.data.sources.synthetic.traits import Traits, derive_child

DRAWING_VERSION: Final = 1
"""Increase this number whenever the pixels of a sheet change; a folder of sheets records the version that drew it."""

_OVERSAMPLING: Final = 2  # sheets are painted at this multiple of their size and reduced, for smooth edges
_GATHERED, _MOUNTED = 31, 32  # random streams of gatherings and of sheets


@dataclass(frozen=True)
class Subject:
    """The complete description from which a sheet is drawn."""

    number: int  # number of the sheet
    gathering: int
    taxon: Taxon  # the true taxon
    herbarium: Herbarium
    year: int
    notes: tuple[str, ...]  # lines of the label


def draw_sheet(subject: Subject, size: int, seed: int) -> npt.NDArray[np.uint8]:
    """Draw a sheet: UInt8 RGB, (height, `size`, 3).

    Duplicates of a gathering show pieces of the same plant, of the same age, on another herbarium's mount.
    """
    gathered = np.random.default_rng([seed, _GATHERED, subject.gathering])
    rng = np.random.default_rng([seed, _MOUNTED, subject.number])
    height = subject.herbarium.height(size)
    wide, tall = size * _OVERSAMPLING, height * _OVERSAMPLING
    traits = derive_child(subject.taxon.traits, subject.taxon.archetype, "plant", gathered)
    condition = _draw_condition(subject.year, gathered)
    sheet = accessories.draw_mount(subject.herbarium, wide, tall).copy()
    _draw_accessories(ImageDraw.Draw(sheet), subject, _place_accessories(subject.herbarium, wide, tall, rng), wide)
    plant = Image.new("CMYK", (wide, tall))  # four bytes, colour and cover; Pillow reduces this mode fastest
    _draw_plants(ImageDraw.Draw(plant), traits, condition, subject.herbarium, wide, tall, rng)
    return _photograph(sheet.reduce(_OVERSAMPLING), plant.reduce(_OVERSAMPLING), subject, rng)


def _draw_condition(year: int, rng: np.random.Generator) -> PlantCondition:
    age = (2025 - year) / 160
    return PlantCondition(
        dried=float(np.clip(rng.beta(1.6, 1.6) * 0.8 + 0.35 * age - 0.05, 0, 1)),
        season=("flower", "flower", "fruit", "sterile")[int(rng.random() * 4)],
        vigour=float(rng.uniform(0.82, 1.18)),
        stature=float(rng.uniform(0.85, 1.12)),
    )


def _draw_plants(
    canvas: ImageDraw.ImageDraw, traits: Traits, condition: PlantCondition, herbarium: Herbarium, wide: int, tall: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Draw one plant, or two or three small plants, with tape into the free part of the sheet."""
    left, top, right, bottom = accessories.paper_box(herbarium, wide, tall)
    left, top = left + 0.05 * wide, top + 0.05 * wide
    right, bottom = right - 0.05 * wide, bottom - 0.19 * wide
    pressed = press_plant(traits, condition, rng)
    low_x, low_y, high_x, high_y = pressed.strokes.bounds()
    copies = 1
    if (high_x - low_x) * wide < 0.4 * (right - left) and (high_y - low_y) < 0.8:
        copies = 2 + int(rng.random() < 0.35)
    slot = (right - left) / copies
    for index in range(copies):
        if index:
            pressed = press_plant(traits, condition, rng)
        _fit_plant(canvas, pressed, (left + index * slot, top, left + (index + 1) * slot, bottom), wide, herbarium, rng)


def _fit_plant(
    canvas: ImageDraw.ImageDraw, pressed: PressedPlant, box: accessories.Box, wide: int, herbarium: Herbarium,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Scale a plant to fit into `box` (pixels); small plants are enlarged only slightly."""
    low_x, low_y, high_x, high_y = pressed.strokes.bounds()
    left, top, right, bottom = box
    fits = min((right - left) / (high_x - low_x), (bottom - top) / (high_y - low_y))
    scale = min(fits, 1.35 * wide) * rng.uniform(0.9, 1.0)
    slack_x, slack_y = right - left - scale * (high_x - low_x), bottom - top - scale * (high_y - low_y)
    x = left + slack_x * rng.uniform(0.3, 0.7) - scale * low_x
    y = top + slack_y * rng.uniform(0.35, 0.75) + scale * high_y
    pressed.strokes.paint(canvas, scale, x, y)
    _make_tape(pressed, herbarium, rng).paint(canvas, scale, x, y)


def _make_tape(pressed: PressedPlant, herbarium: Herbarium, rng: np.random.Generator) -> Strokes:
    """Strips of gummed paper across the stem."""
    strips = Strokes()
    gummed = tint(herbarium.paper, 0.4)
    shares = (0.12, 0.45, 0.78) if len(pressed.spines) == 1 else (0.4,)
    for spine in pressed.spines:
        for share in shares:
            at = min(int((share + rng.uniform(-0.06, 0.06)) * len(spine)), len(spine) - 2)
            along = spine[at + 1] - spine[at]
            along = along / np.hypot(*along)
            across = np.array([-along[1], along[0]]) * rng.uniform(0.028, 0.04)
            ends = np.array([across, across, -across, -across]) + np.outer((1, -1, -1, 1), along * 0.006)
            strips.fill(spine[at] + ends, gummed, (150, 140, 120))
    return strips


@dataclass(frozen=True)
class _Places:
    """Where the accessories of a sheet lie, in pixels."""

    label: accessories.Box
    name_end: float  # of the name on the label, as a share of its width
    stamp: tuple[float, float] | None  # centre
    barcode: tuple[float, float]  # left, top; also below
    envelope: tuple[float, float] | None


_STAMP, _BARCODE, _ENVELOPE = 0.075, 0.14, 0.2  # half-width, width, width, as shares of the sheet's width


def _place_accessories(herbarium: Herbarium, wide: int, tall: int, rng: np.random.Generator) -> _Places:
    left, top, right, bottom = accessories.paper_box(herbarium, wide, tall)
    shift_x, shift_y = rng.uniform(0, 0.03, 2) * wide
    width, height = rng.uniform(0.34, 0.42) * wide, rng.uniform(0.19, 0.25) * wide
    label = (right - shift_x - width, bottom - shift_y - height, right - shift_x, bottom - shift_y)
    name_end = rng.uniform(0.55, 0.85)
    stamp = envelope = None
    if herbarium.stamp != "none":
        stamp = left + rng.uniform(0.1, 0.16) * wide, bottom - rng.uniform(0.1, 0.14) * wide
    barcode = left + rng.uniform(0.24, 0.34) * wide, bottom - rng.uniform(0.075, 0.1) * wide
    if rng.random() < herbarium.envelope:
        envelope = left + rng.uniform(0.02, 0.05) * wide, top + rng.uniform(0.02, 0.06) * wide
    return _Places(label, name_end, stamp, barcode, envelope)


def _draw_accessories(canvas: ImageDraw.ImageDraw, subject: Subject, places: _Places, wide: int) -> None:
    herbarium = subject.herbarium
    accessories.draw_label(canvas, herbarium, places.label, subject.notes, places.name_end)
    if places.stamp:
        accessories.draw_stamp(canvas, herbarium, *places.stamp, _STAMP * wide)
    accessories.draw_barcode(canvas, *places.barcode, _BARCODE * wide, subject.number)
    if places.envelope:
        accessories.draw_envelope(canvas, herbarium, *places.envelope, _ENVELOPE * wide)


def list_boxes(herbarium: Herbarium, number: int, size: int, seed: int) -> list[Box]:
    """List what `draw_sheet` draws of the herbarium: label, barcode, stamp, ruler, colour chart and title.

    Args:
        herbarium: owner of the sheet.
        number: of the sheet.
        size: width of the sheet in pixels.
        seed: seed of the herbarium.

    Returns:
        Boxes as shares of the sheet's width and height, see `herbray.data.imaging.boxes`.
    """
    rng = np.random.default_rng([seed, _MOUNTED, number])
    wide, tall = size * _OVERSAMPLING, herbarium.height(size) * _OVERSAMPLING
    places = _place_accessories(herbarium, wide, tall, rng)
    shadow, across = 2.0, _BARCODE * wide
    left, top, right, bottom = places.label
    x, y = places.barcode
    boxes = [(left, top, right + shadow, bottom + shadow), (x, y, x + across, y + 0.38 * across)]
    if places.stamp:
        (x, y), reach = places.stamp, _STAMP * wide
        boxes.append((x - reach, y - reach, x + reach, y + reach))
    boxes += accessories.mount_boxes(herbarium, wide, tall)
    edge = 0.5 * _OVERSAMPLING  # outlines and smooth edges
    return [_clip((x - edge, y - edge, right + edge, bottom + edge), wide, tall) for x, y, right, bottom in boxes]


def _clip(box: Box, wide: int, tall: int) -> Box:
    """A box in pixels as shares of the sheet, cut off at its edges."""
    left, top, right, bottom = box
    return max(0.0, left / wide), max(0.0, top / tall), min(1.0, right / wide), min(1.0, bottom / tall)


def _photograph(
    sheet: Image.Image, plant: Image.Image, subject: Subject, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Combine sheet and plant with paper grain, age, the plant's shadow and mottling, and the camera's light."""
    width, height = sheet.size
    cover = plant.getchannel(3)
    fall = max(1, width // 170)
    shadow = ImageChops.offset(cover, fall, fall).filter(ImageFilter.BoxBlur(fall * 0.8))
    sheet.paste((70, 62, 50), mask=shadow.point([round(0.42 * level) for level in range(256)]))
    opaque = np.asarray(cover, dtype=np.float32) / np.float32(255)
    light = _light(opaque, subject, rng)
    age = (2025 - subject.year) / 160
    tint = np.array([1.0, 1.0 - 0.02 * age, 1.0 - 0.08 * age]) * subject.herbarium.light * rng.normal(1.0, 0.008, 3)
    paper, painted = np.asarray(sheet), np.asarray(plant)
    pixels = np.empty((height, width, 3), np.uint8)
    for channel in range(3):  # separate planes are three times as fast
        plane = paper[..., channel] * (1 - opaque) + painted[..., channel]
        pixels[..., channel] = np.minimum(plane * light * np.float32(tint[channel]), 255)
    return pixels


def _light(opaque: npt.NDArray[np.float32], subject: Subject, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Compute the brightness of each pixel: exposure, dark corners, paper grain, age stains, mottled leaves."""
    height, width = opaque.shape
    grain, cloud = _make_textures(width, height)
    rows, columns = (int(part) for part in rng.integers(0, 1 << 20, 2))
    age = np.float32((2025 - subject.year) / 160)
    mottling = 0.12 * opaque + (0.008 + 0.01 * age)
    light = 1 + mottling * np.roll(cloud, (rows, columns), (0, 1)) + np.roll(grain, (columns, rows), (0, 1))
    light -= subject.herbarium.falloff * _corner_weights(width, height)
    return np.asarray(np.maximum(light, 0) * np.float32(rng.normal(1.0, 0.045)), dtype=np.float32)


@lru_cache(maxsize=8)
def _make_textures(width: int, height: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Make fine grain, and soft clouds of unit deviation, (height, width); callers roll them by random offsets."""
    rng = np.random.default_rng(7)
    grain = np.float32(0.011) * rng.standard_normal((height, width), dtype=np.float32)
    cloud = np.zeros((height, width), np.float32)
    for cells in (6, 14, 32, 70):
        rows = round(cells * height / width)
        coarse = np.pad(
            rng.standard_normal((rows, cells), dtype=np.float32), 3, mode="wrap"
        )  # makes the texture seamless
        box = (3, 3, 3 + cells, 3 + rows)
        cloud += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC, box=box))
    return grain, cloud / cloud.std()


@lru_cache(maxsize=8)
def _corner_weights(width: int, height: int) -> npt.NDArray[np.float32]:
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    return np.asarray((y[:, None] ** 2 + x**2) / 2, dtype=np.float32)
