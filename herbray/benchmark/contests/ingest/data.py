"""The data of the ingest benchmark: drawn sheets, enlarged, with grain that takes as many bytes as that of scans."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from herbray.data.sources.synthetic import Synthetic

_DRAWN: int = 1000  # pixels of the short side, from which sheets are resized
_OCTAVES: int = 5
_QUALITY: int = 88


def draw_sheets(folder: Path, width: int, height: int, count: int, grain: float, seed: int) -> Iterator[bytes]:
    """JPEG files of upright sheets.

    Args:
        folder: folder for the drawn originals; originals that exist are not drawn again.
        width: width in pixels.
        height: height in pixels.
        count: number of sheets; all differ.
        grain: standard deviation, in grey levels, of each octave of the noise. Noise of equal strength in every octave
            has the spectrum of photographs; with 3 levels a pixel takes 0.15 to 0.2 bytes, as on digitised sheets.
        seed: seed of sheets and grain.
    """
    source = Synthetic(path=folder, sheets=count, size=_DRAWN, seed=seed)
    paths = [path for part in source.read(_refuse) for path in part.column("image").to_pylist()]
    for number, path in enumerate(paths):
        rng = np.random.default_rng([seed, width, height, number])
        with Image.open(path) as drawn:
            pixels = np.asarray(drawn.resize((width, height), Image.Resampling.LANCZOS))
        yield _jpeg(pixels, grain * _noise(width, height, rng))


def _jpeg(pixels: npt.NDArray[np.uint8], noise: npt.NDArray[np.float32]) -> bytes:
    import simplejpeg

    grainy = np.empty_like(pixels)
    for channel in range(3):  # one plane at a time: 24 megapixels in float32 are 288 MB
        grainy[..., channel] = np.clip(pixels[..., channel] + noise, 0, 255)
    data: bytes = simplejpeg.encode_jpeg(grainy, quality=_QUALITY, colorsubsampling="420")
    return data


def _noise(width: int, height: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Noise in octaves of unit strength, and half as strong in the finest octave, which lenses blur."""
    total: npt.NDArray[np.float32] = rng.standard_normal((height, width), dtype=np.float32) / np.float32(2)
    for octave in range(1, _OCTAVES):
        size = (width >> octave) + 1, (height >> octave) + 1
        coarse = Image.fromarray(rng.standard_normal(size[::-1], dtype=np.float32))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    return total


def _refuse(*args: object) -> None:
    raise RuntimeError(f"a drawn sheet was refused: {args}")
