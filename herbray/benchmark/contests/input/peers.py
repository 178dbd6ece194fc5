"""The data loaders that herbray is compared with, each with the best settings that a user would choose."""

import importlib.util
import io
import tarfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from herbray.benchmark.harness.race import Contender, Missing
from herbray.data.imaging import images
from herbray.data.planning.window import Window
from herbray.flow.input.window_reader import WindowReader

Loop = Callable[[], Iterator[Any]]
"""Yields the batches of one epoch."""

Change = Callable[[Tensor], Tensor]

USUAL: Final = "DataLoader, files, Pillow + float"
PARQUET: Final = "DataLoader, Parquet row groups, same decoder"
PARQUET_AUGMENTED: Final = f"{PARQUET}, our augmentation"
SAMPLES_A_TAR: Final = 512


def _unchanged(images: Tensor) -> Tensor:
    return images


@dataclass(frozen=True)
class Work:
    """The work that every peer does.

    Attributes:
        folder: folder for files in the peer's own format.
        files: JPEG files, one per row.
        jpegs: the bytes of these files.
        batch: rows per batch.
        side: height and width in pixels.
        workers: number of processes.
        epochs: epochs per lap.
        seed: seed of the shuffle.
    """

    folder: Path
    files: Sequence[str]
    jpegs: Sequence[bytes]
    batch: int
    side: int
    workers: int
    epochs: int
    seed: int

    @property
    def order(self) -> "torch.Generator":
        """The random generator of a shuffle."""
        return torch.Generator().manual_seed(self.seed)


def peers(work: Work, reader: WindowReader, windows: Sequence[Window]) -> Iterator[Contender | Missing]:
    """All peers, or `Missing` for those that are not available."""
    few = replace(work, files=work.files[: len(work.files) // 4], epochs=1)  # this peer is slow; a quarter is enough
    yield usual(few, USUAL, augmented=False)
    yield row_groups(work, reader, windows)
    for name, package, make in (
        ("WebDataset", "webdataset", tars),
        ("LitData", "litdata", litdata),
        ("Lance", "lance", lance),
    ):
        if importlib.util.find_spec(package):
            yield make(work)
        else:
            yield Missing(name, "not installed; `pip install 'herbray[benchmark]'` brings it")
    yield Missing("FFCV", "unmaintained since 2023; no wheel, it builds where OpenCV's and libjpeg-turbo's headers are")


def contender(name: str, loader: "DataLoader[Any]", work: Work, change: Change = _unchanged) -> Contender:
    """A contender that reads `epochs` epochs per lap and applies `change` to each batch; workers are kept running."""

    def run() -> int:
        return sum(len(change(batch[0])) for _ in range(work.epochs) for batch in loader)

    def close() -> None:
        stop = getattr(loader._iterator, "_shutdown_workers", None)
        if stop is not None:
            stop()

    return Contender(name, run, close)


def loader(data: Any, work: Work, **more: Any) -> "DataLoader[Any]":  # noqa: ANN401
    """A DataLoader with persistent workers, forked from a server so that they inherit no threads of this process."""
    return DataLoader(
        data, num_workers=work.workers, persistent_workers=True, multiprocessing_context="forkserver", **more
    )


class Files(Dataset[tuple[Tensor, int]]):
    """The usual idiom: Pillow and torchvision's transforms, float."""

    def __init__(self, files: Sequence[str], side: int, augmented: bool) -> None:
        """Images are cropped to a normalised square; with `augmented`, by the usual random crop and flip."""
        self.files, self.side, self.augmented = files, side, augmented

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """One image, float [3, side, side]."""
        from PIL import Image
        from torchvision import transforms as t

        cut = t.RandomResizedCrop(self.side, (0.5, 1.0)) if self.augmented else t.RandomCrop(self.side)
        flip = [t.RandomHorizontalFlip()] if self.augmented else []
        change = t.Compose([cut, *flip, t.ToTensor(), t.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
        with Image.open(self.files[row]) as image:
            return change(image.convert("RGB")), row


def usual(work: Work, name: str, augmented: bool) -> Contender:
    """A contender: DataLoader over files."""
    data = Files(work.files, work.side, augmented)
    return contender(
        name, loader(data, work, batch_size=work.batch, shuffle=True, drop_last=True, generator=work.order), work
    )


class Windows(IterableDataset[tuple[Tensor, Tensor]]):
    """Batches of our windows, read and decoded by our reader in DataLoader's processes."""

    def __init__(self, reader: WindowReader, windows: Sequence[Window]) -> None:
        """Worker i of n reads every n-th window, from the i-th."""
        self.reader, self.windows = reader, windows

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches, uint8 [n, side, side, 3]."""
        here = get_worker_info()
        for window in self.windows[here.id :: here.num_workers] if here else self.windows:
            for batch in self.reader.batches(window):
                yield torch.from_numpy(batch.images), torch.from_numpy(batch.labels)


def row_groups(
    work: Work, reader: WindowReader, windows: Sequence[Window], name: str = PARQUET, change: Change = _unchanged
) -> Contender:
    """A contender: DataLoader over the row groups of Parquet files."""
    return contender(name, loader(Windows(reader, windows), work, batch_size=None), work, change)


@dataclass(frozen=True)
class Squares:
    """Our decoder as a collate function, from pairs (JPEG, row) to a batch."""

    side: int

    def __call__(self, rows: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """UInt8 [n, side, side, 3] and row numbers."""
        pixels = images.decode_squares([row[0] for row in rows], self.side)
        return torch.from_numpy(pixels), torch.tensor([int(row[1]) for row in rows])


def tars(work: Work) -> Contender:
    """A contender: WebDataset with tar shards, a shuffle buffer, and batches made in the workers."""
    import webdataset as wds

    folder = work.folder / "tars"
    folder.mkdir(parents=True)
    for first in range(0, len(work.jpegs), SAMPLES_A_TAR):
        with tarfile.open(folder / f"{first // SAMPLES_A_TAR:05d}.tar", "w") as tar:
            for row in range(first, min(first + SAMPLES_A_TAR, len(work.jpegs))):
                for end, data in (("jpg", work.jpegs[row]), ("cls", str(row).encode())):
                    about = tarfile.TarInfo(f"{row:07d}.{end}")
                    about.size = len(data)
                    tar.addfile(about, io.BytesIO(data))
    urls = sorted(str(path) for path in folder.glob("*.tar"))
    data = wds.WebDataset(urls, shardshuffle=len(urls), seed=work.seed, empty_check=False)
    data = data.shuffle(500).to_tuple("jpg", "cls").batched(work.batch, collation_fn=Squares(work.side), partial=False)
    return contender("WebDataset", loader(data, work, batch_size=None), work)


def litdata(work: Work) -> Contender:
    """A contender: LitData with chunks of 64 MB of JPEG bytes, decoded in the workers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from litdata import StreamingDataLoader, StreamingDataset
        from litdata.streaming.cache import Cache

        folder = work.folder / "litdata"
        cache = Cache(str(folder), chunk_bytes=64 * 2**20)
        for row, jpeg in enumerate(work.jpegs):
            cache[row] = (jpeg, row)
        cache.done()
        cache.merge()
        data = StreamingDataset(str(folder), shuffle=True, drop_last=True, seed=work.seed)
        batches = StreamingDataLoader(
            data,
            batch_size=work.batch,
            num_workers=work.workers,
            persistent_workers=True,
            multiprocessing_context="forkserver",
            collate_fn=Squares(work.side),
            drop_last=True,
        )
    return contender("LitData", batches, work)


class LanceRows(Dataset[tuple[Tensor, Tensor]]):
    """A dataset over a Lance file that reads the rows of a batch in one call."""

    def __init__(self, path: str, rows: int, side: int) -> None:
        """The file is opened in the worker, on first use."""
        self.path, self.rows, self.squares = path, rows, Squares(side)
        self.table: Any = None

    def __len__(self) -> int:
        """The number of rows."""
        return self.rows

    def __getitem__(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Read and decode a batch."""
        import lance

        self.table = self.table or lance.dataset(self.path)
        jpegs = self.table.take(list(rows), columns=["jpeg"])["jpeg"].to_pylist()
        return self.squares(list(zip(jpegs, rows, strict=True)))


def lance(work: Work) -> Contender:
    """A contender: Lance with a batch sampler and `take`."""
    import lance
    import pyarrow as pa
    from torch.utils.data import BatchSampler, RandomSampler

    path = str(work.folder / "rows.lance")
    lance.write_dataset(pa.table({"jpeg": pa.array(work.jpegs, pa.large_binary())}), path)
    data = LanceRows(path, len(work.jpegs), work.side)
    sampler = BatchSampler(RandomSampler(data, generator=work.order), work.batch, drop_last=True)
    return contender("Lance", loader(data, work, batch_size=None, sampler=sampler), work)
