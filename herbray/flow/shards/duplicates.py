"""The duplicates among the images of a shards folder, and those that are filed under different names."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from herbray import storage, tables
from herbray.data import catalogue
from herbray.data.duplicates.conflicts import describe_conflicts, find_conflicts
from herbray.data.duplicates.image_groups import DUPLICATES_FILE, count_crossing, group_images
from herbray.data.planning.shard_plan import ShardFile

_KINDS: Final = ("image", "near_image")


def write_duplicates(
    out: Path, table: pa.Table, files: Sequence[ShardFile], notes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Find images that are the same or nearly so, and write `duplicates.parquet` and `conflicts.parquet`.

    Splits are made before images are read, so duplicates that lie in several splits are only told: the next catalogue
    keeps them together (`herbray.data.catalogue.Catalogue.duplicates`).

    Args:
        out: the shards folder.
        table: the catalogue, with the names as filed.
        files: the plan of the shards.
        notes: of `write_file.write_shard_file`, one for each file.

    Returns:
        For the manifest: `duplicates`, the number of groups of each kind and of those that are in several splits; and
        `notes`, sentences for the user.
    """
    by_name = {file.path: file for file in files}
    ids: list[str] = []
    splits: list[str] = []
    for note in notes:
        file, refused = by_name[note["file"]], {row["specimen_id"] for row in note["refused"]}
        planned = table["specimen_id"].take(pa.array(file.rows)).to_pylist()
        written = [name for name in planned if name not in refused]
        ids += written
        splits += [file.split] * len(written)
    duplicates, remarks = group_images(ids, splits, b"".join(base64.b64decode(note["prints"]) for note in notes))
    place = pc.index_in(table["specimen_id"], value_set=duplicates["specimen_id"])
    conflicts = find_conflicts(table, duplicates["group"].take(place), duplicates["kind"].take(place))
    tables.write(out / DUPLICATES_FILE, duplicates)
    tables.write(out / catalogue.CONFLICTS_FILE, conflicts)
    groups = duplicates.group_by(["group", "kind"]).aggregate([])["kind"].to_pylist()
    counts = {kind: groups.count(kind) for kind in _KINDS} | {"in_several_splits": count_crossing(duplicates)}
    lines = [*remarks, *_describe(counts, len(duplicates), out)]
    return {
        "duplicates": counts,
        "notes": [*lines, *describe_conflicts(conflicts, _show(out, catalogue.CONFLICTS_FILE))],
    }


def _describe(counts: Mapping[str, int], specimens: int, out: Path) -> Iterator[str]:
    if not specimens:
        return
    many = f"{counts['image']:,} groups of equal images and {counts['near_image']:,} of nearly equal ones"
    yield f"{many} ({specimens:,} specimens), listed in {_show(out, DUPLICATES_FILE)}"
    if crossing := counts["in_several_splits"]:
        yield (
            f"{crossing:,} of these groups are in several splits, which makes tests too easy: run `herbray catalogue` "
            f"with duplicates=[{storage.show(out)}] and `herbray shard` again"
        )


def _show(out: Path, name: str) -> str:
    return storage.show(out / name)
