import numpy as np
import pyarrow as pa
import pytest

from herbray import schema, tables
from herbray.flow.outcomes import comparisons_file
from herbray.flow.publish import Report, report
from herbray.model.checkpoint import EncoderCard
from herbray.storage import write_note

URI = "models:/herbray-triplet/1"


def comparison(model_a, model_b):
    row = {"task": "mislabel", "split": "random", "level": "Rosa–Rubus", "metric": "tpr", "better": "b"}
    row |= {"model_a": model_a, "init_a": "random", "seeds_a": 1, "model_b": model_b, "init_b": "random", "seeds_b": 1}
    return row | {"specimens": 9, "difference": -0.2, "low": -0.3, "high": -0.1}


@pytest.fixture
def spec(tmp_path):
    """What the jobs before it leave, as small as it can be."""
    note = {"model": "triplet", "init": "random", "seed": 1, "version": "herbray-triplet v1", "uri": URI}
    write_note(tmp_path / "embeddings" / "a" / "manifest.json", note)
    row = {"specimen_id": "NY1", "split": "random", "embedding": np.zeros(2, np.float32)}
    table = pa.Table.from_pylist([row], schema=schema.embedding_schema(2))
    tables.write(tmp_path / "embeddings" / "a" / "split=random" / "part-00000.parquet", table)
    write_note(tmp_path / "shards" / "manifest.json", {"splits": {"random": 1}})
    tables.write(tmp_path / "shards" / "index.parquet", schema.INDEX.empty_table())
    tables.write(tmp_path / "results.parquet", schema.RESULT.empty_table())
    write_note(tmp_path / "train" / "t" / "trained.json", {"uri": URI, "objective": "triplet", "figures": {}})
    return Report(
        results=tmp_path / "results.parquet",
        shards=tmp_path / "shards",
        embeddings=(tmp_path / "embeddings",),
        runs=(tmp_path / "train",),
        out=tmp_path / "report.html",
        projection="pca",
    )


def test_comparisons_and_settings_of_the_trainings_reach_the_page(spec):
    kinds = {"arch": "resnet18", "stem": "standard", "normalise": False, "size": 64, "dim": 512, "classes": []}
    card = EncoderCard(**kinds, objective="triplet", init="random", seed=1, spec={"optimizer": {"lr": 0.0125}})
    (spec.runs[0] / "t" / "encoder").mkdir()
    (spec.runs[0] / "t" / "encoder" / "encoder.json").write_text(card.model_dump_json())
    rows = pa.Table.from_pylist([comparison("classifier", "triplet")], schema=schema.COMPARISON)
    tables.write(comparisons_file(spec.results), rows)
    page = report(spec).read_text(encoding="utf-8")
    assert "agrees in the one comparison" in page
    assert '<td class="ours">0.0125</td>' in page
    assert '<td class="ours">512 numbers</td>' in page


def test_without_either_the_page_is_made_all_the_same(spec):
    page = report(spec).read_text(encoding="utf-8")
    assert 'id="study"' not in page
    assert "herbray-triplet v1" in page
