"""The shard job: catalogue → shards. One task per file; see `write_file`."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import ray
from pydantic import Field

from herbray import __version__, schema, storage, tables
from herbray.config import Spec
from herbray.data import catalogue
from herbray.data.fingerprint import fingerprint_json
from herbray.data.imaging import originals
from herbray.data.imaging.formats import Formats
from herbray.data.imaging.images import Geometry
from herbray.data.judged_labels import JudgedSpecimens, apply_verdicts
from herbray.data.labels import Labels, list_lineages, read_labels
from herbray.data.planning.shard_plan import ShardFile, plan_shards
from herbray.data.splitting.empty_splits import explain_empty_splits
from herbray.data.splitting.splits import Splits, split
from herbray.data.web import fetched
from herbray.flow.cluster import connection
from herbray.flow.shards.duplicates import write_duplicates
from herbray.flow.shards.write_file import ShrinkSettings, write_shard_file


class QuarantineLimit(ValueError):
    """More images were refused than the job allows. All files are written; quarantine.parquet gives the reasons."""


class Shard(Spec):
    """The shard job. Reads a catalogue folder, writes a shards folder."""

    catalogue: Path = Field(
        Path("runs/catalogue"), description="folder of the catalogue, written by `herbray catalogue`"
    )
    out: Path = Field(Path("runs/shards"), description="folder that receives the shards")
    images: Path = Field(
        Path("runs/images"),
        description="folder that `herbray fetch` wrote: images of the catalogue that are on the web are taken from it, "
        "others are read where they are",
    )
    splits: Splits = Splits()
    labels: Labels = Labels()
    side: int = Field(256, ge=16, le=2048, description="pixels of the short side")
    quality: int = Field(90, ge=50, le=100, description="JPEG quality")
    geometry: Geometry = Field(
        "crop",
        description="crop: a square is cut out of the sheet when the image is used; pad: the whole sheet on a square "
        "filled with the colour of its paper, where `side` is the long side",
    )
    mask: Literal["none", "boxes"] = Field(
        "none",
        description="boxes: paint over the parts of each sheet that the catalogue's column mask_boxes lists, such as "
        "its label and ruler, with the colour around them",
    )
    formats: Formats = Formats()
    bag: int = Field(32, ge=1, description="maximum number of specimens in a bag (a row group)")
    file_rows: int = Field(2048, ge=1, description="a file is closed when it holds this many rows")
    max_quarantined: float = Field(0.05, ge=0, le=1, description="the job fails if a larger share of images is refused")
    seed: int = Field(89, description="seed of the splits and of the order of bags")

    @property
    def shrink(self) -> ShrinkSettings:
        """How images are reduced."""
        return (self.side, self.quality) if self.geometry == "crop" else (self.side, self.quality, self.geometry)


def shard(spec: Shard, announced: Collection[str] = ()) -> dict[str, Any]:
    """Make the shards, or those that are missing, and return the manifest.

    Args:
        spec: of the job.
        announced: splits that the user already knows to be absent.

    Raises:
        EmptySplit: a split that the settings name explicitly has no specimen.
        QuarantineLimit: too many images were refused.
        ValueError: the catalogue has no boxes for the mask; or more images are on the web than may be refused; or files
            that were made are not visible from here: `out` is not on storage that all nodes share.
        RuntimeError: the counts do not add up.
    """
    table = read_located_catalogue(spec)
    about = catalogue.read_manifest(spec.catalogue)
    input_rows = about["counts"]["ok"]
    connection.print_left_out(_describe_absent(spec, input_rows - len(table)))
    assignment = split(table, spec.splits, spec.seed, spec.labels.rank)
    missing = explain_empty_splits(table, assignment, spec.splits, spec.labels.rank)
    connection.print_left_out(f"split {name}: {why}" for name, why in missing.items() if name not in announced)
    judged = apply_verdicts(table, assignment, spec.labels)
    connection.print_left_out(_describe_judged(judged))
    files = plan_files(spec, judged)
    storage.make_folder(spec.out)
    storage.remove(spec.out / "manifest.json")  # written last: shards without a manifest are not finished
    _remove_stale_files(spec.out, {file.path for file in files})
    with connection.connect():
        roots = (fetched.name_root(spec.images), about["root"])
        notes = sorted(_run_tasks(spec, judged.table, files, roots), key=lambda note: str(note["file"]))
    _check_shared(spec.out, files)
    tables.write(spec.out / "lineage.parquet", list_lineages(judged.table, spec.labels.rank))
    found = write_duplicates(spec.out, table, files, notes)
    return _finish(spec, input_rows, about | {"absent": missing}, notes, found)


def plan_files(spec: Shard, specimens: JudgedSpecimens) -> list[ShardFile]:
    """The files of the job, from the specimens after review."""
    table, labels = specimens.table, read_labels(specimens.table, spec.labels.rank)
    return plan_shards(table["specimen_id"].to_pylist(), labels, specimens.splits, spec.bag, spec.file_rows, spec.seed)


def _describe_absent(spec: Shard, absent: int) -> Iterator[str]:
    if absent:
        yield f"{absent:,} images that `herbray fetch` did not get; {spec.images / 'quarantine.parquet'} says why"


def _describe_judged(specimens: JudgedSpecimens) -> Iterator[str]:
    if specimens.left_out:
        yield f"{specimens.left_out:,} training and validation sheets whose name was judged wrong"
    if specimens.corrected:
        yield f"the filed names of {specimens.corrected:,} training and validation sheets: reviewers corrected them"


def read_catalogue(spec: Shard) -> pa.Table:
    """Read the catalogue of the job; it has the column `mask_boxes` if the job paints over them.

    Raises:
        ValueError: the catalogue has no such column, or cannot be read.
    """
    table = catalogue.read(spec.catalogue)
    if spec.mask == "none":
        return table.select(schema.CATALOGUE.names)
    if schema.MASK_BOXES not in table.column_names:
        raise ValueError(
            f"mask={spec.mask}, but {spec.catalogue} has no column {schema.MASK_BOXES}: add it to the table of labels "
            "and run `herbray catalogue` again, or set mask=none"
        )
    return table


def read_located_catalogue(spec: Shard) -> pa.Table:
    """Read the catalogue of the job, with fetched files for images on the web; what was not fetched is left out.

    Without a folder of fetched images, a few images on the web stay, and go to quarantine.

    Raises:
        ValueError: see `read_catalogue`; or more images on the web were not fetched than may be refused.
    """
    table = read_catalogue(spec)
    if not pc.any(fetched.find_web_images(table["image"])).as_py():
        return table
    has_fetched = fetched.is_finished(spec.images)
    if has_fetched:
        images = fetched.locate_images(table["image"], spec.images)
        table = table.set_column(table.column_names.index("image"), schema.CATALOGUE.field("image"), images)
    is_remote = fetched.find_web_images(table["image"])
    remote = pc.sum(is_remote).as_py() or 0
    if remote > spec.max_quarantined * max(1, len(table)):
        example = table["image"].filter(is_remote)[0].as_py()
        without = f", and not in {storage.show(spec.images)}" if has_fetched else ""
        raise ValueError(
            f"{spec.catalogue}: {remote:,} of {len(table):,} images are addresses on the web{without}, such as "
            f"{example:.200}; {originals.ADDRESS_REMEDY}"
        )
    return table.filter(pc.invert(is_remote)) if has_fetched else table


def _remove_stale_files(out: Path, planned: set[str]) -> None:
    """Remove files of an earlier, different plan, and files that a killed task left half-written."""
    for path in storage.glob(out, "split=*/*"):
        if path.relative_to(out).as_posix() not in planned:
            storage.remove(path)


def _check_shared(out: Path, files: Sequence[ShardFile]) -> None:
    """Check that all files are visible here: tasks on another node may have written to that node's own disk."""
    there = storage.file_sizes(out)
    missing = [file.path for file in files if out / file.path not in there]
    if missing:
        raise ValueError(
            f"{out}: {len(missing)} of {len(files)} files were made but are not here, e.g. {missing[0]}: the nodes of "
            "the cluster do not share this folder; set out to a folder on storage that all nodes share"
        )


def _run_tasks(
    spec: Shard, table: pa.Table, files: Sequence[ShardFile], roots: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Run one task per file, at most two at a time per CPU; yield each file's note."""
    write = ray.remote(num_cpus=1, max_retries=3)(write_shard_file)
    waiting = list(reversed(files))
    running: dict[Any, ShardFile] = {}
    limit = int(connection.total_resource("CPU")) * 2
    with connection.progress() as bar:
        job = bar.add_task("shard", total=sum(len(file.rows) for file in files), unit="image")
        while waiting or running:
            while waiting and len(running) < limit:
                file = waiting.pop()
                rows = table.take(pa.array(file.rows)).combine_chunks()
                bags = [(label, len(part)) for label, part in zip(file.labels, file.bags, strict=True)]
                running[
                    write.remote(str(spec.out.absolute()), file.path, rows, bags, spec.shrink, roots, spec.formats)
                ] = file
            done, _ = ray.wait(list(running), num_returns=1)
            for ref in done:
                bar.advance(job, len(running.pop(ref).rows))
                yield connection.fetch_result(ref)


def _finish(
    spec: Shard, input_rows: int, about: dict[str, Any], notes: Sequence[dict[str, Any]], found: dict[str, Any]
) -> dict[str, Any]:
    """Write quarantine, index and manifest, in this order, and return the manifest."""
    index = [{"split": _split_of(note["file"]), "file": note["file"], **bag} for note in notes for bag in note["bags"]]
    refused = [row for note in notes for row in note["refused"]]
    planned = sum(note["rows"] for note in notes)
    counts = {
        "input": input_rows,
        "ok": sum(row["rows"] for row in index),
        "quarantined": len(refused),
        "skipped": input_rows - planned,
    }
    if counts["input"] != counts["ok"] + counts["quarantined"] + counts["skipped"]:
        raise RuntimeError(f"{spec.out}: counts do not add up: {counts}; this is a bug in herbray, please report it")
    reasons = dict(Counter(row["reason"] for row in refused).most_common())
    manifest = _manifest(spec, about, index) | found
    manifest |= {
        "counts": counts,
        "reasons": reasons,
        "fingerprint": fingerprint_json([_content(note) for note in notes]),
    }
    tables.write(spec.out / "quarantine.parquet", pa.Table.from_pylist(refused, schema=schema.QUARANTINE))
    tables.write(spec.out / "index.parquet", pa.Table.from_pylist(index, schema=schema.INDEX))
    storage.write_note(spec.out / "manifest.json", manifest)
    _check_quarantine(spec, planned, reasons)
    if refused:
        counted = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        many = f"{len(refused):,} of {planned:,} images: {counted}"
        connection.print_left_out([f"{many}; each is listed in {spec.out / 'quarantine.parquet'}"])
    return manifest


def _split_of(file: str) -> str:
    return file.split("/")[0].removeprefix("split=")


def _manifest(spec: Shard, about: dict[str, Any], index: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The part of the manifest that follows from the settings, the catalogue and the index."""
    rows = Counter[str]()
    for row in index:
        rows[row["split"]] += row["rows"]
    return {
        "schema": schema.VERSION,
        "herbray": __version__,
        "splits": {name: rows[name] for name in schema.SPLITS if rows[name]},
        "rank": spec.labels.rank,
        "labels": {name: len({row["label"] for row in index if row["split"] == name}) for name in rows},
        "side": spec.side,
        "quality": spec.quality,
        "geometry": spec.geometry,
        "mask": spec.mask,
        "source": about.get("source"),
        "citation": about.get("citation", ""),
        "absent": about.get("absent", {}),
        "seed": spec.seed,
        "splits_spec": spec.splits.model_dump(mode="json"),
    }


def _content(note: dict[str, Any]) -> list[Any]:
    """What identifies the content of a file: the fingerprint of its plan, and the specimens that were refused."""
    return [note["fingerprint"], sorted(row["specimen_id"] for row in note["refused"])]


def _check_quarantine(spec: Shard, planned: int, reasons: dict[str, int]) -> None:
    refused = sum(reasons.values())
    if planned and refused > spec.max_quarantined * planned:
        counts = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        raise QuarantineLimit(
            f"{spec.out}: {refused} of {planned} images were refused ({counts}), more than max_quarantined="
            f"{spec.max_quarantined:g} allows; quarantine.parquet lists each, a larger max_quarantined accepts them"
        )
