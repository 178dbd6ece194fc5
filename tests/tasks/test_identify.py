import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from herbray.tasks import Embeddings, UnscorableError
from herbray.tasks.identify import Identify
from herbray.tasks.methods.classes import select_classes

SIZES = {"Alba": 25, "Borea": 25, "Cirra": 25, "Erema": 25}


def mean(scores, level, metric):
    values = [score.value for score in scores if (score.level, score.metric) == (level, metric) and score.fold >= 0]
    assert len(values) == 5
    return np.mean(values)


def count(scores, level, metric):
    (value,) = [score.value for score in scores if (score.level, score.metric, score.fold) == (level, metric, -1)]
    return value


def test_separated_clusters_are_named_perfectly_at_every_rank(embeddings_of):
    scores = Identify().run(embeddings_of(SIZES, separation=40.0), "random")
    for rank in ("genus", "family", "order"):
        for metric in ("accuracy", "precision", "recall", "f1", "balanced_accuracy", "auroc"):
            assert mean(scores, rank, metric) == 1.0, (rank, metric)
    assert mean(scores, "genus", "majority") == 0.25
    assert mean(scores, "order", "majority") == 0.75


def test_features_without_signal_stay_near_chance(embeddings_of):
    scores = Identify(ranks=("genus",)).run(embeddings_of(SIZES, separation=0.0), "random")
    assert 0.1 < mean(scores, "genus", "balanced_accuracy") < 0.4
    assert 0.35 < mean(scores, "genus", "auroc") < 0.65


def test_small_classes_and_undetermined_specimens_are_left_out_and_counted(table_of):
    table = table_of({"Alba": 12, "Borea": 10, "Cirra": 4, "Erema": 11}, separation=20.0)
    genus = table["genus"].to_pylist()
    genus[-1] = None
    table = table.set_column(table.column_names.index("genus"), table.schema.field("genus"), pa.array(genus))
    scores = Identify(ranks=("genus",)).run(Embeddings.from_table(table), "random")
    counted = {score.metric: score.value for score in scores if score.fold == -1}
    assert counted == {
        "classes": 3,
        "rows": 32,
        "classes_left_out": 1,
        "rows_left_out": 4,
        "rows_undetermined": 1,
    }
    assert mean(scores, "genus", "accuracy") == 1.0


def test_species_and_institution_are_read_off_on_request(embeddings_of):
    scores = Identify(ranks=("species", "institution")).run(embeddings_of(SIZES, separation=10.0), "random")
    assert count(scores, "species", "classes") == 8
    assert count(scores, "institution", "classes") == 2
    assert 0.3 < mean(scores, "species", "accuracy") < 0.7  # genus is plain, which of two species is not
    assert 0.3 < mean(scores, "institution", "auroc") < 0.7


def test_a_rank_with_one_class_is_refused_with_split_and_rank(embeddings_of):
    embeddings = embeddings_of({"Alba": 20, "Borea": 20}, separation=3.0)
    with pytest.raises(UnscorableError, match="split 'random', rank 'family': 1 of 1 classes"):
        Identify().run(embeddings, "random")
    with pytest.raises(UnscorableError, match="rank 'genus': 0 of 2 classes have the 30 gatherings"):
        Identify(folds=30, ranks=("genus",)).run(embeddings, "random")


def test_parts_are_one_rank_each():
    assert [part.ranks for part in Identify().parts()] == [("genus",), ("family",), ("order",)]


def test_a_class_of_one_gathering_is_left_out_and_counted(embeddings_of):
    embeddings = embeddings_of({"Alba": 20, "Borea": 20, "Erema": 12}, separation=20.0)
    gathering = np.where(embeddings.genus == "Erema", "one plant", None)
    scores = Identify(ranks=("genus",)).run(dataclasses.replace(embeddings, gathering=gathering), "random")
    counted = {score.metric: score.value for score in scores if score.fold == -1}
    assert (counted["classes"], counted["rows"]) == (2, 40)
    assert (counted["classes_left_out"], counted["rows_left_out"]) == (1, 12)
    assert mean(scores, "genus", "accuracy") == 1.0


def test_usable_numbers_the_kept_classes_alphabetically():
    labels = np.array(["b", None, "c", "a", "b", "c", "b"], dtype=object)
    rows, classes, counts = select_classes(labels, np.arange(7), 2)
    assert rows.tolist() == [0, 2, 4, 5, 6]
    assert classes.tolist() == [0, 1, 0, 1, 0]
    assert counts["classes_left_out"] == counts["rows_left_out"] == counts["rows_undetermined"] == 1
    empty = select_classes(np.array([None, None], dtype=object), np.arange(2), 2)
    assert len(empty[0]) == len(empty[1]) == 0
    assert empty[2]["rows_undetermined"] == 2


def test_usable_counts_units_not_rows():
    labels = np.array(["a", "a", "a", "b", "b", "b", "a", None], dtype=object)
    units = np.array([2**40, 2**40, 2**40, 3, 4, 2**40, 2**40, 4])  # codes of any size; one unit holds a and b
    rows, classes, counts = select_classes(labels, units, 2)
    assert rows.tolist() == [3, 4, 5]
    assert classes.tolist() == [0, 0, 0]
    assert counts == {"classes": 1, "rows": 3, "classes_left_out": 1, "rows_left_out": 4, "rows_undetermined": 1}
