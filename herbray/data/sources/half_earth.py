"""The Herbarium 2021 Half-Earth challenge, or any dataset with its COCO-like `metadata.json`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.sources.base import BATCH_ROWS, Refuse, Root, SourceSpec, batch, genus_of
from herbray.data.sources.json_stream import elements
from herbray.schema import RANKS

_Row: TypeAlias = tuple[int | str | None, ...]

PREFIX: Final = "half-earth-2021/"
"""Set before an image's number: the specimen's id."""

CITATION: Final = (
    "de Lutio R., Lorieul T., Reade W. (2021) Herbarium 2021 - Half-Earth Challenge - FGVC8. Kaggle, "
    "https://kaggle.com/competitions/herbarium-2021-fgvc8. Images: New York Botanical Garden, Bishop Museum, "
    "Naturalis Biodiversity Center, Queensland Herbarium, Auckland War Memorial Museum. "
    "Terms: non-commercial research and education only; the images may not be distributed."
)

CODES: Final = {
    "New York Botanical Garden": "NY",
    "Bishop Museum": "BPBM",
    "Naturalis Biodiversity Center": "NL",
    "Queensland Herbarium": "BRI",
    "Auckland War Memorial Museum": "AK",
}
"""The challenge's own codes of its institutions, for files that spell them out; other names stay as they are."""


class HalfEarth(SourceSpec):
    """A folder of images with `metadata.json`: annotations, categories, images, institutions or regions, licenses.

    The genus is the first word of a category's name. An image without an annotation, such as those of the challenge's
    test part, is an undetermined specimen; one whose only annotation is malformed is refused with it. A second
    annotation of an image gives a second row of the same `specimen_id`, which the catalogue quarantines.

    Attributes:
        path: the folder that holds `metadata.json`, the dataset's folder above `train/`, or the file itself.
    """

    name: Literal["half_earth"] = "half_earth"
    citation: str = CITATION
    path: Path

    @property
    def root(self) -> Path:
        """The folder of `metadata.json`, however `path` names it."""
        return self._metadata().parent.resolve()

    def read(self, refuse: Refuse) -> Iterator[pa.RecordBatch]:
        """Stream the metadata, its sections in any order, then join them; see `SourceSpec.read`.

        Refused: elements without the needed keys ("malformed"), annotations of unknown images ("no_image") or
        categories ("no_category"), file names that leave the folder ("outside"), later images of an id ("duplicate").

        Raises:
            ValueError: there is no `metadata.json`, it is broken, or it lists no image.
        """
        path = self._metadata()
        tables = _collect(path, refuse)
        images, annotations = tables["images"], tables["annotations"]
        if not len(images):
            raise ValueError(f"{path}: no `images` listed; is this the metadata of a COCO-like dataset?")
        images = _once(images, refuse)
        found = pc.index_in(annotations["image"], value_set=images["id"])
        named = pa.concat_arrays([part["image"].combine_chunks() for part in (annotations, tables["broken"])])
        alone = pc.invert(pc.is_in(images["id"], value_set=named))
        root = Root(path.parent)
        for start in range(0, len(annotations), BATCH_ROWS):
            part = annotations.slice(start, BATCH_ROWS).append_column("place", found.slice(start, BATCH_ROWS))
            part = _whole(part, tables["categories"], refuse)
            yield _rows(images.take(part["place"]), _determined(part, tables), tables["licenses"], root, refuse)
        undetermined = images.filter(alone)
        for start in range(0, len(undetermined), BATCH_ROWS):
            yield _rows(undetermined.slice(start, BATCH_ROWS), {}, tables["licenses"], root, refuse)

    def _metadata(self) -> Path:
        for path in (self.path, self.path / "metadata.json", self.path / "train" / "metadata.json"):
            if path.is_file():
                return path
        raise ValueError(f"{self.path}: holds neither metadata.json nor train/metadata.json; unpack the dataset there")


def _collect(path: Path, refuse: Refuse) -> dict[str, pa.Table]:
    """The sections as tables: far smaller than the parsed JSON, and ready to be joined."""
    gatherers = {name: _Gatherer(fields) for name, fields in _TABLES.items()}
    for section, item in elements(path):
        if section not in _SECTIONS:
            continue
        table, extract = _SECTIONS[section]
        try:
            gatherers[table].add(extract(item))
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            if table not in ("images", "annotations"):
                continue  # a broken name shows in the annotations that lack it
            image = _image_of(item) if table == "annotations" else None
            if image is not None:  # the image is accounted for: it is not undetermined as well
                gatherers["broken"].add((image,))
            identity = None if image is None else f"{PREFIX}{image}"
            refuse(identity, None, "malformed", f"{section}: {type(error).__name__} {error} in {item!r:.200}")
    return {name: gatherer.table() for name, gatherer in gatherers.items()}


def _once(images: pa.Table, refuse: Refuse) -> pa.Table:
    """The first image of each id: annotations name images by it, so a later one could not be told from the first."""
    first = pc.index_in(images["id"], value_set=images["id"])
    again = pc.not_equal(first, pa.array(range(len(images)), pa.int32()))
    for row in images.filter(again).to_pylist():
        refuse(f"{PREFIX}{row['id']}", row["file"], "duplicate", "an earlier entry of `images` has this id")
    return images.filter(pc.invert(again))


class _Gatherer:
    """Collects rows into Arrow chunks, so that few Python objects live at a time."""

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


def _whole(annotations: pa.Table, categories: pa.Table, refuse: Refuse) -> pa.Table:
    """The annotations whose image (in column `place`) and category exist, with the category's place added."""
    kind = pc.index_in(annotations["category"], value_set=categories["id"])
    annotations = annotations.append_column("kind", kind)
    for reason, lacking, column in (("no_image", "place", "image"), ("no_category", "kind", "category")):
        for row in annotations.filter(pc.is_null(annotations[lacking])).to_pylist():
            detail = f"an annotation names {column} {row[column]}, which the metadata does not list"
            refuse(f"{PREFIX}{row['image']}", None, reason, detail)
        annotations = annotations.filter(pc.is_valid(annotations[lacking]))
    return annotations


def _determined(annotations: pa.Table, tables: dict[str, pa.Table]) -> dict[str, pa.Array]:
    """What the annotations add to their images: the four ranks and the institution."""
    kinds = tables["categories"].take(annotations["kind"])
    return {rank: kinds[rank] for rank in RANKS} | {
        "institution": _look_up(annotations["institution"], tables["institutions"])
    }


def _look_up(keys: pa.ChunkedArray, table: pa.Table) -> pa.Array:
    """The name of each key; null where the table lacks it."""
    return table["name"].take(pc.index_in(keys, value_set=table["id"]))


def _rows(
    images: pa.Table, known: dict[str, pa.ChunkedArray], licenses: pa.Table, root: Root, refuse: Refuse
) -> pa.RecordBatch:
    """The catalogue's rows of some images, less those whose file lies outside the folder."""
    identities = [f"{PREFIX}{number}" for number in images["id"].to_pylist()]
    names = images["file"].to_pylist()
    found = [root.locate(name) for name in names]
    for identity, name, image in zip(identities, names, found, strict=True):
        if image is None:
            refuse(identity, name, "outside", f"file_name must stay inside {root.folder}, also through links")
    table = pa.table(
        {"specimen_id": identities, "image": pa.array(found, pa.string()), **known}
        | {"license": _look_up(images["license"], licenses)}
    ).filter(pa.array([image is not None for image in found], pa.bool_()))
    return batch({name: table[name].combine_chunks() for name in table.column_names})


def _image(item: dict[str, Any]) -> _Row:
    return _number(item["id"]), _text(item["file_name"]), _optional(item, "license")


def _annotation(item: dict[str, Any]) -> _Row:
    institution = "institution_id" if "institution_id" in item else "region_id"
    return _number(item["image_id"]), _number(item["category_id"]), _optional(item, institution)


def _image_of(item: object) -> int | None:
    """The image of an annotation of which nothing else may hold; None where that cannot be read either."""
    try:
        return _number(item["image_id"])  # type: ignore[index]  # then it is no mapping: a TypeError
    except (TypeError, KeyError, ValueError):
        return None


def _category(item: dict[str, Any]) -> _Row:
    name = _text(item["name"]).strip()
    order, family = (_text(item.get(rank) or "") for rank in ("order", "family"))
    return _number(item["id"]), order, family, genus_of(name), name


def _institution(item: dict[str, Any]) -> _Row:
    name = _text(item["name"]).strip()
    return _number(item["id"]), CODES.get(name, name)


def _license(item: dict[str, Any]) -> _Row:
    return _number(item["id"]), _text(item.get("name") or item["url"])


def _number(value: object) -> int:
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise TypeError("an id must be a whole number of at most 64 bits")
    return value


def _optional(item: dict[str, Any], key: str) -> int | None:
    return None if item.get(key) is None else _number(item[key])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a name must be a string")
    if not value.isascii():
        value.encode()  # JSON can spell half of a surrogate pair, which is no text: UnicodeEncodeError, a ValueError
    return value


_NAMED: Final = pa.schema({"id": pa.int64(), "name": pa.string()})
_TABLES: Final = {
    "images": pa.schema({"id": pa.int64(), "file": pa.string(), "license": pa.int64()}),
    "annotations": pa.schema({"image": pa.int64(), "category": pa.int64(), "institution": pa.int64()}),
    "broken": pa.schema({"image": pa.int64()}),  # images of malformed annotations
    "categories": pa.schema({"id": pa.int64()} | dict.fromkeys(RANKS, pa.string())),
    "institutions": _NAMED,
    "licenses": _NAMED,
}

_SECTIONS: Final[dict[str, tuple[str, Callable[[dict[str, Any]], _Row]]]] = {
    "images": ("images", _image),
    "annotations": ("annotations", _annotation),
    "categories": ("categories", _category),
    "institutions": ("institutions", _institution),
    "regions": ("institutions", _institution),  # the spelling of the challenge's earlier files
    "licenses": ("licenses", _license),
}
"""Section of the file → the table it fills, and one element → that table's row."""
