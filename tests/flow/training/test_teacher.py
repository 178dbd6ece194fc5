import numpy as np
import pytest

from herbray import config
from herbray.data.planning.plan import Stream
from herbray.flow.embedding.job import embed
from herbray.flow.embedding.specification import Embed
from herbray.flow.embedding_folder import read_embeddings
from herbray.flow.input.batches import sequential_batches
from herbray.flow.input.window_reader import WindowReader
from herbray.flow.shards.build import Shard
from herbray.flow.shards.specimens import read_specimens
from herbray.flow.study.preflight import check_training, split_catalogue
from herbray.flow.training.job import fit
from herbray.flow.training.metrics_log import read_metrics
from herbray.flow.training.runs.identity import run_name
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import read_training_data
from herbray.model.encoder import EncoderSpec
from herbray.model.encoder_card import read_encoder

ENCODER = {"arch": "mobilenet_v3_small", "size": 32}


@pytest.fixture(scope="module")
def embedded(shards, tmp_path_factory):
    """Embeddings of two teachers: of the splits that training needs, and of the validation split alone."""
    out = tmp_path_factory.mktemp("teacher")
    place = {"shards": shards, "store": out, "actors": 0, "model": "start"}
    both = embed(Embed(start=EncoderSpec(**ENCODER), seed=7, splits=("train", "validation"), out=out / "a", **place))
    less = embed(Embed(start=EncoderSpec(**ENCODER), seed=8, splits=("validation",), out=out / "b", **place))
    return both, less


def spec_of(shards, out, teacher, **values):
    objective = {"name": "distil", "teacher": str(teacher)} | values.pop("objective", {})
    common = {"encoder": ENCODER, "stream": {"batch": 16, "window": 8, "align": 2}, "epochs": 2, "workers": 0}
    return config.parse(
        Train, common | {"objective": objective, "shards": shards, "out": out, "store": out, "seed": 1} | values
    )


def test_the_targets_of_a_batch_are_the_teachers_embeddings_of_its_specimens(shards, tmp_path, embedded):
    spec = spec_of(shards, tmp_path, embedded[0])
    data = read_training_data(spec)
    table = read_embeddings(embedded[0])
    due = dict(zip(table["specimen_id"].to_pylist(), table["embedding"].to_pylist(), strict=True))
    places = read_specimens(shards, data.index, "train").to_pylist()
    bags = sorted({(row["file"], row["row_group"]) for row in places})
    specimen = {(bags.index((row["file"], row["row_group"])), row["row"]): row["specimen_id"] for row in places}
    for batch in sequential_batches(data.windows[:2], WindowReader(shards, data.manifest["side"])):
        found = data.teacher.find(batch.rows).numpy()
        ids = [specimen[row >> 32, row & 0xFFFFFFFF] for row in batch.rows.tolist()]
        np.testing.assert_array_equal(found, np.array([due[each] for each in ids], np.float32))
    sample = data.validation.specimens["specimen_id"].to_pylist()
    np.testing.assert_array_equal(data.teacher.validation, np.array([due[each] for each in sample], np.float32))


@pytest.mark.parametrize("beside", [None, {"name": "triplet", "group": 4}], ids=["alone", "beside"])
def test_an_encoder_learns_from_a_teacher_and_repeats_itself(shards, tmp_path, embedded, beside):
    fits = [fit(spec_of(shards, tmp_path / str(i), embedded[0], objective={"beside": beside})) for i in range(2)]
    weights = [read_encoder(each.encoder)[0].state_dict() for each in fits]
    assert all(bool((weights[0][name] == weights[1][name]).all()) for name in weights[0])
    rows = read_metrics(tmp_path / "0" / "metrics.jsonl")
    assert rows[-1]["train_distance"] < rows[0]["train_distance"]
    assert rows[-1]["val_loss"] > 0


@pytest.mark.long
def test_two_workers_of_a_cluster_learn_from_a_teacher_with_a_relative_path(shards, tmp_path, embedded, monkeypatch):
    monkeypatch.chdir(embedded[0].parent)
    spec = spec_of(shards, tmp_path, embedded[0].name, workers=2, cpus_per_worker=1, epochs=1)
    assert fit(spec).figures["val_loss"] > 0


def test_a_run_is_named_by_its_teachers_content(shards, tmp_path, embedded):
    moved = tmp_path / "moved"
    moved.symlink_to(embedded[0])
    names = [run_name(spec_of(shards, tmp_path, folder)) for folder in (embedded[0], moved, embedded[1])]
    assert names[0] == names[1] != names[2]


def test_specimens_without_an_embedding_are_reported_before_training(shards, tmp_path, embedded):
    spec = spec_of(shards, tmp_path, embedded[1], stream=Stream(batch=16, window=8, align=2).model_dump())
    message = r"of the split train have no embedding.*splits=\[train, validation\]"
    with pytest.raises(ValueError, match=message):
        fit(spec)
    with pytest.raises(ValueError, match="no embeddings here"):
        fit(spec_of(shards, tmp_path, tmp_path / "nowhere"))


def test_a_study_refuses_a_teacher_of_other_specimens_before_there_are_shards(shards, herbarium, tmp_path, embedded):
    splits = {"species": 0.1, "random": 0.2, "validation": 0.25}
    planned = config.parse(Shard, {"catalogue": str(herbarium), "splits": splits, "side": 40, "bag": 8})
    specimens = split_catalogue(planned)
    check_training(spec_of(shards, tmp_path, embedded[0]), planned, specimens)
    for teacher, message in ((embedded[1], "none of the .* training specimens"), (tmp_path, "no embeddings here")):
        with pytest.raises(ValueError, match=f"distil: .*{message}"):
            check_training(spec_of(shards, tmp_path, teacher), planned, specimens)
