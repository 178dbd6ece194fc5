"""The sheets that need a name: of the embeddings, of a catalogue, and photographs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from herbray import schema
from herbray.data import catalogue
from herbray.flow.embedding_folder import check_shards, read_note
from herbray.flow.queries.encoder import find_encoder
from herbray.flow.queries.photographs import EmbeddedImages, ImageEmbedder, list_photographs
from herbray.tasks import Embeddings
from herbray.tasks.naming.suggestions import Unnamed


@dataclass(frozen=True, eq=False)
class Gathered:
    """The sheets that need a name, and the account of all that was looked at.

    Attributes:
        unnamed: the sheets.
        images: [u] path or URI; None if it is not known.
        refused: images that cannot be read, rows in `schema.QUARANTINE`.
        skipped: sheets that have a name at the rank, and files that are no image.
        input: all sheets and files that were looked at.
    """

    unnamed: Unnamed
    images: Sequence[str | None]
    refused: Sequence[dict[str, Any]]
    skipped: int
    input: int


@dataclass(frozen=True)
class Sources:
    """Where the sheets lie.

    Attributes:
        embeddings: folder of one encoder.
        shards: that were embedded.
        catalogue: folder, or None.
        images: files and folders of photographs.
        model: see `find_encoder`.
        store: see `find_encoder`.
    """

    embeddings: Path
    shards: Path
    catalogue: Path | None
    images: tuple[Path, ...]
    model: str | None
    store: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Of the shards."""
        return check_shards(self.shards, read_note(self.embeddings))

    @cached_property
    def embedder(self) -> ImageEmbedder:
        """Embeds images as the sheets were embedded."""
        return ImageEmbedder(find_encoder(self.embeddings, self.model, self.store), self.manifest)


def gather_unnamed(sources: Sources, embeddings: Embeddings, rank: str) -> Gathered:
    """Gather the sheets without a name at a rank: those that are embedded already, then those of catalogue and folders.

    Raises:
        ValueError: there is none; or a path does not exist, or encoder, shards and embeddings do not belong together.
    """
    parts = [_take_embedded(embeddings, rank)]
    if sources.catalogue is not None:
        parts.append(_take_catalogue(sources, sources.catalogue, embeddings, rank))
    if sources.images:
        parts.append(_take_photographs(sources))
    unnamed = [part.unnamed for part in parts]
    gathered = Gathered(
        Unnamed(
            np.concatenate([part.ids for part in unnamed]),
            np.concatenate([part.features for part in unnamed]),
            {name: np.concatenate([part.filed[name] for part in unnamed]) for name in schema.RANKS},
        ),
        [image for part in parts for image in part.images],
        [row for part in parts for row in part.refused],
        sum(part.skipped for part in parts),
        sum(part.input for part in parts),
    )
    if not len(gathered.unnamed.ids):
        raise ValueError(_explain_none(sources, rank, gathered.refused))
    return gathered


def _take_embedded(embeddings: Embeddings, rank: str) -> Gathered:
    rows = np.flatnonzero(embeddings.rank(rank) == None)  # noqa: E711  (element by element)
    filed = {name: embeddings.rank(name)[rows] for name in schema.RANKS}
    ids = np.array(list(embeddings.specimen_id[rows]), dtype=object)
    skipped = len(embeddings) - len(rows)
    return Gathered(Unnamed(ids, embeddings.features[rows], filed), [None] * len(rows), [], skipped, len(embeddings))


def _take_catalogue(sources: Sources, folder: Path, embeddings: Embeddings, rank: str) -> Gathered:
    """The sheets of a catalogue that are not embedded; boxes are painted over if they are in the shards."""
    table = catalogue.read(folder)
    new = table.filter(pc.invert(pc.is_in(table["specimen_id"], value_set=embeddings.specimen_id.column)))
    rows = new.filter(pc.is_null(new[rank]))
    found = EmbeddedImages([], embeddings.features[:0], [], [])
    if len(rows):
        masked = sources.manifest.get("mask", "none") == "boxes" and schema.MASK_BOXES in rows.column_names
        columns = ["specimen_id", "image", *([schema.MASK_BOXES] if masked else [])]
        found = sources.embedder.embed(rows.select(columns).to_pylist(), "identify")
    kept = rows.filter(pc.is_in(rows["specimen_id"], value_set=pa.array(found.ids, pa.string())))
    filed = {name: np.array(kept[name].to_pylist(), dtype=object) for name in schema.RANKS}
    unnamed = Unnamed(np.array(found.ids, dtype=object), found.features, filed)
    return Gathered(unnamed, kept["image"].to_pylist(), found.refused, len(new) - len(rows), len(new))


def _take_photographs(sources: Sources) -> Gathered:
    listed = list_photographs(sources.images)
    found = sources.embedder.embed(listed.rows, "identify")
    nameless = {name: np.full(len(found.ids), None, dtype=object) for name in schema.RANKS}
    unnamed = Unnamed(np.array(found.ids, dtype=object), found.features, nameless)
    return Gathered(unnamed, found.ids, found.refused, listed.skipped, len(listed.rows) + listed.skipped)


def _explain_none(sources: Sources, rank: str, refused: Sequence[dict[str, Any]]) -> str:
    if refused:
        first = refused[0]
        return f"no image can be read: {len(refused):,} were refused, such as {first['image']}: {first['detail']}"
    where = f" and of {sources.catalogue}" if sources.catalogue is not None else ""
    way_out = "" if sources.catalogue is not None else ", set catalogue to the folder with sheets that no split uses,"
    return (
        f"every sheet of {sources.embeddings}{where} has a name at rank {rank}: name photographs (images=FOLDER)"
        f"{way_out} or choose a narrower rank"
    )
