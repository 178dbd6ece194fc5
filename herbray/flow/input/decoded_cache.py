"""The decoded cache: the shards' images as raw pixels in memory-mapped files, for large disks and few cores."""

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
from herbray.data.planning.window import Slice, Window
from herbray.flow.input.window_reader import Draft, Pixels, WindowReader
from herbray.flow.shards.manifest import describe_remedy
from herbray.storage import DamagedFile, MissingFile, replace_file

MARGIN: Final = 10**9
"""Bytes that the cache leaves free on its disk, for checkpoints."""

_INDEX: Final = pa.schema([(name, pa.int64()) for name in ("row_group", "start", "height", "width", "crc32")])


class CacheTooLarge(ValueError):
    """The decoded cache would be larger than its limit, or than the free space on the disk."""


class DecodedCache:
    """Decoded images of shard files: per file, `NAME.u8` holds all pixels and `NAME.index` the position of each image.

    The index is written last, so a file that has one is complete. Several processes may fill one folder at the same
    time; a file that another process has finished is not decoded again. The index holds a checksum of each image, which
    is compared when a process first uses the image.

    Args:
        root: the shards folder.
        folder: of all decoded caches; this one is the subfolder named by fingerprint and side.
        fingerprint: of the shards.
        side: pixels of the shards' short side.
    """

    def __init__(self, root: Path, folder: Path, fingerprint: str, side: int) -> None:
        """Open no file yet."""
        self.root, self.folder, self.side = root, folder / f"{fingerprint}-{side}px", side
        self._open: dict[str, tuple[Pixels, pa.Table]] = {}
        self._verified: set[tuple[str, int]] = set()

    def fill(self, files: Sequence[str], max_bytes: float, threads: int) -> None:
        """Decode the files that the cache lacks.

        Args:
            files: of the shards, as the index names them; each worker of a machine starts at a different one.
            max_bytes: limit for all files together.
            threads: that decode, one file each.

        Raises:
            CacheTooLarge: the files need more than `max_bytes`, or more than the free space on the disk.
            ValueError: a shard is damaged.
        """
        missing = [file for file in files if not self._index(file).exists()]
        if not missing:
            return
        sizes = {file: _decoded_bytes(self.root / file) for file in files}
        self._check_space(sum(sizes.values()), sum(sizes[file] for file in missing), max_bytes)
        with ThreadPoolExecutor(threads, "cache") as pool:
            for decoding in [pool.submit(self._decode_file, file) for file in missing]:
                decoding.result()

    def drafts(self, windows: Sequence[Window], reader: WindowReader) -> Generator[Draft, None, None]:
        """Drafts of the batches of `windows`, filled from the cache."""
        for window in windows:
            pictures = [picture for part in window.slices for picture in self._read_bag(part)]
            yield from reader.drafts(window, pictures, paint_pixels)

    def _read_bag(self, part: Slice) -> list[Pixels]:
        """Pixels [height, width, 3] of a bag's images, as views of the memory-mapped file."""
        if part.file not in self._open:
            index = tables.read(self._index(part.file), self._remedy(part.file), _INDEX)
            self._open[part.file] = (self._map_file(part.file), index)
        data, index = self._open[part.file]
        places = index.filter(pc.equal(index["row_group"], part.row_group)).to_pylist()
        if len(places) != part.rows:
            damage = f"row group {part.row_group} holds {len(places)} images, the shards' index says {part.rows}"
            raise DamagedFile(self._data(part.file), damage, self._remedy(part.file))
        found = [data[p["start"] : p["start"] + p["height"] * p["width"] * 3] for p in places]
        if (part.file, part.row_group) not in self._verified:
            if any(zlib.crc32(pixels.data) != p["crc32"] for pixels, p in zip(found, places, strict=True)):
                damage = f"damaged, pixels of row group {part.row_group} were changed after they were written"
                raise DamagedFile(self._data(part.file), damage, self._remedy(part.file))
            self._verified.add((part.file, part.row_group))
        return [pixels.reshape(p["height"], p["width"], 3) for pixels, p in zip(found, places, strict=True)]

    def _map_file(self, file: str) -> Pixels:
        try:
            return np.memmap(self._data(file), np.uint8, "r")
        except (FileNotFoundError, ValueError):  # ValueError: the file is empty
            raise MissingFile(self._data(file), self._remedy(file)) from None

    def _remedy(self, file: str) -> str:
        return f"remove {self._index(file)} and run the same command again: it decodes this file again"

    def _data(self, file: str) -> Path:
        return self.folder / f"{file}.u8"

    def _index(self, file: str) -> Path:
        return self.folder / f"{file}.index"

    def _check_space(self, total: int, missing: int, max_bytes: float) -> None:
        if total > max_bytes:
            raise CacheTooLarge(
                f"{self.folder}: the decoded cache needs {total / 1e9:.1f} GB, "
                f"loader.cache_gb allows {max_bytes / 1e9:g}: raise loader.cache_gb, "
                "or leave loader.cache out to train without the cache"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free - MARGIN
        if missing > free:
            raise CacheTooLarge(
                f"{self.folder}: the decoded cache needs another {missing / 1e9:.1f} GB, the disk has "
                f"{max(0, free) / 1e9:.1f} GB to spare: choose a folder on a larger disk, or leave loader.cache out"
            )

    def _decode_file(self, file: str) -> None:
        if self._index(file).exists():  # another worker has decoded it in the meantime
            return
        places: list[dict[str, int]] = []
        with replace_file(self._data(file)) as temporary, temporary.open("xb") as sink:
            shard = tables.TableFile(self.root / file, describe_remedy(self.root), memory_map=True)
            for group in range(shard.groups):
                for jpeg in shard.read_group(group, ["jpeg"])["jpeg"]:
                    pixels = simplejpeg.decode_jpeg(jpeg.as_py(), colorspace="RGB", fastdct=True, fastupsample=True)
                    size = {"height": pixels.shape[0], "width": pixels.shape[1]}
                    places.append({"row_group": group, "start": sink.tell(), **size, "crc32": zlib.crc32(pixels)})
                    sink.write(pixels)
        tables.write(self._index(file), pa.Table.from_pylist(places, schema=_INDEX))


def paint_pixels(pictures: Sequence[Any], side: int, offsets: npt.NDArray[np.float64], out: Pixels) -> None:
    """A `Paint` for pixels: cuts the same square, as wide as the short side, as `images.decode_squares`."""
    for row, picture in enumerate(pictures):
        spare_y, spare_x = picture.shape[0] - side, picture.shape[1] - side
        offset = float(offsets[row])
        top, left = round(spare_y * offset), round(spare_x * offset)
        out[row] = picture[top : top + side, left : left + side]


def _decoded_bytes(shard: Path) -> int:
    """Size of a shard file's images when decoded, in bytes; no image is read."""
    sizes = tables.read(shard, describe_remedy(shard.parents[1]), columns=["width", "height"])
    return int((sizes["width"].to_numpy().astype(np.int64) * sizes["height"].to_numpy() * 3).sum())
