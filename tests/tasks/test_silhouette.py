from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from herbray.tasks import UnscorableError, silhouette
from herbray.tasks.silhouette import Silhouette


def by_hand(features, names, distance):
    values = []
    for row in range(len(names)):
        means = {}
        for name in set(names):
            others = [other for other in range(len(names)) if other != row and names[other] == name]
            means[name] = np.mean([distance(features[row], features[other]) for other in others])
        own = means.pop(names[row])
        other = min(means.values())
        values.append((other - own) / max(own, other))
    return values


def euclidean(a, b):
    return np.sqrt(((a - b) ** 2).sum())


def cosine(a, b):
    return 1 - a @ b / np.sqrt((a @ a) * (b @ b))


def test_values_are_those_of_the_definition_in_plain_loops(embeddings_of):
    embeddings = embeddings_of({"Alba": 9, "Borea": 7, "Erema": 2, "Dolia": 1}, 2.0, dim=4)
    found = Silhouette(ranks=("genus",)).measure(embeddings, "random")
    rows = embeddings.genus != "Dolia"
    features, names = embeddings.features[rows].astype(float), embeddings.genus[rows]
    for outcome, distance in zip(found.outcomes, (cosine, euclidean), strict=True):
        assert outcome.metric == distance.__name__
        assert outcome.value.tolist() == pytest.approx(by_hand(features, names, distance), abs=1e-6)
    counts = {score.metric: score.value for score in found.scores}
    assert (counts["rows"], counts["classes"], counts["rows_left_out"]) == (18, 3, 1)


def test_of_many_specimens_a_seeded_sample_is_taken(embeddings_of):
    embeddings = embeddings_of({"Alba": 60, "Borea": 60}, 3.0)
    task = Silhouette(ranks=("genus",), most=50)
    found = task.measure(embeddings, "random", 1)
    assert len(found.outcomes[0].value) == 50
    assert task.run(embeddings, "random", 1) == found.scores != task.run(embeddings, "random", 2)
    whole = {score.metric: score.value for score in Silhouette(ranks=("genus",)).run(embeddings, "random")}
    assert found.outcomes[1].mean == pytest.approx(whole["euclidean"], abs=0.1)


def test_a_specimen_s_value_does_not_depend_on_how_many_are_asked(embeddings_of, monkeypatch):
    monkeypatch.setattr(silhouette, "_CELLS", 70)
    monkeypatch.setattr(silhouette, "_ROWS", 7)
    embeddings = embeddings_of({"Alba": 30, "Borea": 20, "Cirra": 3}, 2.0)
    whole, few = (Silhouette(ranks=("genus",), most=most).measure(embeddings, "random") for most in (100, 12))
    for all_of_it, some in zip(whole.outcomes, few.outcomes, strict=True):
        values = dict(zip(all_of_it.specimen_id, all_of_it.value, strict=True))
        assert some.value.tolist() == pytest.approx([values[name] for name in some.specimen_id])


def test_they_are_scikit_learn_s_also_of_rows_of_zeros_and_of_equal_rows(embeddings_of):
    embeddings = embeddings_of({"Alba": 9, "Borea": 7}, 2.0, dim=4)
    features = embeddings.features.copy()
    features[[0, 10]] = 0.0
    features[2] = features[3]
    found = Silhouette(ranks=("genus",)).measure(replace(embeddings, features=features), "random")
    for outcome in found.outcomes:
        due = silhouette_samples(features.astype(np.float64), embeddings.genus.astype(str), metric=outcome.metric)
        assert outcome.value.tolist() == pytest.approx(due.tolist(), abs=1e-6)


def test_a_name_of_one_gathering_is_left_out(embeddings_of):
    embeddings = embeddings_of({"Alba": 9, "Borea": 7, "Erema": 6}, 2.0)
    gathering = np.where(embeddings.genus == "Erema", "one plant", None)
    found = Silhouette(ranks=("genus",)).measure(replace(embeddings, gathering=gathering), "random")
    due = Silhouette(ranks=("genus",)).measure(embeddings.take(embeddings.genus != "Erema"), "random")
    counts = {score.metric: score.value for score in found.scores}
    assert (counts["rows"], counts["classes"], counts["rows_left_out"]) == (16, 2, 6)
    assert [outcome.mean for outcome in found.outcomes] == [outcome.mean for outcome in due.outcomes]


def test_one_name_alone_has_no_silhouette(embeddings_of):
    with pytest.raises(UnscorableError, match="rank 'genus': 1 names"):
        Silhouette().run(embeddings_of({"Alba": 9, "Borea": 1}, 1.0), "random")


def test_rows_that_are_all_alike_have_none(embeddings_of):
    embeddings = embeddings_of({"Alba": 9, "Borea": 7}, 2.0)
    same = replace(embeddings, features=np.tile(embeddings.features[:1], (16, 1)))
    for outcome in Silhouette(ranks=("genus",)).measure(same, "random").outcomes:
        assert np.abs(outcome.value).max() <= 1
