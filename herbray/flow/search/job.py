"""The search job: the most similar sheets of images or specimens, as a table and as a page with pictures."""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from herbray import __version__, schema, storage, tables
from herbray.config import Spec
from herbray.data.imaging import images
from herbray.flow.embedding_folder import check_shards
from herbray.flow.queries.photographs import EmbeddedImages, Files, list_photographs
from herbray.flow.search.conditions import Conditions, Values
from herbray.flow.search.index import SheetIndex
from herbray.flow.shards.specimens import find_specimens, read_jpegs
from herbray.review.search_page import Query, write_search_page
from herbray.settings.root import PathOr
from herbray.spreadsheet import write_csv

_SIDE: Final = 224  # pixels of the short side of a picture on the page
_QUALITY: Final = 82
_AT_ONCE: Final = 256  # JPEGs in memory


class Search(Spec):
    """The job that looks up images. Reads embeddings, shards and an encoder; writes a page and a table."""

    images: Files = Field((), description="image files, and folders of them")
    specimens: Values = Field((), description="ids of embedded specimens; they need no encoder")
    k: int = Field(10, ge=1, le=1000, description="number of similar sheets to find for each")
    where: Conditions = Conditions()
    embeddings: Path = Field(Path("runs/embeddings"), description="embeddings folder of one encoder")
    shards: Path = Field(Path("runs/shards"), description="folder of the shards that were embedded, for the pictures")
    model: Annotated[str | None, PathOr(frozenset())] = Field(
        None, description="the encoder of the embeddings: models:/NAME/VERSION or a folder; None: where they say"
    )
    out: Path = Field(
        Path("runs/search"), description="folder that receives `index.html`, `similar.csv` and `.parquet`"
    )
    title: str = Field("Similar sheets", description="heading of the page")
    shown: int = Field(100, ge=1, description="most queries on the page; the table has all")
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")


def search(spec: Search) -> str:
    """Look up the images and specimens, write table and page, and return a summary.

    Raises:
        ValueError: there is nothing to look up, no image can be read, a specimen is not in the embeddings, no sheet
            meets the conditions, or encoder, shards and embeddings do not belong together.
    """
    if not spec.images and not spec.specimens:
        raise ValueError(
            "nothing to look up: name an image or a folder (images=PHOTO.jpg), or specimens (specimens=[ID])"
        )
    listed = list_photographs(spec.images)
    index = SheetIndex(spec.embeddings, spec.shards, spec.model, spec.store)
    check_shards(spec.shards, index.note)
    allowed = spec.where.select(index.sheets)
    specimens = tuple(dict.fromkeys(spec.specimens))
    rows = index.find_specimens(specimens)
    started = time.monotonic()
    embedded = index.embed_images(spec.images)
    if embedded.refused and not embedded.ids and not len(rows):
        raise ValueError(_describe_refused(embedded))
    found = [
        index.describe(index.find_near(embedded.ids, embedded.features, spec.k, allowed)),
        index.describe(index.find_like(rows, spec.k, allowed)),
    ]
    seconds = time.monotonic() - started
    table = pa.concat_tables(found)
    _write_tables(spec, index, table, embedded)
    names = [*embedded.ids, *specimens]
    _write_page(spec, index, table, names, dict(zip(embedded.ids, embedded.pictures, strict=True)))
    counts = {"input": len(listed.rows) + listed.skipped + len(rows), "ok": len(names)}
    counts |= {"quarantined": len(embedded.refused), "skipped": listed.skipped}
    if counts["input"] != counts["ok"] + counts["quarantined"] + counts["skipped"]:
        raise RuntimeError(f"{spec.out}: counts do not add up: {counts}; this is a bug in herbray, please report it")
    lines = [_describe_refused(embedded)] if embedded.refused else []
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    lines.append(f"{told}; {len(table):,} similar sheets among {len(index):,}, in {seconds:.1f} s")
    return "\n".join([*lines, f"open {spec.out / 'index.html'} in a browser; {spec.out / 'similar.csv'} has all rows"])


def _describe_refused(embedded: EmbeddedImages) -> str:
    first = embedded.refused[0]
    return f"{len(embedded.refused):,} images cannot be read, such as {first['image']}: {first['detail']}"


def _write_tables(spec: Search, index: SheetIndex, table: pa.Table, embedded: EmbeddedImages) -> None:
    storage.make_folder(spec.out)
    note = {name: index.note.get(name) for name in ("encoder", "shards")}
    tables.write(spec.out / "similar.parquet", table, note)
    tables.write(spec.out / "quarantine.parquet", pa.Table.from_pylist(embedded.refused, schema=schema.QUARANTINE))
    write_csv(table, spec.out / "similar.csv")


def _write_page(
    spec: Search, index: SheetIndex, table: pa.Table, names: Sequence[str], own: Mapping[str, bytes]
) -> None:
    shown = list(dict.fromkeys(names))[: spec.shown]
    rows = table.filter(pc.is_in(table["query"], value_set=pa.array(shown, pa.string()))).to_pylist()
    by_query: dict[str, list[dict[str, object]]] = {name: [] for name in shown}
    for row in rows:
        by_query[row["query"]].append(row)
    wanted = {row["specimen_id"] for row in rows} | (set(shown) - own.keys())
    pictures = read_thumbnails(spec.shards, wanted)
    queries = [
        Query(Path(name).name, _reduce(own[name]), found)
        if name in own
        else Query(name, pictures.get(name, b""), found)
        for name, found in by_query.items()
    ]
    write_search_page(spec.out / "index.html", spec.title, _describe(spec, index, names), queries, pictures)


def _describe(spec: Search, index: SheetIndex, names: Sequence[str]) -> list[str]:
    made = time.strftime("%Y-%m-%d", time.gmtime())
    conditions = "; ".join(f"{column}: {', '.join(values)}" for column, values in spec.where if values)
    more = f"; the first {spec.shown:,} are shown" if len(names) > spec.shown else ""
    lines = [
        f"{len(names):,} looked up among {len(index):,} sheets{more}. Distance is 1 − cosine: 0 is equal.",
        f"Only sheets with {conditions}" if conditions else "",
        f"Encoder {index.note['name']}, made on {made} by herbray {__version__}",
    ]
    return [line for line in lines if line]


def read_thumbnails(shards: Path, ids: Collection[str]) -> dict[str, bytes]:
    """Id → small JPEG of the sheets that the shards hold."""
    rows = find_specimens(shards, ids)
    return {
        name: _reduce(jpeg)
        for start in range(0, len(rows), _AT_ONCE)
        for part in (rows.slice(start, _AT_ONCE),)
        for name, jpeg in zip(part["specimen_id"].to_pylist(), read_jpegs(shards, part), strict=True)
    }


def _reduce(jpeg: bytes) -> bytes:
    small = images.shrink_to_jpeg(jpeg, _SIDE, _QUALITY).jpeg
    return small if len(small) < len(jpeg) else jpeg
