from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest

from herbray import schema, tables
from herbray.flow.evaluation.outcomes import comparisons_file
from herbray.flow.study.report_job import Report, report
from herbray.flow.training.fingerprints import read_identity
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.encoder_card import EncoderCard, read_encoder, save_encoder
from herbray.storage import write_note

URI = "models:/herbray-triplet/1"


def note_of(model, encoder="0a1b", **facts):
    identity = schema.Identity(model, encoder, model, f"kind of {model}", "random", "drawn", 1)
    note = asdict(identity) | {"version": "herbray-triplet v1", "uri": URI, "dim": 512, "settings": {}}
    return note | facts


def comparison(model_a, model_b):
    row = {"task": "mislabel", "split": "random", "level": "Rosa–Rubus", "metric": "tpr", "better": "b"}
    for end, model in (("a", model_a), ("b", model_b)):
        row |= {f"{name}_{end}": value for name, value in note_of(model).items()}
        row |= {f"seeds_{end}": 1, f"encoders_{end}": ["0a1b"]}
    return row | {"lower_is_better": False, "specimens": 9, "difference": -0.2, "low": -0.3, "high": -0.1}


def embedded(folder, note):
    write_note(folder / "manifest.json", note)
    row = {"specimen_id": "NY1", "split": "random", "embedding": np.zeros(2, np.float32)}
    table = pa.Table.from_pylist([row], schema=schema.embedding_schema(2))
    tables.write(folder / "split=random" / "part-00000.parquet", table)


@pytest.fixture
def spec(tmp_path):
    """What the jobs before it leave, as small as it can be."""
    embedded(tmp_path / "embeddings" / "a", note_of("triplet", settings={"optimizer": {"lr": 0.0125}}))
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
    rows = pa.Table.from_pylist([comparison("classifier", "triplet")], schema=schema.COMPARISON)
    tables.write(comparisons_file(spec.results), rows)
    page = report(spec).read_text(encoding="utf-8")
    assert "agrees in the only comparison" in page
    assert '<td class="ours">0.0125</td>' in page
    assert '<td class="ours">512 numbers</td>' in page


def test_without_either_the_page_is_made_all_the_same(spec):
    page = report(spec).read_text(encoding="utf-8")
    assert 'id="study"' not in page
    assert "herbray-triplet v1" in page


def test_tables_of_an_earlier_version_are_refused_with_the_command_that_makes_them_again(spec):
    """Read by today's columns, an old table would give encoders without a name."""
    old = ["model", "init", "seed", "task", "split", "level", "fold", "metric", "value"]
    for file, columns in ((spec.results, old), (comparisons_file(spec.results), ["model_a", "model_b", "low"])):
        now = file.read_bytes() if file.exists() else b""
        tables.write(file, pa.table({name: pa.array([], pa.string()) for name in columns}))
        told = f"{file}: not a table of this version of herbray .* `herbray evaluate` with out={spec.results}"
        with pytest.raises(ValueError, match=told):
            report(spec)
        file.write_bytes(now)


@pytest.mark.slow
def test_a_run_is_found_by_its_encoder_and_not_by_a_version_of_another_registry(spec, tmp_path):
    made = build_encoder(EncoderSpec(size=32), 1)
    facts = {key: getattr(made, key) for key in ("arch", "stem", "normalise", "size", "dim")}
    card = EncoderCard(**facts, classes=(), objective="triplet", init="random", seed=1)
    for name, seed, epochs in (("mine", 1, 7.0), ("theirs", 2, 5.0)):
        folder = spec.runs[0] / name
        save_encoder(folder / "encoder", build_encoder(EncoderSpec(size=32), seed), card)
        figures = {"epoch": epochs, "images": 1}
        write_note(folder / "trained.json", {"uri": URI, "objective": "triplet", "run_id": name, "figures": figures})
    folder = spec.runs[0] / "mine" / "encoder"
    identity = asdict(read_identity(folder, read_encoder(folder)[1]))
    write_note(tmp_path / "embeddings" / "a" / "manifest.json", note_of("triplet") | identity)
    page = report(spec).read_text(encoding="utf-8")
    assert "<code>mine</code>" in page
    assert "<code>theirs</code>" not in page


def test_encoders_of_one_model_are_distinguished_in_the_report(spec, tmp_path):
    embedded(tmp_path / "embeddings" / "b", note_of("triplet", "2c3d", seed=2))
    faster = {"kind": "faster", "settings": {"optimizer": {"lr": 0.5}}}
    embedded(tmp_path / "embeddings" / "c", note_of("triplet", "4e5f", **faster))
    page = report(spec).read_text(encoding="utf-8")
    assert page.count("triplet (lr=0.0125)") == 2
    assert page.count("triplet (lr=0.5)") == 1
