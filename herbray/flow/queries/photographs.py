"""Photographs: the images in files and folders, and their embeddings."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BeforeValidator

from herbray.data.imaging.formats import DEFAULT_FORMATS
from herbray.data.imaging.images import JpegImage
from herbray.data.sources.image_finder import IMAGE_ENDINGS
from herbray.flow.embedding.embedder import Embedder
from herbray.flow.shards.write_file import Row, ShrinkSettings, shrink_or_refuse

_AT_ONCE: Final = 512  # images in memory
_OLD_QUALITY: Final = 90  # of shards whose manifest does not say it


Files = Annotated[tuple[Path, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str | Path) else given)]
"""A setting: one path or a list."""


@dataclass(frozen=True)
class Listed:
    """Images to embed, as rows with `specimen_id` and `image`, and the number of other files in the folders."""

    rows: Sequence[Row]
    skipped: int


def list_photographs(paths: Sequence[Path]) -> Listed:
    """List image files; their ids are their paths. Folders are searched through, other files in them are skipped.

    Raises:
        ValueError: a path does not exist, or there is no image.
    """
    files: dict[str, None] = {}
    skipped = 0
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file())
            images = [file for file in inside if file.suffix.lower() in IMAGE_ENDINGS]
            skipped += len(inside) - len(images)
            files |= dict.fromkeys(map(str, images))
        elif path.is_file():
            files[str(path)] = None
        else:
            raise ValueError(f"{path}: no such file or folder; a specimen of the embeddings is named in `specimens`")
    if paths and not files:
        raise ValueError(f"{', '.join(map(str, paths[:3]))}: no image here, only {skipped:,} other files")
    return Listed([{"specimen_id": name, "image": name} for name in files], skipped)


@dataclass(frozen=True, eq=False)
class EmbeddedImages:
    """The images that could be read, and those that could not.

    Attributes:
        ids: [m].
        features: Float32 [m, d].
        pictures: [m] JPEGs; empty if they were not asked for.
        refused: rows in `schema.QUARANTINE`.
    """

    ids: list[str]
    features: npt.NDArray[np.float32]
    pictures: list[bytes]
    refused: list[Row]


class ImageEmbedder:
    """Embeds original images as `herbray shard` and `herbray embed` do.

    Args:
        encoder: folder of the encoder.
        manifest: of the shards from which the embeddings were made.
    """

    def __init__(self, encoder: Path, manifest: Mapping[str, Any]) -> None:
        """Read the encoder."""
        size, geometry = (manifest["side"], manifest.get("quality", _OLD_QUALITY)), manifest.get("geometry", "crop")
        self._shrink: ShrinkSettings = size if geometry == "crop" else (*size, geometry)
        self._threads = torch.get_num_threads()
        self._embedder = Embedder(encoder, manifest["side"], self._threads)

    def embed(self, rows: Sequence[Row], stage: str, keep_pictures: bool = False) -> EmbeddedImages:
        """Embed images.

        Args:
            rows: `specimen_id`, `image` and, if boxes are painted over, `mask_boxes`.
            stage: the verb, for the rows of refused images.
            keep_pictures: whether the reduced images are returned.
        """
        ids: list[str] = []
        pictures: list[bytes] = []
        refused: list[Row] = []
        parts = [np.empty((0, self._embedder.dim), np.float32)]
        for start in range(0, len(rows), _AT_ONCE):
            jpegs = []
            for row, found in self._reduce(rows[start : start + _AT_ONCE]):
                if isinstance(found, JpegImage):
                    ids.append(row["specimen_id"])
                    jpegs.append(found.jpeg)
                else:
                    refused.append(found | {"stage": stage})
            parts.append(self._embedder.features(jpegs))
            pictures += jpegs if keep_pictures else []
        return EmbeddedImages(ids, np.concatenate(parts), pictures, refused)

    def _reduce(self, rows: Sequence[Row]) -> Iterator[tuple[Row, JpegImage | Row]]:
        with ThreadPoolExecutor(self._threads) as pool:
            yield from zip(
                rows, pool.map(lambda row: shrink_or_refuse(row, self._shrink, DEFAULT_FORMATS), rows), strict=True
            )
