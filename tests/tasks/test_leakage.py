import dataclasses

import numpy as np
import pytest

from herbray.neighbours.search import find_all_nearest
from herbray.tasks import UnscorableError
from herbray.tasks.leakage import Leakage, expected_same_institution, genus_codes
from herbray.tasks.methods.units import gathering_codes


def counts(scores, fold=-1):
    return {score.metric: score.value for score in scores if score.fold == fold}


def mean(scores, metric):
    return np.mean([score.value for score in scores if score.metric == metric])


def test_labels_that_show_are_read_off_and_gather_neighbours(embeddings_of):
    embeddings = embeddings_of({"Alba": 60, "Borea": 60}, 2.0)
    features = embeddings.features.copy()
    features[:, 5] += np.where(embeddings.institution == "A", 8.0, -8.0)
    leaking = dataclasses.replace(embeddings, features=features)
    scores = Leakage().run(leaking, "random")
    assert mean(scores, "accuracy") > 0.98
    assert mean(scores, "majority") == pytest.approx(0.5, abs=0.02)
    assert counts(scores)["same_institution"] > 0.98
    assert counts(scores)["expected_institution"] == pytest.approx(0.5, abs=0.02)
    sound = Leakage().run(embeddings, "random")
    assert mean(sound, "accuracy") < 0.65
    assert abs(counts(sound)["excess"]) < 0.06


def test_a_flora_that_differs_is_no_leak_of_the_label(embeddings_of):
    # each institution has its own genera: neighbours are of the own institution, as the genera say
    embeddings = embeddings_of({"Alba": 60, "Borea": 60, "Erema": 60}, 8.0)
    institution = np.where(embeddings.genus == "Alba", "A", "B").astype(object)
    institution[::10] = "A"
    scores = Leakage().run(dataclasses.replace(embeddings, institution=institution), "random")
    assert mean(scores, "accuracy") > 0.8
    assert mean(scores, "genus_majority") > 0.9
    assert counts(scores)["same_institution"] > 0.8
    assert abs(counts(scores)["excess"]) < 0.05


def test_the_expectation_is_the_mean_over_permutations_within_genera():
    generator = np.random.default_rng(3)
    n = 24
    genera, institutions = generator.integers(0, 3, n), generator.integers(0, 2, n)
    near = find_all_nearest(generator.standard_normal((n, 4)).astype(np.float32), np.arange(n), 5)
    found = expected_same_institution(near, genera, institutions, np.arange(n))
    same = np.zeros((400, n))
    for draw in range(400):
        for row in range(n):  # the row keeps its institution, all others of each genus are permuted
            drawn = institutions.copy()
            for genus in range(3):
                mates = [other for other in range(n) if genera[other] == genus and other != row]
                drawn[mates] = generator.permutation(institutions[mates])
            same[draw, row] = (drawn[near.neighbours[row]] == institutions[row]).mean()
    assert np.allclose(found, same.mean(axis=0), atol=0.06)
    assert abs((found - same.mean(axis=0)).mean()) < 0.01


def test_the_expectation_counts_possible_neighbours_only():
    generator = np.random.default_rng(4)
    n = 40
    genera, institutions = generator.integers(0, 3, n), generator.integers(0, 3, n)
    units = gathering_codes(np.array([f"g{number}" for number in generator.integers(0, 15, n)], dtype=object))
    near = find_all_nearest(generator.standard_normal((n, 4)).astype(np.float32), units, 6)
    found = expected_same_institution(near, genera, institutions, units)
    for row in range(n):
        shares = []
        for other in near.neighbours[row][near.valid[row]]:
            pool = [r for r in range(n) if genera[r] == genera[other] and units[r] != units[row]]
            shares.append(np.mean([institutions[r] == institutions[row] for r in pool]))
        assert found[row] == pytest.approx(np.mean(shares))


def test_an_institution_of_one_gathering_is_left_out_and_counted(embeddings_of):
    embeddings = embeddings_of({"Alba": 60, "Borea": 60}, 2.0)
    institution, gathering = embeddings.institution.copy(), embeddings.gathering.copy()
    institution[:8], gathering[:8] = "C", "one plant"
    scores = Leakage().run(dataclasses.replace(embeddings, institution=institution, gathering=gathering), "random")
    found = counts(scores)
    assert (found["classes"], found["classes_left_out"], found["rows_left_out"]) == (2, 1, 8)


def test_one_institution_is_refused_and_an_undetermined_genus_is_a_kind_of_its_own(embeddings_of):
    embeddings = embeddings_of({"Alba": 20}, 1.0)
    alone = dataclasses.replace(embeddings, institution=np.array(["A"] * 20, dtype=object))
    with pytest.raises(UnscorableError, match="leakage, split 'random': 1 institutions"):
        Leakage(splits=("random",)).run(alone, "random")
    assert genus_codes(np.array(["b", None, "a", None], dtype=object)).tolist() == [2, 0, 1, 0]
