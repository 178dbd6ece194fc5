"""The decoded cache: the shards' images as raw pixels in memory-mapped files, for large disks beside few cores."""

import os
import secrets
import shutil
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from herbray.data import plan
from herbray.flow.window import Draft, Pixels, WindowReader

MARGIN: Final = 10**9
"""Bytes that the cache leaves free on its disk: checkpoints go on being written."""


class CacheTooLarge(ValueError):
    """The decoded pixels need more room than is allowed, or than there is."""


class PixelCache:
    """Decoded images of some shard files: for each `NAME.u8`, all pixels, and `NAME.npy`, where each image begins.

    A file of the cache is whole once its `.npy` is there, which is written last, by rename. Any number of processes may
    fill one folder at once: what another has finished is not made again.

    Args:
        root: the shards folder.
        folder: of all caches; this one has its own below, named by the shards' fingerprint and side.
        fingerprint: of the shards.
        side: pixels of their short side.
    """

    def __init__(self, root: Path, folder: Path, fingerprint: str, side: int) -> None:
        """Open nothing yet."""
        self.root, self.folder, self.side = root, folder / f"{fingerprint}-{side}px", side
        self._open: dict[str, tuple[Pixels, npt.NDArray[np.int64]]] = {}

    def fill(self, files: Sequence[str], most: float, threads: int) -> None:
        """Decode what is missing.

        Args:
            files: of the shards, as the index names them; workers of one machine give them in different orders.
            most: bytes that the files may take together.
            threads: that decode, each one file.

        Raises:
            CacheTooLarge: they need more than `most`, or more than the disk has.
            ValueError: a shard is damaged.
        """
        missing = [file for file in files if not self._index(file).exists()]
        if not missing:
            return
        sizes = {file: _bytes(self.root / file) for file in files}
        self._room(sum(sizes.values()), sum(sizes[file] for file in missing), most)
        with ThreadPoolExecutor(threads, "cache") as pool:
            for made in [pool.submit(self._make, file) for file in missing]:
                made.result()

    def drafts(self, windows: Sequence[plan.Window], reader: WindowReader) -> Generator[Draft, None, None]:
        """The batches of `windows`, to be filled from the cache."""
        for window in windows:
            pictures = [picture for part in window.slices for picture in self._bag(part)]
            yield from reader.drafts(window, pictures, crop)

    def _bag(self, part: plan.Slice) -> list[Pixels]:
        """Pixels [height, width, 3] of a bag's images, where they lie in the file."""
        if part.file not in self._open:
            self._open[part.file] = (np.memmap(self._data(part.file), np.uint8, "r"), np.load(self._index(part.file)))
        data, index = self._open[part.file]
        places = index[index[:, 0] == part.row_group]
        if len(places) != part.rows:
            raise ValueError(
                f"{self._data(part.file)}: row group {part.row_group} holds {len(places)} images, the index says "
                f"{part.rows}; remove {self.folder}, it is made again"
            )
        return [data[at : at + h * w * 3].reshape(h, w, 3) for _, at, h, w in places.tolist()]

    def _data(self, file: str) -> Path:
        return self.folder / f"{file}.u8"

    def _index(self, file: str) -> Path:
        return self.folder / f"{file}.npy"

    def _room(self, whole: int, missing: int, most: float) -> None:
        if whole > most:
            raise CacheTooLarge(
                f"{self.folder}: the decoded pixels need {whole / 1e9:.1f} GB, loader.cache_gb allows {most / 1e9:g}: "
                "raise it, or leave loader.cache out and decode every time"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free - MARGIN
        if missing > free:
            raise CacheTooLarge(
                f"{self.folder}: the decoded pixels need {missing / 1e9:.1f} GB more, the disk has "
                f"{max(0, free) / 1e9:.1f} GB to spare: choose a folder on a larger disk, or leave loader.cache out"
            )

    def _make(self, file: str) -> None:
        if self._index(file).exists():  # another worker was quicker
            return
        self._data(file).parent.mkdir(parents=True, exist_ok=True)
        data, index = (
            path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp") for path in (self._data(file), self._index(file))
        )  # two nodes may have processes of one number
        places: list[tuple[int, int, int, int]] = []
        with data.open("xb") as sink:
            shard = pq.ParquetFile(self.root / file, memory_map=True)
            for group in range(shard.num_row_groups):
                for jpeg in shard.read_row_group(group, columns=["jpeg"], use_threads=False)["jpeg"]:
                    pixels = simplejpeg.decode_jpeg(jpeg.as_py(), colorspace="RGB", fastdct=True, fastupsample=True)
                    places.append((group, sink.tell(), pixels.shape[0], pixels.shape[1]))
                    sink.write(pixels)
            _settle(sink)
        with index.open("wb") as sink:
            np.save(sink, np.array(places, np.int64).reshape(-1, 4))
            _settle(sink)
        data.replace(self._data(file))
        index.replace(self._index(file))


def crop(pictures: Sequence[Any], side: int, offsets: npt.NDArray[np.float64] | None, out: Pixels) -> None:
    """Paint with pixels: the square of the short side that `images.squares` would cut."""
    for row, picture in enumerate(pictures):
        spare_y, spare_x = picture.shape[0] - side, picture.shape[1] - side
        where = 0.5 if offsets is None else float(offsets[row])
        top, left = round(spare_y * where), round(spare_x * where)
        out[row] = picture[top : top + side, left : left + side]


def _settle(sink: BinaryIO) -> None:
    sink.flush()
    os.fsync(sink.fileno())


def _bytes(shard: Path) -> int:
    """What the images of a shard take decoded; no image is read for it."""
    sizes: pa.Table = pq.ParquetFile(shard).read(columns=["width", "height"])
    return int((sizes["width"].to_numpy().astype(np.int64) * sizes["height"].to_numpy() * 3).sum())
