"""The tables of `herbray identify`: all suggestions, and one work list for each family."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from herbray import schema, storage, tables
from herbray.flow.naming.sheets import Gathered
from herbray.neighbours.index import VectorIndex
from herbray.spreadsheet import flatten_lists, write_csv
from herbray.tasks import Embeddings
from herbray.tasks.naming.learning import Namer
from herbray.tasks.naming.suggestions import Suggestions, find_families

_NO_FAMILY: Final = "no-family.csv"
_CHARACTERS: Final = 60  # of a family in a file name


def make_table(gathered: Gathered, found: Suggestions, namer: Namer, named: Embeddings, neighbours: int) -> pa.Table:
    """The suggestions in `schema.NAMED`: the narrowest accepted names first, then the most confident."""
    unnamed = gathered.unnamed
    columns: dict[str, Any] = {"specimen_id": unnamed.ids.tolist(), "image": list(gathered.images)}
    columns |= {rank: unnamed.filed[rank].tolist() for rank in schema.RANKS}
    columns |= {"name": found.name.tolist(), "rank": found.rank.tolist(), "unknown": found.unknown.tolist()}
    columns["confidence"] = pa.array(found.confidence, from_pandas=True)
    for rank in schema.RANKS:
        own = found.by_rank.get(rank)
        columns[f"suggested_{rank}"] = own.names.tolist() if own else [None] * len(unnamed.ids)
        columns[f"confidence_{rank}"] = pa.array(
            own.confidence if own else [None] * len(unnamed.ids), pa.float64(), from_pandas=True
        )
    columns |= _list_neighbours(unnamed.features, named, list(namer.models)[-1], neighbours)
    columns["work_list"] = [_file_name(family) for family in _find_family(gathered, found, namer, named)]
    table = pa.table({name: columns[name] for name in schema.NAMED.names}, schema=schema.NAMED)
    width = [len(schema.RANKS) if rank is None else -schema.RANKS.index(rank) for rank in found.rank]
    return table.take(np.lexsort((unnamed.ids.astype(str), -np.nan_to_num(found.confidence), np.array(width))))


def write_tables(table: pa.Table, out: Path, note: Mapping[str, Any]) -> int:
    """Write `names.parquet`, `names.csv` and the work lists, remove old work lists, and return how many there are."""
    tables.write(out / "names.parquet", table, dict(note))
    flat = flatten_lists(table)
    write_csv(flat, out / "names.csv")
    lists = sorted(set(table["work_list"].to_pylist()))
    folder = out / "families"
    storage.make_folder(folder)
    for name in lists:
        write_csv(flat.filter(pc.equal(flat["work_list"], name)).drop_columns("work_list"), folder / name)
    for path in folder.glob("*.csv"):
        if path.name not in lists:
            path.unlink()
    return len(lists)


def _list_neighbours(
    features: "np.ndarray[Any, np.dtype[np.float32]]", named: Embeddings, rank: str, k: int
) -> dict[str, Any]:
    """The most similar named sheets: distance of the nearest, ids and narrowest names."""
    rows = np.flatnonzero(np.logical_or.reduce([named.rank(each) != None for each in schema.RANKS]))  # noqa: E711
    near = VectorIndex(np.asarray(named.features[rows])).search(features, k)
    filed = np.full(len(rows), None, dtype=object)
    for each in schema.RANKS[: schema.RANKS.index(rank) + 1]:
        own = named.rank(each)[rows]
        filed = np.where(own != None, own, filed)  # noqa: E711
    ids = np.array(list(named.specimen_id[rows]), dtype=object)
    pairs = list(zip(near.rows, near.valid, strict=True))
    return {
        "distance": np.round(np.maximum(1 - near.cosine[:, 0], 0), 6),
        "neighbours": [ids[places[valid]].tolist() for places, valid in pairs],
        "neighbour_names": [["" if name is None else name for name in filed[places[valid]]] for places, valid in pairs],
    }


def _find_family(gathered: Gathered, found: Suggestions, namer: Namer, named: Embeddings) -> list[str | None]:
    """The family of each sheet: as filed, else of the accepted name."""
    families = {
        rank: find_families(model.rows, named, rank) for rank, model in namer.models.items() if rank != "family"
    }
    return [
        filed or (name if rank == "family" else families.get(rank, {}).get(name)) if rank != "order" or filed else None
        for filed, name, rank in zip(gathered.unnamed.filed["family"], found.name, found.rank, strict=True)
    ]


def _file_name(family: str | None) -> str:
    """A file name for a family; a name that needs other characters than letters of ASCII gets a fingerprint, too."""
    if family is None:
        return _NO_FAMILY
    plain = re.sub(r"[^A-Za-z0-9]+", "-", family)[:_CHARACTERS].strip("-")
    if plain == family and plain.lower() != _NO_FAMILY.removesuffix(".csv"):
        return f"{plain}.csv"
    return f"{plain or 'family'}-{hashlib.sha256(family.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}.csv"
