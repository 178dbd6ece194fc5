"""The outcomes of an evaluation, one per specimen and metric, and the comparisons of encoders computed from them."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import ray

from herbray import schema, storage, tables
from herbray.tasks import Outcome
from herbray.tasks.methods.bootstrap import Bootstrap, Sample, compare_kinds

_TEST = ("task", "split", "level")
_REMEDY = "run the same `herbray evaluate` again"


def outcomes_folder(results: Path) -> Path:
    """The folder with the outcomes of a results file: `results.parquet` → `results-outcomes/`."""
    return results.with_name(f"{results.stem}-outcomes")


def comparisons_file(results: Path) -> Path:
    """The file with the comparisons of a results file: `results.parquet` → `results-comparisons.parquet`."""
    return results.with_name(f"{results.stem}-comparisons.parquet")


def describe_remedy(results: Path) -> str:
    """What to do about a damaged, missing or outdated file of results."""
    return f"run `herbray evaluate` with out={results} to compute the results again"


def write_outcomes(results: Path, measured: Mapping[str, Sequence[pa.Table]]) -> list[Path]:
    """Write one file per encoder, with one row group per table; files of an earlier evaluation are removed.

    Args:
        results: the results file, next to which the outcomes are written.
        measured: path of an encoder's embeddings → tables in `schema.OUTCOME`, each of one (task, split, level) or of
            a part of it.

    Returns:
        The files, in the order of `measured`.
    """
    folder = outcomes_folder(results)
    storage.make_folder(folder)
    files = [folder / f"{number:03d}-{Path(name).name}.parquet" for number, name in enumerate(measured)]
    for file, parts in zip(files, measured.values(), strict=True):
        with tables.open_writer(file, schema.OUTCOME) as writer:
            for part in parts:
                if part.num_rows:
                    writer.write_table(part, row_group_size=part.num_rows)
    for stale in set(storage.glob(folder, "*.parquet")) - set(files):
        storage.remove(stale)
    return files


def compare_encoders(files: Sequence[Path], settings: Bootstrap, seed: int) -> pa.Table:
    """Compare all encoders in every metric that is a mean over specimens; one Ray task per (task, split, level).

    Args:
        files: the files from `write_outcomes`, on storage that all nodes share.
        settings: settings of the bootstrap.
        seed: seed of the bootstrap's draws.

    Returns:
        `schema.COMPARISON`, sorted.
    """
    tests = sorted({test for file in files for test in _read_tests(file)})
    run = ray.remote(num_cpus=1, max_retries=2)(_compare_test)
    paths = [file.absolute() for file in files]
    found = ray.get([run.remote(paths, test, settings, seed) for test in tests])
    table = pa.concat_tables([schema.COMPARISON.empty_table(), *found])
    sides = [f"{name}_{end}" for end in "ab" for name in ("model", "init", "kind")]
    return table.sort_by([(name, "ascending") for name in (*_TEST, "metric", *sides)])


def _read_tests(file: Path) -> set[tuple[str, ...]]:
    rows = tables.read(file, _REMEDY, columns=_TEST).group_by(list(_TEST)).aggregate([]).to_pylist()
    return {tuple(row[name] for name in _TEST) for row in rows}


def _compare_test(files: Sequence[Path], test: tuple[str, ...], settings: Bootstrap, seed: int) -> pa.Table:
    samples: dict[str, list[Sample]] = {}
    for file in files:
        table = _read_rows(file, test)
        for metric in sorted(set(table["metric"].to_pylist())):
            samples.setdefault(metric, []).append(_to_sample(table.filter(pc.equal(table["metric"], metric))))
    compared = [compare_kinds(found, settings, seed) for _, found in sorted(samples.items())]
    return pa.concat_tables([schema.COMPARISON.empty_table(), *compared])


def _read_rows(file: Path, test: tuple[str, ...]) -> pa.Table:
    """The rows of one (task, split, level). Of row groups without such rows only the key columns are read."""
    opened = tables.TableFile(file, _REMEDY)
    tables.check_columns(opened.schema, schema.OUTCOME, file, _REMEDY)
    parts = [schema.OUTCOME.empty_table()]
    for group in range(opened.groups):
        found = opened.read_group(group, _TEST)
        mask = functools.reduce(pc.and_, (pc.equal(found[n], value) for n, value in zip(_TEST, test, strict=True)))
        if pc.any(mask).as_py():
            parts.append(opened.read_group(group).filter(mask))
    return pa.concat_tables(parts)


def _to_sample(rows: pa.Table) -> Sample:
    """The sample in the rows of one metric of one encoder."""
    first = rows.slice(0, 1).to_pylist()[0]
    arrays = {name: rows[name].to_numpy() for name in ("specimen_id", "value", "weight", "unit")}
    outcome = Outcome(**{name: first[name] for name in (*_TEST, "metric", "lower_is_better")}, **arrays)
    return Sample(schema.Identity(**{name: first[name] for name in schema.IDENTITY.names}), outcome)
