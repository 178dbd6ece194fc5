"""The Herbarium 2021 Half-Earth challenge, or any dataset with the same COCO-like `metadata.json`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from herbray import storage
from herbray.data.names.parse import parse_name
from herbray.data.sources.base import BATCH_ROWS, Account, GuardedFolder, Refuse, SourceSpec, make_batch
from herbray.data.sources.json_stream import stream_elements
from herbray.schema import RANKS

_Row: TypeAlias = tuple[int | str | None, ...]

ID_PREFIX: Final = "half-earth-2021/"
"""Prefix of specimen ids, followed by the number of the image."""

CITATION: Final = (
    "de Lutio R., Lorieul T., Reade W. (2021) Herbarium 2021 - Half-Earth Challenge - FGVC8. Kaggle, "
    "https://kaggle.com/competitions/herbarium-2021-fgvc8. Images: New York Botanical Garden, Bishop Museum, "
    "Naturalis Biodiversity Center, Queensland Herbarium, Auckland War Memorial Museum. "
    "Terms: non-commercial research and education only; the images may not be distributed."
)

INSTITUTION_CODES: Final = {
    "New York Botanical Garden": "NY",
    "Bishop Museum": "BPBM",
    "Naturalis Biodiversity Center": "NL",
    "Queensland Herbarium": "BRI",
    "Auckland War Memorial Museum": "AK",
}
"""The challenge's codes of its institutions, for files that have full names; other names are not changed."""


class HalfEarth(SourceSpec):
    """A folder of images with `metadata.json`: annotations, categories, images, institutions or regions, licenses.

    The genus is read from a category's name. Images without an annotation, such as the challenge's test
    part, are undetermined specimens; an image whose only annotation is malformed is refused. A second annotation of an
    image gives a second row with the same `specimen_id`, which the catalogue quarantines.

    Attributes:
        path: the folder with `metadata.json`, the dataset's folder that contains `train/`, or the file `metadata.json`.
    """

    name: Literal["half_earth"] = "half_earth"
    citation: str = CITATION
    path: Path

    @property
    def root(self) -> Path:
        """The folder of `metadata.json`."""
        folder = self._metadata().parent
        return folder if storage.is_remote(folder) else folder.resolve()

    def read(self, refuse: Refuse, account: Account | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the metadata, with sections in any order, and join them; see `SourceSpec.read`.

        Refused: elements without a required key ("malformed"), annotations of unknown images ("no_image") or
        categories ("no_category"), file names that leave the folder ("outside"), repeated image ids ("duplicate").

        Raises:
            ValueError: there is no `metadata.json`, it is malformed, or it lists no images.
        """
        path = self._metadata()
        tables = _read_sections(path, refuse)
        images, annotations = tables["images"], tables["annotations"]
        if not len(images):
            raise ValueError(f"{path}: lists no `images`; is this the metadata of a COCO-like dataset?")
        images = _refuse_repeated_images(images, refuse)
        found = pc.index_in(annotations["image"], value_set=images["id"])
        named = pa.concat_arrays([part["image"].combine_chunks() for part in (annotations, tables["broken"])])
        is_undetermined = pc.invert(pc.is_in(images["id"], value_set=named))
        root = GuardedFolder(path.parent)
        for start in range(0, len(annotations), BATCH_ROWS):
            part = annotations.slice(start, BATCH_ROWS).append_column("place", found.slice(start, BATCH_ROWS))
            part = _refuse_dangling(part, tables["categories"], refuse)
            yield _make_rows(
                images.take(part["place"]), _join_determinations(part, tables), tables["licenses"], root, refuse
            )
        undetermined = images.filter(is_undetermined)
        for start in range(0, len(undetermined), BATCH_ROWS):
            yield _make_rows(undetermined.slice(start, BATCH_ROWS), {}, tables["licenses"], root, refuse)

    def _metadata(self) -> Path:
        for path in (self.path, self.path / "metadata.json", self.path / "train" / "metadata.json"):
            if storage.is_file(path):
                return path
        raise ValueError(
            f"{self.path}: contains neither metadata.json nor train/metadata.json; unpack the dataset there"
        )


def _read_sections(path: Path, refuse: Refuse) -> dict[str, pa.Table]:
    """Read the sections into tables, which are much smaller than the parsed JSON."""
    gatherers = {name: _TableBuilder(fields) for name, fields in _TABLES.items()}
    for section, item in stream_elements(path):
        if section not in _SECTIONS:
            continue
        table, extract = _SECTIONS[section]
        try:
            gatherers[table].add(extract(item))
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            if table not in ("images", "annotations"):
                continue  # annotations that refer to the broken element are refused later
            image = _parse_image_id(item) if table == "annotations" else None
            if image is not None:  # the image is refused, so it must not also count as undetermined
                gatherers["broken"].add((image,))
            identity = None if image is None else f"{ID_PREFIX}{image}"
            refuse(identity, None, "malformed", f"{section}: {type(error).__name__} {error} in {item!r:.200}")
    return {name: gatherer.table() for name, gatherer in gatherers.items()}


def _refuse_repeated_images(images: pa.Table, refuse: Refuse) -> pa.Table:
    """Keep the first image of each id and refuse repeated ids, since annotations refer to images by id."""
    first = pc.index_in(images["id"], value_set=images["id"])
    is_repeated = pc.not_equal(first, pa.array(range(len(images)), pa.int32()))
    for row in images.filter(is_repeated).to_pylist():
        refuse(f"{ID_PREFIX}{row['id']}", row["file"], "duplicate", "an earlier entry of `images` has this id")
    return images.filter(pc.invert(is_repeated))


class _TableBuilder:
    """Collects rows into Arrow chunks, so that few Python objects exist at a time."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows: list[_Row] = []
        self.batches: list[pa.RecordBatch] = []

    def add(self, row: _Row) -> None:
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


def _refuse_dangling(annotations: pa.Table, categories: pa.Table, refuse: Refuse) -> pa.Table:
    """Keep annotations whose image (row number in `place`) and category exist; add the category's row number."""
    kind = pc.index_in(annotations["category"], value_set=categories["id"])
    annotations = annotations.append_column("kind", kind)
    for reason, row_column, column in (("no_image", "place", "image"), ("no_category", "kind", "category")):
        for row in annotations.filter(pc.is_null(annotations[row_column])).to_pylist():
            detail = f"an annotation names {column} {row[column]}, which the metadata does not list"
            refuse(f"{ID_PREFIX}{row['image']}", None, reason, detail)
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


def _make_rows(
    images: pa.Table, known: dict[str, pa.ChunkedArray], licenses: pa.Table, root: GuardedFolder, refuse: Refuse
) -> pa.RecordBatch:
    """Make the catalogue rows of some images; refuse images whose file lies outside the folder."""
    identities = [f"{ID_PREFIX}{number}" for number in images["id"].to_pylist()]
    names = images["file"].to_pylist()
    found = [root.locate(name) for name in names]
    for identity, name, image in zip(identities, names, found, strict=True):
        if image is None:
            refuse(identity, name, "outside", f"file_name must stay inside {root.folder}, also through links")
    table = pa.table(
        {"specimen_id": identities, "image": pa.array(found, pa.string()), **known}
        | {"license": _look_up(images["license"], licenses)}
    ).filter(pa.array([image is not None for image in found], pa.bool_()))
    return make_batch({name: table[name].combine_chunks() for name in table.column_names})


def _parse_image(item: dict[str, Any]) -> _Row:
    return _parse_id(item["id"]), _parse_text(item["file_name"]), _parse_optional_id(item, "license")


def _parse_annotation(item: dict[str, Any]) -> _Row:
    institution = "institution_id" if "institution_id" in item else "region_id"
    return _parse_id(item["image_id"]), _parse_id(item["category_id"]), _parse_optional_id(item, institution)


def _parse_image_id(item: object) -> int | None:
    """Parse the image id of an otherwise malformed annotation; None if the id is malformed too."""
    try:
        return _parse_id(item["image_id"])  # type: ignore[index]  # a TypeError if the item is not a mapping
    except (TypeError, KeyError, ValueError):
        return None


def _parse_category(item: dict[str, Any]) -> _Row:
    name = _parse_text(item["name"]).strip()
    order, family = (_parse_text(item.get(rank) or "") for rank in ("order", "family"))
    return _parse_id(item["id"]), order, family, parse_name(name).genus, name


def _parse_institution(item: dict[str, Any]) -> _Row:
    name = _parse_text(item["name"]).strip()
    return _parse_id(item["id"]), INSTITUTION_CODES.get(name, name)


def _parse_license(item: dict[str, Any]) -> _Row:
    return _parse_id(item["id"]), _parse_text(item.get("name") or item["url"])


def _parse_id(value: object) -> int:
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise TypeError("an id must be a whole number of at most 64 bits")
    return value


def _parse_optional_id(item: dict[str, Any], key: str) -> int | None:
    return None if item.get(key) is None else _parse_id(item[key])


def _parse_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a name must be a string")
    if not value.isascii():
        value.encode()  # refuses unpaired surrogates, which JSON can contain, by UnicodeEncodeError, a ValueError
    return value


_ID_AND_NAME: Final = pa.schema({"id": pa.int64(), "name": pa.string()})
_TABLES: Final = {
    "images": pa.schema({"id": pa.int64(), "file": pa.string(), "license": pa.int64()}),
    "annotations": pa.schema({"image": pa.int64(), "category": pa.int64(), "institution": pa.int64()}),
    "broken": pa.schema({"image": pa.int64()}),  # images of malformed annotations
    "categories": pa.schema({"id": pa.int64()} | dict.fromkeys(RANKS, pa.string())),
    "institutions": _ID_AND_NAME,
    "licenses": _ID_AND_NAME,
}

_SECTIONS: Final[dict[str, tuple[str, Callable[[dict[str, Any]], _Row]]]] = {
    "images": ("images", _parse_image),
    "annotations": ("annotations", _parse_annotation),
    "categories": ("categories", _parse_category),
    "institutions": ("institutions", _parse_institution),
    "regions": ("institutions", _parse_institution),  # the name in earlier files of the challenge
    "licenses": ("licenses", _parse_license),
}
"""Section of the file → the table that it fills, and the function that parses an element into a row."""
