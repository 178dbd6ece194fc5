"""The decoded cache: the shards' images as raw pixels in memory-mapped files, for large disks beside few cores."""

import shutil
import zlib
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import simplejpeg

from herbray import tables
from herbray.data import plan
from herbray.flow.input.window_reader import Draft, Pixels, WindowReader
from herbray.flow.shards.manifest import remedy
from herbray.storage import DamagedFile, MissingFile, replace_file

MARGIN: Final = 10**9
"""Bytes that the cache leaves free on its disk: checkpoints go on being written."""


_INDEX: Final = pa.schema([(name, pa.int64()) for name in ("row_group", "start", "height", "width", "crc32")])


class CacheTooLarge(ValueError):
    """The decoded pixels need more room than is allowed, or than there is."""


class DecodedCache:
    """Decoded images of some shard files: for each `NAME.u8`, all pixels, and `NAME.index`, where each image begins.

    A file of the cache is whole once its index is there, which is written last. Any number of processes may fill one
    folder at once: what another has finished is not made again. The index holds a checksum of each image, which is
    compared when a process first uses the image.

    Args:
        root: the shards folder.
        folder: of all caches; this one has its own below, named by the shards' fingerprint and side.
        fingerprint: of the shards.
        side: pixels of their short side.
    """

    def __init__(self, root: Path, folder: Path, fingerprint: str, side: int) -> None:
        """Open nothing yet."""
        self.root, self.folder, self.side = root, folder / f"{fingerprint}-{side}px", side
        self._open: dict[str, tuple[Pixels, pa.Table]] = {}
        self._verified: set[tuple[str, int]] = set()

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
        sizes = {file: _decoded_bytes(self.root / file) for file in files}
        self._room(sum(sizes.values()), sum(sizes[file] for file in missing), most)
        with ThreadPoolExecutor(threads, "cache") as pool:
            for made in [pool.submit(self._make, file) for file in missing]:
                made.result()

    def drafts(self, windows: Sequence[plan.Window], reader: WindowReader) -> Generator[Draft, None, None]:
        """The batches of `windows`, to be filled from the cache."""
        for window in windows:
            pictures = [picture for part in window.slices for picture in self._bag(part)]
            yield from reader.drafts(window, pictures, paint_pixels)

    def _bag(self, part: plan.Slice) -> list[Pixels]:
        """Pixels [height, width, 3] of a bag's images, where they lie in the file."""
        if part.file not in self._open:
            index = tables.read(self._index(part.file), self._remedy(part.file), _INDEX)
            self._open[part.file] = (self._mapped(part.file), index)
        data, index = self._open[part.file]
        places = index.filter(pc.equal(index["row_group"], part.row_group)).to_pylist()
        if len(places) != part.rows:
            damage = f"row group {part.row_group} holds {len(places)} images, the shards' index says {part.rows}"
            raise DamagedFile(self._data(part.file), damage, self._remedy(part.file))
        found = [data[p["start"] : p["start"] + p["height"] * p["width"] * 3] for p in places]
        if (part.file, part.row_group) not in self._verified:
            if any(zlib.crc32(pixels.data) != p["crc32"] for pixels, p in zip(found, places, strict=True)):
                damage = f"damaged, pixels of row group {part.row_group} were changed since they were written"
                raise DamagedFile(self._data(part.file), damage, self._remedy(part.file))
            self._verified.add((part.file, part.row_group))
        return [pixels.reshape(p["height"], p["width"], 3) for pixels, p in zip(found, places, strict=True)]

    def _mapped(self, file: str) -> Pixels:
        try:
            return np.memmap(self._data(file), np.uint8, "r")
        except (FileNotFoundError, ValueError):  # numpy refuses an empty file
            raise MissingFile(self._data(file), self._remedy(file)) from None

    def _remedy(self, file: str) -> str:
        return f"remove {self._index(file)} and run the same command again: it decodes this file anew"

    def _data(self, file: str) -> Path:
        return self.folder / f"{file}.u8"

    def _index(self, file: str) -> Path:
        return self.folder / f"{file}.index"

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
        places: list[dict[str, int]] = []
        with replace_file(self._data(file)) as temporary, temporary.open("xb") as sink:
            shard = tables.TableFile(self.root / file, remedy(self.root), memory_map=True)
            for group in range(shard.groups):
                for jpeg in shard.read_group(group, ["jpeg"])["jpeg"]:
                    pixels = simplejpeg.decode_jpeg(jpeg.as_py(), colorspace="RGB", fastdct=True, fastupsample=True)
                    size = {"height": pixels.shape[0], "width": pixels.shape[1]}
                    places.append({"row_group": group, "start": sink.tell(), **size, "crc32": zlib.crc32(pixels)})
                    sink.write(pixels)
        tables.write(self._index(file), pa.Table.from_pylist(places, schema=_INDEX))


def paint_pixels(pictures: Sequence[Any], side: int, offsets: npt.NDArray[np.float64], out: Pixels) -> None:
    """Paint with pixels: the square of the short side that `images.squares` would cut."""
    for row, picture in enumerate(pictures):
        spare_y, spare_x = picture.shape[0] - side, picture.shape[1] - side
        where = float(offsets[row])
        top, left = round(spare_y * where), round(spare_x * where)
        out[row] = picture[top : top + side, left : left + side]


def _decoded_bytes(shard: Path) -> int:
    """What the images of a shard take decoded; no image is read for it."""
    sizes = tables.read(shard, remedy(shard.parents[1]), columns=["width", "height"])
    return int((sizes["width"].to_numpy().astype(np.int64) * sizes["height"].to_numpy() * 3).sum())
