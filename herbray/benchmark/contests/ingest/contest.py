"""The cases of the ingest benchmark: large sheets to small JPEGs, one by one in memory, and image files to shards."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
from pydantic import Field
from rich.console import Console

from herbray import schema
from herbray.benchmark.contests.ingest import peers
from herbray.benchmark.contests.ingest.data import draw_sheets
from herbray.benchmark.harness.race import Case, Contender
from herbray.benchmark.harness.spec import BenchmarkSpec, Promise, Target
from herbray.config import Spec
from herbray.data.imaging import images

_FAITHFUL_DB: Final = 46.0
_LARGE: Final = 8_000_000  # pixels; from this size the decoder's own reduction saves time
_OURS, _PLAIN, _DRAFT, _TORCH, _POOL = "herbray", "Pillow", "Pillow draft, tuned", "torchvision", "Pillow pool"


class Size(Spec):
    """Sheets of one size."""

    width: int = Field(ge=64, description="width in pixels")
    height: int = Field(ge=64, description="height in pixels")
    images: int = Field(ge=1, description="distinct sheets; each is processed once per lap")

    def __str__(self) -> str:
        """As in the name of a case."""
        return f"{self.width}×{self.height} px"


class Ingest(BenchmarkSpec):
    """Resizing JPEG originals of several sizes, against Pillow, Pillow's draft mode and torchvision."""

    name: Literal["ingest"] = "ingest"
    side: int = Field(256, ge=16, description="pixels of the short side after resizing")
    sizes: tuple[Size, ...] = Field(
        (
            Size(width=700, height=1000, images=24),
            Size(width=2400, height=3600, images=6),
            Size(width=4000, height=6000, images=3),
        ),
        description="sizes of the originals, one case each",
    )
    files: int = Field(96, ge=0, description="files of the first size for the case with shards; 0 leaves it out")
    grain: float = Field(3.0, ge=0, description="noise of the sheets, in grey levels; determines the bytes per pixel")
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="processes of each pool")

    def cases(self, work: Path) -> Iterator[Case]:
        """One case per size, then the case with files and shards."""
        for size in self.sizes:
            yield self._images(size, self._sheets(size, size.images, work))
        if self.files:
            yield self._shards(work)

    def targets(self) -> Sequence[Promise]:
        """Several times as fast as plain Pillow, and about as fast as its draft mode on large sheets."""
        promised: list[Promise] = []
        for size in self.sizes:
            large = size.width * size.height >= _LARGE
            promised.append(Target(str(size), _OURS, _PLAIN, "cpu_ms", 7.0 if large else 2.5))
            if large:
                promised.append(Target(str(size), _OURS, _DRAFT, "cpu_ms", 0.9))
        if self.files:
            promised.append(Target(self._files_case, _OURS, _POOL, "cpu_ms", 2.5))
        return promised

    @property
    def _files_case(self) -> str:
        return f"files of {self.sizes[0]} to shards"

    def _sheets(self, size: Size, number: int, work: Path) -> list[bytes]:
        return list(draw_sheets(work / f"drawn-{number}", size.width, size.height, number, self.grain, self.seed))

    def _images(self, size: Size, originals: list[bytes]) -> Case:
        import simplejpeg

        side = self.side
        ways: dict[str, Callable[[bytes], object]] = {
            _OURS: lambda data: images.shrink_to_jpeg(data, side, peers.QUALITY),
            _PLAIN: lambda data: peers.compress(peers.plain(data, side)),
            _DRAFT: lambda data: peers.compress(peers.draft(data, side)),
            _TORCH: lambda data: simplejpeg.encode_jpeg(
                peers.torchvision(data, side), quality=peers.QUALITY, colorsubsampling="420"
            ),
        }
        contenders = [Contender(name, _run_all(way, originals)) for name, way in ways.items()]
        return Case(str(size), "images", contenders, lambda: _check_likeness(size, originals, side))

    def _shards(self, work: Path) -> Case:
        from herbray.flow.shards.write_file import write_shard_file  # the task that writes one file, without Ray

        size, side = self.sizes[0], self.side
        folder, rounds = work / "files", count()
        folder.mkdir()
        paths = []
        for number, data in enumerate(self._sheets(size, min(self.files, 24), work)):
            for copy in range(number, self.files, 24):
                paths.append(str(folder / f"{copy:05d}.jpg"))
                Path(paths[-1]).write_bytes(data)
        ours, theirs = peers.Workers(self.workers), peers.Workers(self.workers)

        def shards() -> int:
            out = folder / f"shards-{next(rounds)}"
            tasks = [
                (str(out), f"part-{part}.parquet", rows, _bags(rows.num_rows), (side, peers.QUALITY), str(folder))
                for part, rows in enumerate(_parts(paths, self.workers))
            ]
            ours.map(write_shard_file, tasks)
            shutil.rmtree(out)
            return len(paths)

        def pool() -> int:
            out = folder / f"small-{next(rounds)}"
            out.mkdir()
            theirs.map(peers.small_file, [(path, str(out / Path(path).name), side) for path in paths])
            shutil.rmtree(out)
            return len(paths)

        contenders = [Contender(_OURS, shards, ours.close), Contender(_POOL, pool, theirs.close)]
        return Case(self._files_case, "images", contenders)


def _run_all(way: Callable[[bytes], object], originals: Sequence[bytes]) -> Callable[[], int]:
    def run() -> int:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # as in a worker with one CPU
            for data in originals:
                way(data)
        return len(originals)

    return run


def _check_likeness(size: Size, originals: Sequence[bytes], side: int) -> None:
    """Print how similar each contender's images are to plain Pillow's, and refuse to race if ours differ too much.

    Raises:
        ValueError: an image of ours is below 46 dB.
    """
    import numpy as np

    worst = {_OURS: float("inf"), _DRAFT: float("inf"), _TORCH: float("inf")}
    for data in originals:
        reference = np.asarray(peers.plain(data, side))
        found = {
            _OURS: images.shrink_to_pixels(data, side),
            _DRAFT: np.asarray(peers.draft(data, side)),
            _TORCH: peers.torchvision(data, side),
        }
        for name, pixels in found.items():
            worst[name] = min(worst[name], peers.psnr(pixels, reference))
    density = sum(map(len, originals)) / (len(originals) * size.width * size.height)
    lowest = ", ".join(f"{name} {value:.1f} dB" for name, value in worst.items())
    Console(stderr=True).print(
        f"  {density:.2f} bytes per pixel; lowest PSNR against Pillow: {lowest}", highlight=False
    )
    if worst[_OURS] < _FAITHFUL_DB:
        raise ValueError(
            f"{size}: an image of ours has a PSNR of {worst[_OURS]:.1f} dB against Pillow's; {_FAITHFUL_DB:g} needed"
        )


def _parts(paths: Sequence[str], parts: int) -> Iterator[pa.Table]:
    """The catalogue rows of each shard file."""
    for part in range(min(parts, len(paths))):
        mine = paths[part::parts]
        values: dict[str, list[object]] = {
            field.name: [None if field.nullable else ""] * len(mine) for field in schema.CATALOGUE
        }
        values |= {
            "image": list(mine),
            "specimen_id": [Path(path).stem for path in mine],
            "genus": ["Planta"] * len(mine),
        }
        yield pa.Table.from_pydict(values, schema=schema.CATALOGUE)


def _bags(rows: int, size: int = 32) -> list[tuple[str, int]]:
    return [("Planta", min(size, rows - first)) for first in range(0, rows, size)]
