"""Catalogue → shards: every image checked, made small and put beside others of its genus, by one task a file."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from pydantic import Field

from herbray import __version__, schema, storage, tables
from herbray.config import Spec
from herbray.data import catalogue, images, plan
from herbray.data.absent import absent
from herbray.data.bags import ShardFile, shard_plan
from herbray.data.splits import Splits, split
from herbray.flow.cluster import connection
from herbray.flow.shards.manifest import read_index, read_manifest, remedy

__all__ = ["QuarantineLimit", "Shard", "read_index", "read_manifest", "shard"]


class QuarantineLimit(ValueError):
    """More images were refused than the job allows; everything is written, and the table says why."""


_Form = tuple[int, int] | tuple[int, int, images.Geometry]
"""What `images.shrink` is given beside an image and a file's fingerprint holds: side, quality, another geometry."""


class Shard(Spec):
    """The shard job. Reads a catalogue folder, writes a shards folder."""

    catalogue: Path = Field(
        Path("runs/catalogue"), description="folder of the catalogue, written by `herbray catalogue`"
    )
    out: Path = Field(Path("runs/shards"), description="folder that receives the shards")
    splits: Splits = Splits()
    side: int = Field(256, ge=16, le=2048, description="pixels of the short side")
    quality: int = Field(90, ge=50, le=100, description="JPEG quality")
    geometry: images.Geometry = Field(
        "crop",
        description="a square is cut out of the sheet when it is used; pad: the whole sheet on a square of its paper, "
        "`side` being the long side",
    )
    bag: int = Field(32, ge=1, description="most specimens in a row group")
    file_rows: int = Field(2048, ge=1, description="a file is closed when it holds so many")
    max_quarantined: float = Field(0.05, ge=0, le=1, description="share of refused images above which the job fails")
    seed: int = Field(89, description="seed of the splits and of the order of bags")

    @property
    def form(self) -> _Form:
        """What an image is made into."""
        return (self.side, self.quality) if self.geometry == "crop" else (self.side, self.quality, self.geometry)


def shard(spec: Shard, said: Collection[str] = ()) -> dict[str, Any]:
    """Make the shards, or what is missing of them, and return the manifest.

    Args:
        spec: of the job.
        said: splits whose absence the user has been told.

    Raises:
        EmptySplit: a split that the settings ask for, and not their defaults, has no specimen.
        QuarantineLimit: too many images were refused.
        ValueError: files that were made cannot be seen from here: `out` is not on storage that all nodes share.
        RuntimeError: the counts do not add up.
    """
    table = catalogue.read(spec.catalogue)
    about = catalogue.read_manifest(spec.catalogue)
    sides = split(table, spec.splits, spec.seed)
    missing = absent(table, sides, spec.splits)
    connection.say(f"split {name}: {why}" for name, why in missing.items() if name not in said)
    files = shard_plan(table, sides, spec.bag, spec.file_rows, spec.seed)
    spec.out.mkdir(parents=True, exist_ok=True)
    (spec.out / "manifest.json").unlink(missing_ok=True)  # written last, removed first: without it nothing is finished
    _sweep(spec.out, {file.path for file in files})
    with connection.connected():
        notes = list(_make(spec, table, files, about["root"]))
    _check_shared(spec.out, files)
    return _finish(spec, table, about | {"absent": missing}, notes)


def _sweep(out: Path, planned: set[str]) -> None:
    """Remove what an earlier, different plan left behind, and files that a killed task left half-written."""
    for path in out.glob("split=*/*"):
        if path.relative_to(out).as_posix() not in planned:
            path.unlink()


def _check_shared(out: Path, files: Sequence[ShardFile]) -> None:
    """A manifest speaks for files that are there: tasks of another node may have written theirs to its own disk."""
    missing = [file.path for file in files if not (out / file.path).exists()]
    if missing:
        raise ValueError(
            f"{out}: {len(missing)} of {len(files)} files were made but are not here, e.g. {missing[0]}: the nodes of "
            "the cluster do not share this folder; set out to a folder on storage that all of them see"
        )


def _make(spec: Shard, table: pa.Table, files: Sequence[ShardFile], root: str) -> Iterator[dict[str, Any]]:
    """Run one task a file, few more at a time than there are CPUs; yield each file's note."""
    make = ray.remote(num_cpus=1, max_retries=3)(_write_file)
    waiting = list(reversed(files))
    running: dict[Any, ShardFile] = {}
    ahead = int(connection.resource("CPU")) * 2
    with connection.progress() as bar:
        job = bar.add_task("shard", total=sum(len(file.rows) for file in files), unit="image")
        while waiting or running:
            while waiting and len(running) < ahead:
                file = waiting.pop()
                rows = table.take(pa.array(file.rows)).combine_chunks()
                sizes = [len(part) for part in file.bags]
                running[make.remote(str(spec.out.absolute()), file.path, rows, sizes, spec.form, root)] = file
            done, _ = ray.wait(list(running), num_returns=1)
            for ref in done:
                bar.advance(job, len(running.pop(ref).rows))
                yield ray.get(ref)


def _write_file(out: str, name: str, rows: pa.Table, bags: Sequence[int], form: _Form, root: str) -> dict[str, Any]:
    """Write one file of the plan unless it stands there already, whole, and return its note (see `_note`).

    Where the archive lies does not bear on it: see `catalogue.image_names`.
    """
    path = Path(out, name)
    named = rows.select(schema.CATALOGUE.names).to_pydict()
    named |= {"image": catalogue.image_names(rows["image"], root).to_pylist()}
    print_ = plan.fingerprint(schema.VERSION, *form, bags, named)
    if path.exists():
        note = _note(path)
        if note and note["fingerprint"] == print_:
            again = _refused_again(note["refused"], rows, form)
            if again is not None:
                return note | {"refused": again}
    refused: list[dict[str, str]] = []
    sink = schema.SHARD
    compression = {field.name: "none" if field.name == "jpeg" else "zstd" for field in sink}
    index: list[dict[str, Any]] = []
    first = 0
    with tables.writing(path, sink, compression=compression, use_dictionary=False, write_statistics=False) as file:
        for size in bags:
            bag = _read_bag(rows.slice(first, size), form, refused)
            first += size
            if bag.num_rows:
                index.append({"row_group": len(index), "genus": bag["genus"][0].as_py(), "rows": bag.num_rows})
                file.write_table(bag, row_group_size=bag.num_rows)
        note = {"fingerprint": print_, "file": name, "rows": len(rows), "bags": index, "refused": refused}
        tables.add_note(file, note)
    return note


def _note(path: Path) -> dict[str, Any] | None:
    """What a finished file says of itself: fingerprint, bags and refused rows. None if any byte of it was changed."""
    try:
        tables.verify(path, remedy(path.parents[1]))
        return tables.TableFile(path, remedy(path.parents[1])).note or None
    except (OSError, storage.DamagedFile):
        return None


def _refused_again(refused: Sequence[dict[str, str]], rows: pa.Table, form: _Form) -> list[dict[str, str]] | None:
    """A file's refused images, looked at where they lie now; None if one is not refused for the same reason.

    Then it has been mended, and the file is made anew.
    """
    places = {row["specimen_id"]: row for row in _places(rows)}
    again = []
    for row in refused:
        found = _shrunk(places[row["specimen_id"]], form)
        if isinstance(found, images.Picture) or found["reason"] != row["reason"]:
            return None
        again.append(found)
    return again


def _places(rows: pa.Table) -> list[dict[str, str]]:
    """Each row's `specimen_id` and `image`."""
    places: list[dict[str, str]] = rows.select(["specimen_id", "image"]).to_pylist()
    return places


def _shrunk(row: dict[str, str], form: _Form) -> images.Picture | dict[str, str]:
    """A specimen's image, made small, or its row of the quarantine."""
    try:
        return images.shrink(images.read_bytes(row["image"]), *form)
    except images.ImageRefused as error:
        return {**row, "stage": "shard", "reason": error.reason, "detail": str(error)}


def _read_bag(rows: pa.Table, form: _Form, refused: list[dict[str, str]]) -> pa.Table:
    keep, pictures = [], []
    for place, row in enumerate(_places(rows)):
        found = _shrunk(row, form)
        if isinstance(found, images.Picture):
            pictures.append(found)
            keep.append(place)
        else:
            refused.append(found)
    bag = rows.take(pa.array(keep, pa.int64())).select(schema.SPECIMEN.names)
    bag = bag.append_column("width", pa.array([p.width for p in pictures], pa.int32()))
    bag = bag.append_column("height", pa.array([p.height for p in pictures], pa.int32()))
    return bag.append_column("jpeg", pa.array([p.jpeg for p in pictures], pa.binary())).cast(schema.SHARD)


def _finish(spec: Shard, table: pa.Table, about: dict[str, Any], notes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    notes = sorted(notes, key=lambda note: str(note["file"]))
    index = [
        {"split": note["file"].split("/")[0].removeprefix("split="), "file": note["file"], **bag}
        for note in notes
        for bag in note["bags"]
    ]
    refused = [row for note in notes for row in note["refused"]]
    ok = sum(row["rows"] for row in index)
    planned = sum(note["rows"] for note in notes)
    counts = {"input": table.num_rows, "ok": ok, "quarantined": len(refused), "skipped": table.num_rows - planned}
    if counts["input"] != counts["ok"] + counts["quarantined"] + counts["skipped"]:
        raise RuntimeError(f"{spec.out}: counts do not add up: {counts}; this is a fault of herbray, please report it")
    rows = Counter[str]()
    for row in index:
        rows[row["split"]] += row["rows"]
    manifest = {
        "schema": schema.VERSION,
        "herbray": __version__,
        "counts": counts,
        "reasons": dict(Counter(row["reason"] for row in refused).most_common()),
        "splits": {name: rows[name] for name in schema.SPLITS if rows[name]},
        "genera": {name: len({row["genus"] for row in index if row["split"] == name}) for name in rows},
        "side": spec.side,
        "geometry": spec.geometry,
        "source": about.get("source"),
        "citation": about.get("citation", ""),
        "absent": about.get("absent", {}),
        "seed": spec.seed,
        "splits_spec": spec.splits.model_dump(mode="json"),
        "fingerprint": plan.fingerprint([_content(note) for note in notes]),
    }
    tables.write(spec.out / "quarantine.parquet", pa.Table.from_pylist(refused, schema=schema.QUARANTINE))
    tables.write(spec.out / "index.parquet", pa.Table.from_pylist(index, schema=schema.INDEX))
    storage.write_note(spec.out / "manifest.json", manifest)
    if planned and len(refused) > spec.max_quarantined * planned:
        top = ", ".join(f"{reason} {count}" for reason, count in manifest["reasons"].items())
        raise QuarantineLimit(
            f"{spec.out}: {len(refused)} of {planned} images were refused ({top}), more than max_quarantined="
            f"{spec.max_quarantined:g} allows; quarantine.parquet names each, a larger max_quarantined accepts them"
        )
    return manifest


def _content(note: dict[str, Any]) -> list[Any]:
    """What tells a file from another of the same place: what it was made of, and which of it is not in it."""
    return [note["fingerprint"], sorted(row["specimen_id"] for row in note["refused"])]


def specimens(shards: Path, split_name: str) -> pa.Table:
    """Specimen columns of a split, no image read."""
    files = sorted((shards / f"split={split_name}").glob("part-*.parquet"))
    found = [tables.read(file, remedy(shards), columns=schema.SPECIMEN.names) for file in files]
    return pa.concat_tables(found) if found else schema.SPECIMEN.empty_table()
