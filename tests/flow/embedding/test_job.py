"""The embeddings in a folder belong to one encoder and to the present shards."""

import json
import os
import shutil

import pyarrow.parquet as pq
import pytest

from herbray import storage, tables
from herbray.flow.embedding.job import embed
from herbray.flow.embedding.specification import Embed
from herbray.flow.embedding_folder import read_embeddings, read_note
from herbray.flow.shards.manifest import read_manifest
from herbray.flow.training.fingerprints import weights_fingerprint
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.encoder_card import EncoderCard, read_encoder, save_encoder
from herbray.model.portable import load


def encoder_of(folder, seed, **facts):
    made = build_encoder(EncoderSpec(**({"size": 32} | facts)), seed)
    facts = {key: getattr(made, key) for key in ("arch", "stem", "normalise", "size", "dim")}
    shutil.rmtree(folder, ignore_errors=True)
    save_encoder(folder, made, EncoderCard(**facts, classes=("Rubus",), objective="none", init="random", seed=seed))
    return folder


def spec_of(encoder, shards, out, *splits):
    return Embed(model=str(encoder), shards=shards, out=out, splits=splits, actors=0)


def prints(folder):
    return {tables.TableFile(file, "").note["encoder"] for file in folder.glob("split=*/*.parquet")}


def test_another_training_in_the_same_place_has_another_folder(shards, tmp_path):
    encoder = encoder_of(tmp_path / "run" / "encoder", 1)
    first = embed(spec_of(encoder, shards, tmp_path / "out", "random", "species"))
    assert first.name.startswith(f"run-{weights_fingerprint(encoder)[:8]}")
    encoder_of(encoder, 2)
    second = embed(spec_of(encoder, shards, tmp_path / "out", "random"))
    assert second != first
    assert [len(prints(folder)) for folder in (first, second)] == [1, 1]
    assert set(read_embeddings(second)["split"].to_pylist()) == {"random"}


def test_files_of_other_weights_are_removed_and_other_splits_kept(shards, tmp_path, monkeypatch):
    spec = spec_of(encoder_of(tmp_path / "run" / "encoder", 1), shards, tmp_path / "out", "random", "species")
    folder = embed(spec)
    for split in ("species", "herbarium"):
        (folder / f"split={split}").mkdir(exist_ok=True)
        other = next((folder / "split=random").iterdir())
        note = tables.TableFile(other, "").note | {"encoder": "0123456789abcdef"}
        tables.write(folder / f"split={split}" / "part-00000.parquet", tables.read(other, ""), note)
    embed(spec.model_copy(update={"splits": ("random",)}))
    assert prints(folder) == {read_note(folder)["encoder"]}
    embed(spec)
    embed(spec.model_copy(update={"splits": ("random",)}))
    assert set(read_embeddings(folder)["split"].to_pylist()) == {"random", "species"}


def test_equal_weights_with_other_input_settings_are_another_encoder(shards, tmp_path):
    specs = [
        spec_of(encoder_of(tmp_path / name / "run" / "encoder", 1, **facts), shards, tmp_path / "out", "random")
        for name, facts in (("a", {}), ("b", {"size": 40}), ("c", {"normalise": False}))
    ]
    folders = [embed(spec) for spec in specs]
    assert len(set(folders)) == 3
    assert len({read_note(folder)["encoder"] for folder in folders}) == 3
    numbers = [read_embeddings(folder)["embedding"] for folder in folders]
    assert not any(numbers[0].equals(other) for other in numbers[1:])


def test_embeddings_of_an_earlier_version_are_refused_until_remade(shards, tmp_path):
    start = Embed(model="start", start=EncoderSpec(size=32), shards=shards, out=tmp_path, splits=("random",), actors=0)
    folder = embed(start)
    now = read_note(folder), read_embeddings(folder)
    for file in folder.glob("split=*/*.parquet"):  # as in an earlier version: fingerprint of the weights only, no seal
        metadata = {"encoder": now[0]["encoder"][:16], "source": tables.TableFile(file, "").note["source"]}
        pq.write_table(pq.read_table(file).replace_schema_metadata(metadata), file)
    (folder / "manifest.json").write_text(json.dumps({"model": "untrained", "init": "random", "seed": 89}))
    with pytest.raises(ValueError, match="written by an earlier version"):
        read_note(folder)
    assert embed(start) == folder
    assert read_note(folder) == now[0]
    assert read_embeddings(folder).equals(now[1])


def test_while_files_are_made_there_is_no_manifest(shards, tmp_path, monkeypatch):
    spec = spec_of(encoder_of(tmp_path / "run" / "encoder", 1), shards, tmp_path / "out", "random")
    folder = embed(spec)
    next((folder / "split=random").iterdir()).unlink()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("herbray.flow.embedding.embedder.Embedder.embed_file", killed)
    with pytest.raises(KeyboardInterrupt):
        embed(spec)
    assert not (folder / "manifest.json").exists()


def test_a_rewritten_shard_file_is_embedded_again(shards, tmp_path):
    mine = tmp_path / "shards"
    shutil.copytree(shards, mine)
    spec = spec_of(encoder_of(tmp_path / "run" / "encoder", 1), mine, tmp_path / "out", "random")
    before = read_embeddings(embed(spec))
    file = min((mine / "split=random").iterdir())
    groups = tables.TableFile(file, "")
    with tables.open_writer(tmp_path / "new", groups.schema) as new:  # without its first bag
        for number in range(1, groups.groups):
            new.write_table(groups.read_group(number))
        tables.add_note(new, groups.note | {"fingerprint": "another"})
    lost = groups.read_group(0).num_rows
    os.replace(tmp_path / "new", file)
    manifest = read_manifest(mine)
    manifest["splits"]["random"] -= lost
    storage.write_note(mine / "manifest.json", manifest)
    assert read_embeddings(embed(spec)).num_rows == before.num_rows - lost


def test_an_encoder_of_padded_sheets_refuses_cropped_ones(shards, tmp_path):
    encoder = encoder_of(tmp_path / "run" / "encoder", 1)
    tree = {key: value for key, value in json.loads((encoder / "encoder.json").read_text()).items() if key != "sha256"}
    (encoder / "encoder.json").write_text(json.dumps(tree | {"geometry": "pad"}))
    with pytest.raises(ValueError, match=r"of geometry=pad, those of .* are crop: make the shards with geometry=pad"):
        embed(spec_of(encoder, shards, tmp_path / "out", "random"))
    assert load(encoder).geometry == read_encoder(encoder)[0].geometry == "pad"
    del tree["geometry"]  # a card of an earlier version
    (encoder / "encoder.json").write_text(json.dumps(tree))
    assert load(encoder).geometry == read_encoder(encoder)[1].geometry == "crop"
    embed(spec_of(encoder, shards, tmp_path / "out", "random"))
