"""What each specimen contributed to the results, kept beside them; and encoders compared on the same specimens."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import ray

from herbray import schema, tables
from herbray.tasks import Outcome
from herbray.tasks.methods.bootstrap import Bootstrap, Sample, compare

_PLACE = ("task", "split", "level")
_REMEDY = "run the same `herbray evaluate` again"


def outcomes_folder(results: Path) -> Path:
    """Where the outcomes of a results file lie: `results.parquet` → `results-outcomes/`."""
    return results.with_name(f"{results.stem}-outcomes")


def comparisons_file(results: Path) -> Path:
    """Where the comparisons of a results file lie: `results.parquet` → `results-comparisons.parquet`."""
    return results.with_name(f"{results.stem}-comparisons.parquet")


def remedy(results: Path) -> str:
    """What to do about a damaged, missing or outdated file of results."""
    return f"run `herbray evaluate` with out={results} to compute them anew"


def write_outcomes(results: Path, measured: Mapping[str, Sequence[pa.Table]]) -> list[Path]:
    """Write one file an encoder, one row group a table; files of an earlier evaluation go.

    Args:
        results: the file that they lie beside.
        measured: a name of each encoder's embeddings, which may recur in another folder's → tables in
            `schema.OUTCOME`, one of each (task, split, level) or narrower.

    Returns:
        The files, in the order of `measured`.
    """
    folder = outcomes_folder(results)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:03d}-{Path(name).name}.parquet" for number, name in enumerate(measured)]
    for file, parts in zip(files, measured.values(), strict=True):
        with tables.open_writer(file, schema.OUTCOME) as writer:
            for part in parts:
                if part.num_rows:
                    writer.write_table(part, row_group_size=part.num_rows)
    for stale in set(folder.glob("*.parquet")) - set(files):
        stale.unlink()
    return files


def comparisons(files: Sequence[Path], settings: Bootstrap, seed: int) -> pa.Table:
    """Compare all encoders in every metric that is a mean over specimens; a Ray task a (task, split, level).

    Args:
        files: from `write_outcomes`; every node must see them.
        settings: of the bootstrap.
        seed: of its draws.

    Returns:
        `schema.COMPARISON`, sorted.
    """
    places = sorted({place for file in files for place in _places(file)})
    run = ray.remote(num_cpus=1, max_retries=2)(_compare_place)
    paths = [file.absolute() for file in files]
    found = ray.get([run.remote(paths, place, settings, seed) for place in places])
    table = pa.concat_tables([schema.COMPARISON.empty_table(), *found])
    sides = [f"{name}_{end}" for end in "ab" for name in ("model", "init", "kind")]
    return table.sort_by([(name, "ascending") for name in (*_PLACE, "metric", *sides)])


def _places(file: Path) -> set[tuple[str, ...]]:
    rows = tables.read(file, _REMEDY, columns=_PLACE).group_by(list(_PLACE)).aggregate([]).to_pylist()
    return {tuple(row[name] for name in _PLACE) for row in rows}


def _compare_place(files: Sequence[Path], place: tuple[str, ...], settings: Bootstrap, seed: int) -> pa.Table:
    samples: dict[str, list[Sample]] = {}
    for file in files:
        table = _rows_of(file, place)
        for metric in sorted(set(table["metric"].to_pylist())):
            samples.setdefault(metric, []).append(_sample(table.filter(pc.equal(table["metric"], metric))))
    compared = [compare(found, settings, seed) for _, found in sorted(samples.items())]
    return pa.concat_tables([schema.COMPARISON.empty_table(), *compared])


def _rows_of(file: Path, place: tuple[str, ...]) -> pa.Table:
    """The rows of one place; row groups without any are not read further."""
    opened = tables.TableFile(file, _REMEDY)
    tables.check_columns(opened.schema, schema.OUTCOME, file, _REMEDY)
    parts = [schema.OUTCOME.empty_table()]
    for group in range(opened.groups):
        found = opened.read_group(group, _PLACE)
        mask = functools.reduce(pc.and_, (pc.equal(found[n], value) for n, value in zip(_PLACE, place, strict=True)))
        if pc.any(mask).as_py():
            parts.append(opened.read_group(group).filter(mask))
    return pa.concat_tables(parts)


def _sample(rows: pa.Table) -> Sample:
    """The rows of one metric of one encoder, as they were measured."""
    first = rows.slice(0, 1).to_pylist()[0]
    arrays = {name: rows[name].to_numpy() for name in ("specimen_id", "value", "weight", "unit")}
    outcome = Outcome(**{name: first[name] for name in (*_PLACE, "metric", "lower_is_better")}, **arrays)
    return Sample(schema.Identity(**{name: first[name] for name in schema.IDENTITY.names}), outcome)
