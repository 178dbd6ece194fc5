import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, recall_score
from sklearn.preprocessing import StandardScaler

from herbray.config import ConfigError, load
from herbray.tasks import UnscorableError
from herbray.tasks.transfer import Transfer

BOTH = ("random", "herbarium")


def counts(scores):
    return {score.metric: score.value for score in scores}


def test_scores_are_those_of_a_probe_fitted_by_hand(embeddings_of):
    embeddings = embeddings_of({"Alba": 40, "Borea": 30, "Erema": 24}, 1.2, splits=BOTH)
    fitted, tested = embeddings.select_splits("random"), embeddings.select_splits("herbarium")
    scaler = StandardScaler().fit(np.asarray(fitted.features, float))
    probe = LogisticRegression(class_weight="balanced", max_iter=5000)
    probe.fit(scaler.transform(np.asarray(fitted.features, float)), fitted.genus.astype(str))
    said = probe.predict(scaler.transform(np.asarray(tested.features, float)))
    found = counts(Transfer(ranks=("genus",)).run(embeddings, "herbarium"))
    truth = tested.genus.astype(str)
    assert found["accuracy"] == pytest.approx((said == truth).mean())
    assert 0.4 < found["accuracy"] < 1.0
    assert found["balanced_accuracy"] == pytest.approx(recall_score(truth, said, average="macro"))
    assert found["f1"] == pytest.approx(f1_score(truth, said, average="macro"))
    assert (found["rows_fitted"], found["rows"]) == (47, 47)


def test_names_that_are_not_fitted_are_left_out_and_those_not_tested_enter_no_mean(embeddings_of):
    embeddings = embeddings_of({"Alba": 40, "Borea": 30, "Erema": 24}, 40.0, splits=BOTH)
    here = embeddings.split == "random"
    genus = embeddings.genus.copy()
    genus[here & (genus == "Erema")] = "Borea"  # Erema is tested and not fitted
    genus[~here & (genus == "Borea")] = "Alba"  # Borea is fitted and not tested
    genus[np.flatnonzero(~here)[0]] = None
    found = counts(Transfer(ranks=("genus",)).run(dataclasses.replace(embeddings, genus=genus), "herbarium"))
    assert (found["classes_fitted"], found["classes"]) == (2, 1)
    assert (found["rows_unknown"], found["rows_undetermined"], found["rows"]) == (12, 1, 34)
    assert found["recall"] == found["accuracy"] == pytest.approx(19 / 34)


def test_duplicates_of_one_plant_are_one_example_of_a_name(embeddings_of):
    embeddings = embeddings_of({"Alba": 40, "Borea": 30, "Erema": 24}, 9.0, splits=BOTH)
    gathering = np.where((embeddings.genus == "Erema") & (embeddings.split == "random"), "one plant", None)
    gathered = dataclasses.replace(embeddings, gathering=gathering)
    found = [counts(Transfer(ranks=("genus",), at_least=least).run(gathered, "herbarium")) for least in (1, 2)]
    assert [each["classes_fitted"] for each in found] == [3, 2]
    assert [each["rows_unknown"] for each in found] == [0, 12]


def test_a_shift_between_herbaria_costs_what_cross_validation_within_one_does_not_see(embeddings_of):
    embeddings = embeddings_of({"Alba": 60, "Borea": 60}, 6.0, splits=BOTH)
    features = embeddings.features.copy()
    features[embeddings.split == "herbarium", 0] += 40.0  # the axis of Alba
    shifted = dataclasses.replace(embeddings, features=features)
    assert counts(Transfer(ranks=("genus",)).run(embeddings, "herbarium"))["accuracy"] > 0.95
    assert counts(Transfer(ranks=("genus",)).run(shifted, "herbarium"))["accuracy"] < 0.7


def test_fitting_and_testing_on_one_split_is_refused():
    with pytest.raises(ConfigError, match="random: fitted and tested"):
        load(Transfer, overrides=["splits=[herbarium+random]"])


def test_splits_that_share_no_name_are_refused(embeddings_of):
    embeddings = embeddings_of({"Alba": 10, "Borea": 10}, 1.0, splits=BOTH)
    genus = np.where(embeddings.split == "herbarium", "Cirra", embeddings.genus)
    with pytest.raises(UnscorableError, match="'random' to 'herbarium', rank 'genus': 2 names are fitted, and 0"):
        Transfer(ranks=("genus",)).run(dataclasses.replace(embeddings, genus=genus), "herbarium")
    with pytest.raises(UnscorableError, match="no embeddings of split 'species'"):
        Transfer(fitted_on="species").run(embeddings, "herbarium")
