"""The sheets of an embeddings folder, ready to be searched for the most similar ones; exact."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from herbray import schema
from herbray.config import parse
from herbray.flow.embedding_folder import check_shards, load_embeddings, read_note, read_sheets
from herbray.flow.evaluation.suspects import single_folder
from herbray.flow.queries.encoder import find_encoder
from herbray.flow.queries.photographs import EmbeddedImages, ImageEmbedder, list_photographs
from herbray.flow.search.conditions import Conditions
from herbray.neighbours.index import NearestTo, VectorIndex

_NEAR_IDS: Final = 3  # proposed for an id that is not there
_CHARACTERS: Final = 80  # of an id in an error message
_COMPARED: Final = 20_000  # ids that are compared with an unknown one


@dataclass(frozen=True, eq=False)
class Found:
    """The most similar sheets of some queries.

    Attributes:
        queries: [m] ids of the queries.
        near: rows of the index, for each query.
    """

    queries: Sequence[str]
    near: NearestTo


class SheetIndex:
    """The sheets of one encoder's embeddings; see `load_index`.

    Attributes:
        sheets: the columns of `schema.SPECIMEN` and `split`, ascending by `specimen_id`.
    """

    def __init__(self, embeddings: Path, shards: Path, model: str | None, store: Path) -> None:
        """Read the embeddings."""
        self._folder = single_folder(embeddings)
        self._shards, self._model, self._store = shards, model, store
        self.note = read_note(self._folder)
        self.sheets: pa.Table = read_sheets(self._folder).sort_by("specimen_id")
        self._vectors = load_embeddings(self._folder).features  # rows ascend by specimen_id
        self.index = VectorIndex(np.asarray(self._vectors))

    def __len__(self) -> int:
        """Number of sheets."""
        return len(self.index)

    @cached_property
    def embedder(self) -> ImageEmbedder:
        """Embeds images as the sheets were embedded."""
        manifest = check_shards(self._shards, self.note)
        return ImageEmbedder(find_encoder(self._folder, self._model, self._store), manifest)

    def search(
        self,
        images: str | Path | Sequence[str | Path] = (),
        k: int = 10,
        *,
        specimens: Sequence[str] = (),
        where: dict[str, Any] | None = None,
    ) -> pa.Table:
        """Find the most similar sheets of images and of specimens.

        Args:
            images: files, or folders of files.
            k: number of sheets to find for each.
            specimens: ids of specimens of the index; a specimen does not find itself.
            where: conditions on the found sheets, by column: `{"family": "Rosaceae", "institution": ["NY", "K"]}`.

        Returns:
            A table in `schema.SIMILAR`; fewer than k rows for a query if fewer sheets meet the conditions.

        Raises:
            ValueError: an image cannot be read, a specimen is not there, no sheet meets the conditions, the encoder of
                the embeddings is not on this machine, or `model` is another one.
        """
        paths = [images] if isinstance(images, str | Path) else images
        allowed = parse(Conditions, where or {}, "where").select(self.sheets)
        rows = self.find_specimens(specimens)
        embedded = self.embed_images([Path(path) for path in paths])
        if embedded.refused:
            raise ValueError("; ".join(f"{row['image']}: {row['detail']}" for row in embedded.refused[:3]))
        parts = [self.find_near(embedded.ids, embedded.features, k, allowed), self.find_like(rows, k, allowed)]
        return pa.concat_tables([self.describe(part) for part in parts])

    def embed_images(self, paths: Sequence[Path], stage: str = "search") -> EmbeddedImages:
        """Embed the images in files and folders, with their pictures.

        Raises:
            ValueError: a path does not exist, or the encoder is not that of the embeddings.
        """
        if not paths:
            return EmbeddedImages([], np.empty((0, self.index.dim), np.float32), [], [])
        return self.embedder.embed(list_photographs(paths).rows, stage, keep_pictures=True)

    def find_specimens(self, ids: Sequence[str]) -> npt.NDArray[np.intp]:
        """Rows of some specimens.

        Raises:
            ValueError: a specimen is not there; the message proposes similar ids.
        """
        known = self.sheets["specimen_id"]
        rows = pc.index_in(pa.array(ids, pa.string()), value_set=known.combine_chunks())
        for name, row in zip(ids, rows.to_pylist(), strict=True):
            if row is None:
                raise ValueError(
                    f"specimen {name[:_CHARACTERS]!r} is not in {self._folder}; {_propose_ids(name, known)}"
                )
        places: npt.NDArray[np.intp] = rows.to_numpy(zero_copy_only=False).astype(np.intp)
        return places

    def find_near(
        self, ids: Sequence[str], vectors: npt.NDArray[np.float32], k: int, allowed: npt.NDArray[np.bool_] | None
    ) -> Found:
        """The sheets nearest to some vectors [m, d]; `allowed` [n] or [m, n] says which may be found."""
        return Found(ids, self.index.search(vectors, k, allowed))

    def find_like(self, rows: npt.NDArray[np.intp], k: int, allowed: npt.NDArray[np.bool_] | None) -> Found:
        """The sheets nearest to some sheets of the index, without each sheet itself."""
        near = self.index.search(np.asarray(self._vectors[rows]), k + 1, allowed)
        own = (near.rows == rows[:, None]) & near.valid
        last = ~own.any(axis=1)
        own[last, -1:] = True  # it is not among the found: drop the farthest instead
        shape = (len(rows), max(0, own.shape[1] - 1))
        kept = [each[~own].reshape(shape) for each in (near.rows, near.cosine, near.valid)]
        return Found(self.sheets["specimen_id"].take(rows).to_pylist(), NearestTo(*kept))

    def describe(self, found: Found) -> pa.Table:
        """A table in `schema.SIMILAR`."""
        query, place = np.nonzero(found.near.valid)
        rows = self.sheets.take(found.near.rows[query, place])
        columns = {
            "query": pa.array([found.queries[number] for number in query.tolist()], pa.string()),
            "place": pa.array(place + 1, pa.int32()),
            "distance": pa.array(np.round(np.maximum(1 - found.near.cosine[query, place], 0.0), 6)),
        }
        return pa.table(
            {name: columns[name] if name in columns else rows[name] for name in schema.SIMILAR.names},
            schema=schema.SIMILAR,
        )


def load_index(
    embeddings: str | Path, shards: str | Path = "runs/shards", model: str | None = None, store: str | Path = "runs"
) -> SheetIndex:
    """Load the embeddings of one encoder for `SheetIndex.search`.

    Args:
        embeddings: embeddings folder of one encoder, or a folder that contains only one.
        shards: folder of the shards that were embedded: it says how images are reduced. Only needed for images.
        model: the encoder; None: where the embeddings say. Another encoder than theirs is refused.
        store: holds mlflow.db, unless MLFLOW_TRACKING_URI is set.

    Raises:
        ValueError: there are no embeddings, or those of several encoders.
    """
    return SheetIndex(Path(embeddings), Path(shards), model, Path(store))


def _propose_ids(name: str, known: pa.ChunkedArray) -> str:
    """The ids that hold a text that is not an id, else those with similar letters."""
    folded = name.strip().lower()
    holds = pc.match_substring(pc.utf8_lower(known), folded[:_CHARACTERS] or "\0")
    near = known.filter(holds).slice(0, _NEAR_IDS).to_pylist()
    if not near:
        some = known.take(np.arange(0, len(known), max(1, len(known) // _COMPARED))).to_pylist()
        near = difflib.get_close_matches(name[:_CHARACTERS], some, _NEAR_IDS, 0.5)
    shown = ", ".join(repr(each[:_CHARACTERS]) for each in near or known.slice(0, _NEAR_IDS).to_pylist())
    return f"did you mean {shown}?" if near else f"ids look like {shown}"
