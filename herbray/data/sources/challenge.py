"""The COCO-like metadata of the Herbarium challenges (FGVC7 to FGVC9), streamed and joined into specimens.

The formats are described at https://github.com/visipedia/herbarium_comp; the editions differ in a few names.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from herbray import storage
from herbray.data.sources.base import BATCH_ROWS, GuardedFolder, Refuse, make_batch
from herbray.data.sources.challenge_elements import SECTIONS, TABLES, Edition, Row, read_image_id
from herbray.data.sources.json_stream import stream_elements
from herbray.schema import RANKS


def find_metadata(path: Path, edition: Edition) -> Path:
    """The file of metadata in the folder of a dataset, or the file itself.

    Raises:
        ValueError: there is none.
    """
    for found in (path, *(path / name for name in edition.files)):
        if storage.is_file(found):
            return found
    raise ValueError(f"{path}: contains neither {' nor '.join(edition.files)}; unpack the dataset there")


def find_images(path: Path, edition: Edition) -> Path:
    """The folder to which file names are relative: absolute, with links resolved."""
    folder = find_metadata(path, edition).parent
    folder = next((folder / name for name in edition.folders if storage.is_folder(folder / name)), folder)
    return folder if storage.is_remote(folder) else folder.resolve()


def read_challenge(path: Path, edition: Edition, refuse: Refuse) -> Iterator[pa.RecordBatch]:
    """Stream the metadata, with sections in any order, and join them.

    Images without an annotation, such as those of the challenge's test part, are undetermined specimens; an image whose
    only annotation is malformed is refused. A second annotation of an image gives a second row with the same
    `specimen_id`, which the catalogue quarantines.

    Refused: elements without a required key ("malformed"), annotations of unknown images ("no_image") or categories
    ("no_category"), file names that leave the folder ("outside"), repeated image ids ("duplicate").

    Args:
        path: folder of the dataset, or file of metadata.
        edition: of the challenge.
        refuse: receives bad rows.

    Raises:
        ValueError: there is no metadata, it is malformed, or it lists no images.
    """
    metadata = find_metadata(path, edition)
    tables = _read_sections(metadata, edition, refuse)
    images, annotations = tables["images"], tables["annotations"]
    if not len(images):
        raise ValueError(f"{metadata}: lists no `images`; is this the metadata of a COCO-like dataset?")
    images = _refuse_repeated_images(images, edition, refuse)
    found = pc.index_in(annotations["image"], value_set=images["id"])
    named = pa.concat_arrays([part["image"].combine_chunks() for part in (annotations, tables["broken"])])
    is_undetermined = pc.invert(pc.is_in(images["id"], value_set=named))
    writer = _RowWriter(edition, GuardedFolder(find_images(path, edition)), tables["licenses"], refuse)
    for start in range(0, len(annotations), BATCH_ROWS):
        part = annotations.slice(start, BATCH_ROWS).append_column("place", found.slice(start, BATCH_ROWS))
        part = _refuse_dangling(part, tables["categories"], edition, refuse)
        yield writer.make(images.take(part["place"]), _join_determinations(part, tables))
    undetermined = images.filter(is_undetermined)
    for start in range(0, len(undetermined), BATCH_ROWS):
        yield writer.make(undetermined.slice(start, BATCH_ROWS), {})


def _read_sections(path: Path, edition: Edition, refuse: Refuse) -> dict[str, pa.Table]:
    """Read the sections into tables, which are much smaller than the parsed JSON."""
    gatherers = {name: _TableBuilder(fields) for name, fields in TABLES.items()}
    for section, item in stream_elements(path):
        if section not in SECTIONS:
            continue
        table, extract = SECTIONS[section]
        try:
            gatherers[table].add(extract(item, edition))
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            if table not in ("images", "annotations"):
                continue  # annotations that refer to the broken element are refused later
            image = read_image_id(item, edition) if table == "annotations" else None
            if image is not None:  # the image is refused, so it must not also count as undetermined
                gatherers["broken"].add((image,))
            identity = None if image is None else f"{edition.prefix}{image}"
            refuse(identity, None, "malformed", f"{section}: {type(error).__name__} {error} in {item!r:.200}")
    return {name: gatherer.table() for name, gatherer in gatherers.items()}


def _refuse_repeated_images(images: pa.Table, edition: Edition, refuse: Refuse) -> pa.Table:
    """Keep the first image of each id and refuse repeated ids, since annotations refer to images by id."""
    first = pc.index_in(images["id"], value_set=images["id"])
    is_repeated = pc.not_equal(first, pa.array(range(len(images)), pa.int32()))
    for row in images.filter(is_repeated).to_pylist():
        refuse(f"{edition.prefix}{row['id']}", row["file"], "duplicate", "an earlier entry of `images` has this id")
    return images.filter(pc.invert(is_repeated))


class _TableBuilder:
    """Collects rows into Arrow chunks, so that few Python objects exist at a time."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows: list[Row] = []
        self.batches: list[pa.RecordBatch] = []

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if len(self.rows) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.schema)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self.schema, strict=True)]
        self.batches.append(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
        self.rows = []

    def table(self) -> pa.Table:
        self.flush()
        return pa.Table.from_batches(self.batches).combine_chunks()


def _refuse_dangling(annotations: pa.Table, categories: pa.Table, edition: Edition, refuse: Refuse) -> pa.Table:
    """Keep annotations whose image (row number in `place`) and category exist; add the category's row number."""
    kind = pc.index_in(annotations["category"], value_set=categories["id"])
    annotations = annotations.append_column("kind", kind)
    for reason, row_column, column in (("no_image", "place", "image"), ("no_category", "kind", "category")):
        for row in annotations.filter(pc.is_null(annotations[row_column])).to_pylist():
            detail = f"an annotation names {column} {row[column]}, which the metadata does not list"
            refuse(f"{edition.prefix}{row['image']}", None, reason, detail)
        annotations = annotations.filter(pc.is_valid(annotations[row_column]))
    return annotations


def _join_determinations(annotations: pa.Table, tables: dict[str, pa.Table]) -> dict[str, pa.Array]:
    """Return the columns that annotations add to their images: the four ranks and the institution."""
    kinds = tables["categories"].take(annotations["kind"])
    return {rank: kinds[rank] for rank in RANKS} | {
        "institution": _look_up(annotations["institution"], tables["institutions"])
    }


def _look_up(keys: pa.ChunkedArray, table: pa.Table) -> pa.Array:
    """Look up the name of each key; null if the table lacks it."""
    return table["name"].take(pc.index_in(keys, value_set=table["id"]))


@dataclass(frozen=True)
class _RowWriter:
    """Makes the catalogue rows of images."""

    edition: Edition
    root: GuardedFolder
    licenses: pa.Table
    refuse: Refuse

    def make(self, images: pa.Table, known: dict[str, pa.ChunkedArray]) -> pa.RecordBatch:
        """Make rows; refuse images whose file lies outside the folder."""
        identities = [f"{self.edition.prefix}{number}" for number in images["id"].to_pylist()]
        names = images["file"].to_pylist()
        found = [self.root.locate(name) for name in names]
        for identity, name, image in zip(identities, names, found, strict=True):
            if image is None:
                detail = f"file_name must stay inside {self.root.folder}, also through links"
                self.refuse(identity, name, "outside", detail)
        if self.edition.institution is not None:
            known = known | {"institution": pa.repeat(self.edition.institution, len(images))}
        table = pa.table(
            {"specimen_id": identities, "image": pa.array(found, pa.string()), **known}
            | {"license": _look_up(images["license"], self.licenses)}
        ).filter(pa.array([image is not None for image in found], pa.bool_()))
        return make_batch({name: table[name].combine_chunks() for name in table.column_names})
