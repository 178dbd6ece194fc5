"""The peers of the ingest benchmark: common ways to resize a large JPEG, and a pool of processes for files."""

import io
import warnings
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

QUALITY: Final = 90
_AMPLE: Final = 1.9  # times the target size: the least that Pillow's draft mode needs for 46 dB on 8 and 24 megapixels


def plain(data: bytes, side: int) -> Image.Image:
    """Pillow as most people use it: decode the whole image, then resize with Lanczos. The reference for the others."""
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    return image.resize(_wanted(image.size, side), Image.Resampling.LANCZOS)


def draft(data: bytes, side: int) -> Image.Image:
    """Pillow as an expert uses it: the decoder reduces the image part of the way, and Lanczos does the rest."""
    with Image.open(io.BytesIO(data)) as opened:
        wanted = _wanted(opened.size, side)
        opened.draft("RGB", (round(_AMPLE * wanted[0]), round(_AMPLE * wanted[1])))
        return opened.convert("RGB").resize(wanted, Image.Resampling.LANCZOS, reducing_gap=2.0)


def torchvision(data: bytes, side: int) -> Pixels:
    """A full decode, then torchvision's antialiased resize; its default, bilinear, is softer than Lanczos."""
    import torch
    from torchvision.io import decode_jpeg
    from torchvision.transforms.v2 import functional

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its successor, torchcodec, decodes no faster here
        image = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    width, height = _wanted((image.shape[2], image.shape[1]), side)
    small = functional.resize(image, [height, width], antialias=True).permute(1, 2, 0)
    pixels: Pixels = small.contiguous().numpy()
    return pixels


def compress(image: Image.Image) -> bytes:
    """Encode an image as JPEG with Pillow."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def psnr(pixels: Pixels, reference: Pixels) -> float:
    """Peak signal-to-noise ratio in decibels; infinite for equal images."""
    error = float(np.mean((pixels.astype(np.float64) - reference) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def one_thread() -> None:
    """Limit this process of a pool to one thread: BLAS would start one thread per core."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


class Workers:
    """A pool of processes that lives as long as its case."""

    def __init__(self, processes: int) -> None:
        """Start no process yet."""
        self.processes = processes
        self.pool: Pool | None = None

    def map(self, work: Callable[..., object], tasks: Sequence[tuple[object, ...]]) -> None:
        """Run all tasks, each as soon as a process is free."""
        if self.pool is None:
            self.pool = get_context("spawn").Pool(self.processes, one_thread)
        self.pool.starmap(work, tasks, chunksize=1)

    def close(self) -> None:
        """End the processes."""
        if self.pool is not None:
            self.pool.terminate()
            self.pool.join()


def small_file(path: str, out: str, side: int) -> None:
    """Resize one file with plain Pillow."""
    Path(out).write_bytes(compress(plain(Path(path).read_bytes(), side)))


def _wanted(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = side / min(size)
    return max(side, round(size[0] * scale)), max(side, round(size[1] * scale))
