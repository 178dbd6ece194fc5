"""Embedding Atlas and FiftyOne."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from export_cases import FORMULA, make_sheets

from herbray.exports.batch import Collection
from herbray.exports.formats import embedding_atlas, fiftyone


def test_embedding_atlas_gets_every_sheet_with_its_place_and_neighbours(batch, tmp_path):
    written = embedding_atlas.write(batch, tmp_path)
    rows = pq.read_table(written.path).to_pylist()
    assert [row["specimen_id"] for row in rows] == make_sheets()["specimen_id"].to_pylist()
    unit = batch.collection.features / np.linalg.norm(batch.collection.features, axis=1, keepdims=True)
    for at, row in enumerate(rows):
        ids = row["neighbors"]["ids"]
        assert ids == [each for each in np.argsort(-(unit @ unit[at])).tolist() if each != at][:3]
        assert row["neighbors"]["distances"] == pytest.approx([1 - unit[at] @ unit[each] for each in ids], abs=1e-5)
    assert np.isfinite([(row["x"], row["y"]) for row in rows]).all()
    status = {row["specimen_id"]: (row["status"], row["suggested"], row["proposed"]) for row in rows}
    assert status["s4"] == ("suggested", FORMULA, None)
    assert status["s2"] == ("wrong", None, "Borea")
    assert status["s6"] == ("disputed", None, "Erema")
    assert status["s9"] == ("right", None, None)


def test_one_sheet_makes_a_map_and_no_features_make_none(batch, tmp_path):
    one = Collection(make_sheets().slice(0, 1), batch.collection.features[:1])
    (row,) = pq.read_table(embedding_atlas.write(replace(batch, collection=one), tmp_path).path).to_pylist()
    assert row["neighbors"] == {"ids": [], "distances": []}
    with pytest.raises(ValueError, match="set embeddings to an embeddings folder"):
        embedding_atlas.write(replace(batch, collection=Collection(make_sheets())), tmp_path)


def test_fiftyone_gets_sheets_with_images_on_this_machine(batch, tmp_path):
    written = fiftyone.write(batch, tmp_path)
    samples = json.loads((written.path / "samples.json").read_text(encoding="utf-8"))["samples"]
    assert len(samples) == written.rows == 8
    assert written.left_out == {fiftyone.NO_FILE: 1}
    sample = next(each for each in samples if each["specimen_id"] == "s1")
    assert sample["filepath"] == "/sheets/s1.jpg"
    assert sample["tags"] == ["maybe"]
    assert sample["suggested"] == {"_cls": "Classification", "label": "Borea", "confidence": 0.875, "tags": []}
    assert sample["given"]["confidence"] == 0.02
    assert json.loads((written.path / "metadata.json").read_text(encoding="utf-8"))["info"]["batch"] == batch.id
