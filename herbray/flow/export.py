"""The export job: writes suspects and verdicts in the forms that collection systems and viewers load."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field

from herbray import __version__, schema, storage, tables
from herbray.config import Spec
from herbray.data import catalogue
from herbray.exports.batch import Batch, Collection, Key, Written
from herbray.exports.collect import Machine, collect
from herbray.exports.formats import FORMATS
from herbray.flow.embedding_folder import read_embeddings, read_note, read_sheets
from herbray.flow.evaluation.suspects import single_folder
from herbray.tasks import Embeddings
from herbray.verdicts.files import read_verdicts


def _check_format(name: str) -> str:
    if name not in FORMATS:
        raise ValueError(f"no format {name!r}; there are {', '.join(FORMATS)}")
    return name


def _check_time(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?Z)?", text):
        raise ValueError("write a day, 2026-03-01, or a time in UTC, 2026-03-01T09:30:00Z")
    return text


class Export(Spec):
    """The job that exports suspects and verdicts. Reads their files and one embeddings folder."""

    formats: tuple[Annotated[str, AfterValidator(_check_format)], ...] = Field(
        tuple(FORMATS), min_length=1, description=f"what to write: any of {', '.join(FORMATS)}"
    )
    embeddings: Path = Field(Path("runs/embeddings"), description="embeddings folder of the encoder that made the list")
    suspects: Path | None = Field(
        Path("runs/suspects"), description="folder that `herbray suspects` wrote; None: verdicts alone"
    )
    verdicts: Path | None = Field(None, description="verdicts of reviewers: a CSV file, or a folder of them")
    catalogue: Path | None = Field(
        None, description="catalogue folder: the sheets with their present names and images; None: those of embeddings"
    )
    only_suspected: bool = Field(True, description="export only sheets that are suspected, not the rest of the list")
    most: int | None = Field(None, ge=1, description="most suggestions to export, from the head of the list; None: all")
    institution: str | None = Field(
        None, description="export the sheets of this herbarium only, as a collection system holds one; None: all"
    )
    key: Key = Field("catalog_number", description="column by which the collection system knows a sheet")
    current: bool = Field(
        False, description="mark names that reviewers gave as current; suggestions of a machine never are"
    )
    date: Annotated[str, AfterValidator(_check_time)] | None = Field(
        None, description="date of the suggestions; None: when `suspects.parquet` was written"
    )
    neighbours: int = Field(10, ge=1, le=100, description="similar sheets per sheet, for embedding-atlas")
    projection: Literal["pca", "umap"] = Field(
        "pca", description="map of embedding-atlas: principal components, or UMAP, which takes minutes on large data"
    )
    title: str = Field("Names of herbarium sheets", description="title of the data set")
    out: Path = Field(Path("runs/export"), description="folder that receives the files")


@dataclass(frozen=True)
class Exported:
    """What was written, and how much was left out of every format."""

    batch: Batch
    written: tuple[Written, ...]

    def __str__(self) -> str:
        """The last lines of `herbray export`."""
        left = [f"left out: {count:,} because {why}" for why, count in sorted(self.batch.left_out.items())]
        machines = sum(each.is_machine for each in self.batch.opinions)
        head = f"{machines:,} suggestions and {len(self.batch.opinions) - machines:,} verdicts, batch {self.batch.id}"
        return "\n".join([head, *left, *(str(each) for each in self.written)])


def export(spec: Export) -> Exported:
    """Write the chosen formats.

    Raises:
        ValueError: neither suspects nor verdicts are given, a file cannot be read, or the suspects and the embeddings
            are of different encoders.
    """
    for name in ("out", "suspects"):
        if (place := getattr(spec, name)) is not None and storage.is_remote(place):
            raise ValueError(f"{name}: exports are made on a disk: give an absolute path")
    batch = make_batch(spec)
    storage.make_folder(spec.out)
    return Exported(batch, tuple(FORMATS[name].write(batch, spec.out) for name in spec.formats))


def make_batch(spec: Export) -> Batch:
    """Collect what is exported; raises as `export` does."""
    folder = single_folder(spec.embeddings)
    note = read_note(folder)
    suspects, at = _read_suspects(spec, note)
    verdicts = read_verdicts(spec.verdicts) if spec.verdicts else schema.VERDICT.empty_table()
    if spec.suspects is None and not len(verdicts):
        raise ValueError(f"{spec.verdicts or 'suspects, verdicts'}: no verdicts, and no suspects are set; set one")
    collection = _read_collection(spec, folder)
    encoder, fingerprint = _name_encoder(note, folder), str(note.get("encoder", ""))
    software = f"herbray {__version__}"
    machine = Machine(f"{software}, encoder {encoder}", fingerprint, at)
    opinions, left_out = collect(suspects, verdicts, _current_sheets(spec, collection), machine, spec.institution)
    return Batch(
        encoder=encoder,
        fingerprint=fingerprint,
        software=software,
        at=at,
        title=spec.title,
        opinions=tuple(opinions),
        left_out=left_out,
        key=spec.key,
        current=spec.current,
        collection=collection,
        neighbours=spec.neighbours,
        projection=spec.projection,
    )


def _name_encoder(note: dict[str, Any], folder: Path) -> str:
    """The version of a registered encoder, else the name of its embeddings: no path of this machine."""
    return str(note["version"]) if note.get("uri") else str(note.get("name", folder.name))


def _read_suspects(spec: Export, note: dict[str, Any]) -> tuple[pa.Table, str]:
    """The suggestions to export, and when they were made."""
    if spec.suspects is None:
        return schema.SUSPECT.empty_table(), spec.date or ""
    path = spec.suspects if spec.suspects.suffix == ".parquet" else spec.suspects / "suspects.parquet"
    remedy = f"run `herbray suspects` with out={path.parent} again"
    file = tables.TableFile(path, remedy)
    tables.check_columns(file.schema, schema.SUSPECT, path, remedy)
    if file.note.get("encoder", note.get("encoder")) != note.get("encoder"):
        raise ValueError(f"{path}: this list is of another encoder than {spec.embeddings}; set embeddings to its own")
    listed = file.read()
    listed = listed.filter(pc.field("suspected")) if spec.only_suspected else listed
    return listed.slice(0, spec.most), _find_time(spec.date, path)


def _find_time(date: str | None, path: Path) -> str:
    """When the suggestions were made."""
    if date:
        return date if "T" in date else f"{date}T00:00:00Z"
    if storage.is_remote(path):
        raise ValueError(f"{storage.show(path)}: set date to the day on which this list was made, such as 2026-03-01")
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read_collection(spec: Export, folder: Path) -> Collection:
    """The embedded sheets, sorted by id, with their images, and with features if a format needs them."""
    if not any(FORMATS[name].needs_features for name in spec.formats):
        return Collection(_add_images(read_sheets(folder).sort_by("specimen_id"), spec.catalogue))
    table = read_embeddings(folder).sort_by("specimen_id")
    features = np.asarray(Embeddings.from_table(table).features)
    return Collection(_add_images(table.drop_columns(["embedding"]), spec.catalogue), features)


def _add_images(sheets: pa.Table, folder: Path | None) -> pa.Table:
    if folder is None:
        return sheets.append_column("image", pa.nulls(len(sheets), pa.string()))
    known = catalogue.read(folder)
    places = pc.index_in(sheets["specimen_id"], known["specimen_id"].combine_chunks())
    return sheets.append_column("image", known["image"].take(places))


def _current_sheets(spec: Export, collection: Collection) -> pa.Table:
    """The sheets with the names that they have now."""
    return catalogue.read(spec.catalogue) if spec.catalogue else collection.sheets
