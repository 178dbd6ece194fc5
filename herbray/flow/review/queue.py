"""The queue of the review page: doubtful sheets of one or more lists, with the most similar sheets of each name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from herbray import schema, tables
from herbray.flow.review.pictures import picture_path
from herbray.review.content import Doubt, Item, Sheet, Similar
from herbray.tasks import Embeddings
from herbray.tasks.evidence import find_most_alike, list_proposals
from herbray.verdicts.judgements import Judgement, Key


def read_suspects(folders: Sequence[Path], manifest: Mapping[str, Any]) -> list[pa.Table]:
    """Read the lists of suspects, in `schema.SUSPECT`.

    Args:
        folders: that `herbray suspects` wrote.
        manifest: of the embeddings.

    Raises:
        ValueError: a list does not exist, or was made from other embeddings.
    """
    found = []
    for folder in folders:
        remedy = f"run `herbray suspects` with out={folder} first, on the embeddings of this review"
        file = tables.TableFile(folder / "suspects.parquet", remedy)
        tables.check_columns(file.schema, schema.SUSPECT, file.path, remedy)
        for name, what in (("encoder", "encoder"), ("shards", "shards")):
            if file.note.get(name) != manifest.get(name):
                raise ValueError(
                    f"{file.path}: listed from embeddings of another {what} ({file.note.get(name) or 'not recorded'}, "
                    f"the embeddings are of {manifest.get(name)}); {remedy}"
                )
        found.append(file.read())
    return found


@dataclass(frozen=True)
class Subject:
    """A sheet that comes into the queue, and the name in question."""

    specimen_id: str
    rank: str
    given: str
    doubts: tuple[Doubt, ...]


def merge_lists(lists: Sequence[pa.Table], most: int) -> list[Subject]:
    """Merge lists of several ranks: each sheet once, the suspected first, then by the place in its list.

    The name in question is that of the first list in which the sheet is suspected.
    """
    doubts: dict[str, list[Doubt]] = {}
    for listed in lists:
        for row in listed.to_pylist():
            doubts.setdefault(row["specimen_id"], []).append(_read_doubt(row))
    subjects = []
    for name, found in doubts.items():
        ordered = tuple(sorted(found, key=lambda doubt: not doubt.suspected))
        subjects.append(Subject(name, ordered[0].rank, ordered[0].given, ordered))
    subjects.sort(key=lambda each: (not each.doubts[0].suspected, each.doubts[0].place, each.specimen_id))
    return subjects[:most]


def _read_doubt(row: Mapping[str, Any]) -> Doubt:
    numbers = ("given_probability", "suggested_probability", "wrong_probability")
    names = ("rank", "given", "suggested", "suspected", "kind", "place", *numbers)
    return Doubt(**{name: row[name] for name in names}, neighbour_names=tuple(row["neighbour_names"]))


def list_settled(settled: Mapping[Key, Judgement], queue: Sequence[Subject]) -> list[Subject]:
    """The sheets that were judged under an earlier name and are not in the queue under their present name."""
    queued = {subject.specimen_id for subject in queue}
    found = {key[0]: Subject(*key, ()) for key in settled if key[0] not in queued}
    return [found[name] for name in sorted(found)]


def make_items(
    subjects: Sequence[Subject], embeddings: Embeddings, specimens: Mapping[str, dict[str, Any]], k: int
) -> list[Item]:
    """Add the most similar sheets of the given and the proposed names to each sheet.

    Args:
        subjects: the queue.
        embeddings: of all sheets.
        specimens: id → the columns of `schema.SPECIMEN`, and `image`.
        k: number of similar sheets of each name.

    Raises:
        ValueError: the embeddings lack a sheet of the queue.
    """
    place = {name: row for row, name in enumerate(embeddings.specimen_id)}
    if missing := [each.specimen_id for each in subjects if each.specimen_id not in place]:
        raise ValueError(
            f"the embeddings lack {len(missing)} of the listed sheets, such as {missing[0]!r}; run `herbray suspects` "
            "again on the embeddings of this review"
        )
    sheets = _Sheets(specimens)
    similar: list[list[Similar]] = [[] for _ in subjects]
    for rank in sorted({each.rank for each in subjects}):
        wanted = [
            (at, name) for at, each in enumerate(subjects) if each.rank == rank for name in _names(each, specimens)
        ]
        rows, names = [place[subjects[at].specimen_id] for at, _ in wanted], [name for _, name in wanted]
        for (at, name), found in zip(wanted, find_most_alike(embeddings, rank, rows, names, k), strict=True):
            ids = embeddings.specimen_id[found.rows]
            near = [(sheets.get(each), float(d)) for each, d in zip(ids, found.distance, strict=True)]
            similar[at].append(Similar(name, near))
    return [
        Item(sheets.get(each.specimen_id), each.rank, each.given, each.doubts, tuple(near))
        for each, near in zip(subjects, similar, strict=True)
    ]


def _names(subject: Subject, specimens: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """The names whose sheets are shown: the given one first."""
    yield subject.given
    if subject.doubts:
        doubt = subject.doubts[0]
        yield from list_proposals(doubt.suggested, doubt.given, doubt.neighbour_names)
    elif now := specimens[subject.specimen_id][subject.rank]:
        yield now


class _Sheets:
    """Makes each sheet once."""

    def __init__(self, specimens: Mapping[str, dict[str, Any]]) -> None:
        self.specimens, self.made = specimens, dict[str, Sheet]()

    def get(self, specimen_id: str) -> Sheet:
        if specimen_id not in self.made:
            self.made[specimen_id] = Sheet(self.specimens[specimen_id], picture_path(specimen_id))
        return self.made[specimen_id]
