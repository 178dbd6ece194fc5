import csv
import json
import os

import numpy as np
import pyarrow as pa
import pytest

from herbray import schema, storage, tables
from herbray.config import ConfigError, load
from herbray.exports.formats import FORMATS
from herbray.flow.export import Export, export

HEADER = "at,reviewer,specimen_id,rank,given,verdict,name"
NAMES = ("Alba", "Borea")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Embeddings and suspects of twelve sheets."""
    root = tmp_path_factory.mktemp("export")
    generator, rows, listed = np.random.default_rng(0), [], []
    for number in range(12):
        row = dict.fromkeys(schema.SPECIMEN.names) | {"specimen_id": f"s{number:02d}", "genus": NAMES[number % 2]}
        row |= {"institution": "NY", "catalog_number": f"NY{number}", "split": ("random", "species")[number % 2]}
        rows.append(row | {"embedding": generator.standard_normal(4).astype(np.float32)})
        doubt = {"place": number + 1, "specimen_id": row["specimen_id"], "rank": "genus", "given": row["genus"]}
        doubt |= {"suggested": NAMES[1 - number % 2], "given_probability": 0.1, "suggested_probability": 0.9}
        doubt |= {"wrong_probability": 0.6 if number < 4 else 0.1, "kind": "name"}
        listed.append(doubt | {"suspected": number < 4, "neighbours": [], "neighbour_names": []})
    for split in ("random", "species"):
        part = [row for row in rows if row["split"] == split]
        path = root / "encoder" / f"split={split}" / "part-00000.parquet"
        tables.write(path, pa.Table.from_pylist(part, schema=schema.embedding_schema(4)))
    note = {"name": "encoder", "uri": "models:/herbray-triplet/3", "version": "herbray-triplet v3", "encoder": "a1b2"}
    storage.write_note(root / "encoder" / "manifest.json", note)
    path = root / "suspects" / "suspects.parquet"
    tables.write(path, pa.Table.from_pylist(listed, schema=schema.SUSPECT), {"encoder": "a1b2"})
    os.utime(path, (0, 1_772_000_000))
    (root / "verdicts.csv").write_text(f"{HEADER}\n2026-03-01T09:30:00Z,Ada,s01,genus,Borea,wrong,Alba\n")
    return root


def spec(runs, tmp_path, **settings):
    return Export(embeddings=runs / "encoder", suspects=runs / "suspects", out=tmp_path / "out", **settings)


def test_every_format_is_written_and_told(runs, tmp_path):
    done = export(spec(runs, tmp_path, verdicts=runs / "verdicts.csv", neighbours=2))
    lines = str(done).splitlines()
    assert lines[0] == f"3 suggestions and 1 verdicts, batch {done.batch.id}"
    assert lines[1] == "left out: 1 because reviewers have decided on this suggestion"
    assert len(lines) == 2 + len(FORMATS)
    assert f"{tmp_path}/out/symbiota-determinations.csv: 4 determinations" in lines
    assert all(written.path.exists() for written in done.written)
    with done.written[0].path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["catalogNumber"], row["sciname"], row["identifiedBy"].split(",")[-1]) for row in rows] == [
        ("NY0", "Borea", " encoder herbray-triplet v3"),
        ("NY2", "Borea", " encoder herbray-triplet v3"),
        ("NY3", "Alba", " encoder herbray-triplet v3"),
        ("NY1", "Alba", "Ada"),
    ]
    assert rows[0]["dateIdentified"] == "2026-02-25"  # when the list was written


def test_the_list_may_be_cut_or_exported_as_a_whole_with_a_date_of_ones_own(runs, tmp_path):
    some = spec(runs, tmp_path, formats=["web-annotations"], only_suspected=False, most=7, date="2026-01-02")
    tree = json.loads(export(some).written[0].path.read_text(encoding="utf-8"))
    assert tree["total"] == 7
    assert {item["created"] for item in tree["first"]["items"]} == {"2026-01-02T00:00:00Z"}


def test_verdicts_can_be_exported_alone(runs, tmp_path):
    settings = {"embeddings": runs / "encoder", "suspects": None, "out": tmp_path, "formats": ["darwin-core"]}
    done = export(Export(**settings, verdicts=runs / "verdicts.csv", current=True))
    assert [each.by for each in done.batch.opinions] == ["Ada"]
    with pytest.raises(ValueError, match="no verdicts, and no suspects are set"):
        export(Export(**settings))


def test_the_features_are_read_only_for_the_formats_that_need_them(runs, tmp_path):
    assert export(spec(runs, tmp_path, formats=["fiftyone"])).batch.collection.features is None
    assert export(spec(runs, tmp_path, formats=["embedding-atlas"])).batch.collection.features.shape == (12, 4)


def test_what_does_not_fit_together_is_refused(runs, tmp_path):
    other = tmp_path / "other.parquet"
    tables.write(other, tables.read(runs / "suspects" / "suspects.parquet", ""), {"encoder": "ffff"})
    with pytest.raises(ValueError, match="of another encoder"):
        export(Export(embeddings=runs / "encoder", suspects=other, out=tmp_path))
    with pytest.raises(ValueError, match="run `herbray suspects` with out="):
        export(Export(embeddings=runs / "encoder", suspects=tmp_path / "nowhere", out=tmp_path))
    with pytest.raises(ConfigError, match=r"formats\.0: no format 'symbota'; there are symbiota, darwin-core"):
        load(Export, overrides=["formats=[symbota]"])
    with pytest.raises(ConfigError, match="date: write a day"):
        load(Export, overrides=["date='1.3.2026'"])
