import dataclasses
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from herbray import schema
from herbray.config import ConfigError, load
from herbray.tasks import TASKS, Embeddings, Score, UnscorableError, to_result_table
from herbray.tasks.identify import Identify
from herbray.tasks.methods.probe import ProbeTask


def with_column(table, name, values):
    return table.set_column(table.column_names.index(name), table.schema.field(name), values)


def with_features(table, change):
    features = np.stack(table["embedding"].to_pylist()).astype(np.float32)
    change(features)
    column = pa.FixedSizeListArray.from_arrays(features.ravel(), features.shape[1])
    return with_column(table, "embedding", column)


def test_a_table_in_any_order_becomes_the_same_embeddings(five_genera):
    shuffled = five_genera.take(np.random.default_rng(3).permutation(len(five_genera)))
    one, other = Embeddings.from_table(five_genera), Embeddings.from_table(shuffled)
    for field in dataclasses.fields(Embeddings):
        assert np.array_equal(getattr(one, field.name), getattr(other, field.name)), field.name
    assert one.features.dtype == np.float32
    assert list(one.specimen_id) == sorted(five_genera["specimen_id"].to_pylist())


def test_a_sliced_table_read_back_from_parquet_keeps_each_row_with_its_features(five_genera, tmp_path):
    pq.write_table(five_genera, tmp_path / "embeddings.parquet", row_group_size=17)
    part = pq.read_table(tmp_path / "embeddings.parquet").slice(11, 60)
    embeddings = Embeddings.from_table(part)
    wanted = {row["specimen_id"]: row["embedding"] for row in part.to_pylist()}
    assert len(embeddings) == 60
    for name, features in zip(embeddings.specimen_id, embeddings.features, strict=True):
        assert features.tolist() == wanted[name]


def test_take_by_mask_and_by_indices_agree_and_keep_the_order_of_ids(five_genera):
    embeddings = Embeddings.from_table(five_genera)
    mask = embeddings.genus == "Borea"
    backwards = np.flatnonzero(mask)[::-1]
    assert list(embeddings.take(mask).specimen_id) == list(embeddings.take(backwards).specimen_id)
    assert set(embeddings.take(mask).genus) == {"Borea"}


def test_undetermined_labels_are_none(five_genera):
    genus = five_genera["genus"].to_pylist()
    embeddings = Embeddings.from_table(with_column(five_genera, "genus", pa.array([None, *genus[1:]])))
    assert embeddings.rank("genus")[0] is None
    assert set(embeddings.true_species) == {None}


def test_pooled_splits_hold_both_and_nothing_else(embeddings_of):
    embeddings = embeddings_of({"Alba": 9, "Borea": 9}, 1.0, splits=("herbarium", "random", "species"))
    pooled = embeddings.select_splits("herbarium+random")
    assert len(pooled) == 12
    assert set(pooled.split) == {"herbarium", "random"}
    with pytest.raises(UnscorableError, match=r"no embeddings of split 'train'.*herbarium"):
        embeddings.select_splits("train")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused_with_their_specimen(five_genera, value):
    def spoil(features):
        features[4, 2] = value

    with pytest.raises(ValueError, match="1 of 126 embeddings contain non-finite numbers, first 'Alba-0004'"):
        Embeddings.from_table(with_features(five_genera, spoil))


def test_tables_that_cannot_be_used_are_refused_with_the_reason(five_genera):
    with pytest.raises(ValueError, match="lacks \\['genus'\\]"):
        Embeddings.from_table(five_genera.drop_columns(["genus"]))
    with pytest.raises(ValueError, match="'Alba-0000' occurs twice"):
        Embeddings.from_table(pa.concat_tables([five_genera, five_genera.slice(0, 1)]))
    with pytest.raises(ValueError, match="fixed_size_list"):
        Embeddings.from_table(with_column_type(five_genera, pa.list_(pa.float32())))
    nulls = pa.array([None, *five_genera["embedding"].to_pylist()[1:]], pa.list_(pa.float32(), 16))
    with pytest.raises(ValueError, match="nulls"):
        Embeddings.from_table(five_genera.drop_columns(["embedding"]).append_column("embedding", nulls))


def with_column_type(table, kind):
    return table.drop_columns(["embedding"]).append_column("embedding", table["embedding"].cast(kind))


def test_embeddings_out_of_order_or_of_unequal_lengths_are_refused(five_genera):
    embeddings = Embeddings.from_table(five_genera)
    with pytest.raises(ValueError, match="from_table, which sorts"):
        dataclasses.replace(embeddings, specimen_id=embeddings.specimen_id[::-1])
    with pytest.raises(ValueError, match="genus has 125 values for 126 specimens"):
        dataclasses.replace(embeddings, genus=embeddings.genus[1:])


def test_the_error_for_an_unknown_rank_suggests_the_closest_one(five_genera):
    with pytest.raises(ValueError, match="unknown rank 'genera'; did you mean 'genus'"):
        Embeddings.from_table(five_genera).rank("genera")
    with pytest.raises(ConfigError, match="did you mean 'family'"):
        load(Identify, overrides=["ranks=[familly]"])


@pytest.mark.parametrize("kind", TASKS.values())
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("splits=[herbarum]", "did you mean 'herbarium'"),
        ("splits=[random+random]", "twice"),
        ("splits=[random, random]", "occurs twice"),
        ("splits=[]", "at least 1"),
        ("splitz=[random]", "did you mean 'splits'"),
        ("threads=0", "greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_refused_by_every_task(kind, override, message):
    with pytest.raises(ConfigError, match=message):
        load(kind, overrides=[override])


@pytest.mark.parametrize("kind", [kind for kind in TASKS.values() if issubclass(kind, ProbeTask)])
@pytest.mark.parametrize(
    ("override", "message"), [("folds=1", "greater than or equal to 2"), ("fold=5", "did you mean 'folds'")]
)
def test_wrong_settings_are_refused_by_every_cross_validated_task(kind, override, message):
    with pytest.raises(ConfigError, match=message):
        load(kind, overrides=[override])


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="auroc"):
        Score("identify", "random", "genus", 0, "auroc", math.nan)


def test_scores_become_rows_of_the_result_schema():
    who = schema.Identity("margin 1", "0a1b", "triplet", "2c3d", "imagenet", "4e5f", 89)
    table = to_result_table([Score("identify", "random", "genus", 2, "accuracy", 0.5)], who)
    assert table.schema == schema.RESULT
    assert table.to_pylist() == [
        {
            "model": "margin 1",
            "encoder": "0a1b",
            "objective": "triplet",
            "kind": "2c3d",
            "init": "imagenet",
            "start_kind": "4e5f",
            "seed": 89,
            "task": "identify",
            "split": "random",
            "level": "genus",
            "fold": 2,
            "metric": "accuracy",
            "value": 0.5,
        }
    ]
    assert to_result_table([], who).schema == schema.RESULT
