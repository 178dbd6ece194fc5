import dataclasses

import numpy as np
import pytest

from herbray.config import ConfigError, load
from herbray.tasks import Embeddings, UnscorableError
from herbray.tasks.discriminate import Discriminate
from herbray.tasks.methods.pairs import Pair, choose_pairs, is_known_wrong, measure_similarity

CIRRA_DOLIA = Pair(positive="Dolia", negative="Cirra", kind="similar")


def mean(scores, metric):
    return np.mean([score.value for score in scores if score.metric == metric and score.fold >= 0])


def test_separated_genera_are_distinguished_perfectly(embeddings_of):
    embeddings = embeddings_of({"Cirra": 30, "Dolia": 10}, separation=30.0)
    scores = Discriminate(pairs=(CIRRA_DOLIA,)).run(embeddings, "random")
    for metric in ("accuracy", "precision", "recall", "f1", "balanced_accuracy", "auroc"):
        assert mean(scores, metric) == 1.0, metric
    assert mean(scores, "majority") == 0.75
    assert {score.level for score in scores} == {"Dolia–Cirra"}
    counts = {score.metric: score.value for score in scores if score.fold == -1}
    assert counts.pop("separation") > 5
    assert counts == {"rows": 40, "positives": 10, "similar": 1}


def test_turning_a_pair_round_turns_precision_and_leaves_accuracy(embeddings_of):
    embeddings = embeddings_of({"Cirra": 40, "Dolia": 15}, separation=1.0)
    turned = Pair(positive="Cirra", negative="Dolia", kind="similar")
    scores = Discriminate(pairs=(CIRRA_DOLIA,)).run(embeddings, "random")
    others = Discriminate(pairs=(turned,)).run(embeddings, "random")
    assert mean(scores, "recall") != mean(others, "recall")
    assert mean(scores, "balanced_accuracy") == pytest.approx((mean(scores, "recall") + mean(others, "recall")) / 2)


def test_the_error_for_a_missing_genus_lists_the_genera_present(embeddings_of):
    embeddings = embeddings_of({"Cirra": 30, "Alba": 10}, separation=1.0)
    with pytest.raises(
        UnscorableError, match=r"split 'random', pair Dolia–Cirra: 0 specimens of 'Dolia'.*genera are Cirra, Alba"
    ):
        Discriminate(pairs=(CIRRA_DOLIA,)).run(embeddings, "random")


def test_a_genus_with_fewer_specimens_than_folds_is_refused(embeddings_of):
    embeddings = embeddings_of({"Cirra": 30, "Dolia": 4}, separation=1.0)
    with pytest.raises(UnscorableError, match="4 specimens of 'Dolia' in 4 gatherings, but 5"):
        Discriminate(pairs=(CIRRA_DOLIA,)).run(embeddings, "random")


def test_a_genus_of_too_few_gatherings_is_neither_chosen_nor_taken(five_genera):
    embeddings = Embeddings.from_table(five_genera)  # Alba 30, Borea 20, Cirra 40, Dolia 12, Erema 24
    gathering = np.where(embeddings.genus == "Borea", "one plant", None)
    gathered = dataclasses.replace(embeddings, gathering=gathering)
    assert choose_pairs(gathered, 5) == (
        Pair(positive="Cirra", negative="Dolia", kind="similar"),
        Pair(positive="Cirra", negative="Erema", kind="distinct"),
    )
    pair = Pair(positive="Alba", negative="Borea", kind="similar")
    with pytest.raises(UnscorableError, match="20 specimens of 'Borea' in 1 gatherings, but 5 gatherings are needed"):
        Discriminate(pairs=(pair,)).run(gathered, "random")


def test_pairs_are_chosen_by_the_labels_alone(five_genera):
    embeddings = Embeddings.from_table(five_genera)  # Alba 30, Borea 20, Cirra 40, Dolia 12, Erema 24
    wanted = (
        Pair(positive="Alba", negative="Borea", kind="similar"),
        Pair(positive="Alba", negative="Erema", kind="distinct"),
    )
    assert choose_pairs(embeddings, 5) == wanted
    assert choose_pairs(dataclasses.replace(embeddings, features=embeddings.features[::-1]), 5) == wanted
    assert {score.level for score in Discriminate().run(embeddings, "random")} == {"Alba–Borea", "Alba–Erema"}


def test_of_two_pairs_of_equally_rare_genera_the_larger_first_genus_decides(embeddings_of):
    embeddings = embeddings_of({"Alba": 30, "Borea": 12, "Cirra": 40, "Dolia": 12}, separation=1.0)
    assert choose_pairs(embeddings, 5) == (Pair(positive="Cirra", negative="Dolia", kind="similar"),)


def test_only_the_most_frequent_genus_of_another_order_is_the_distinct_one(embeddings_of):
    embeddings = embeddings_of({"Alba": 30, "Borea": 20, "Cirra": 16, "Erema": 24}, separation=1.0)
    order = np.where(embeddings.genus == "Cirra", "Cirrales", embeddings.rank("order"))
    kinds = [(pair.kind, pair.negative) for pair in choose_pairs(dataclasses.replace(embeddings, order=order), 5)]
    assert kinds == [("similar", "Borea"), ("distinct", "Erema")]


def test_specimens_known_to_be_wrong_do_not_count_towards_the_choice(five_genera):
    embeddings = Embeddings.from_table(five_genera)
    true_species = np.where(embeddings.genus == "Borea", "Alba alta", None)
    true_species[np.flatnonzero(embeddings.genus == "Borea")[:10]] = "Borea alta"
    reviewed = dataclasses.replace(embeddings, true_species=true_species)
    assert is_known_wrong(reviewed).sum() == 10
    assert choose_pairs(reviewed, 5)[0].level == "Cirra–Dolia"  # Borea is down to 10, Dolia has 12


def test_only_the_possible_kind_of_pair_is_chosen(embeddings_of):
    assert [pair.kind for pair in choose_pairs(embeddings_of({"Alba": 9, "Borea": 9}, 1.0), 5)] == ["similar"]
    assert [pair.level for pair in choose_pairs(embeddings_of({"Alba": 9, "Erema": 12}, 1.0), 5)] == ["Erema–Alba"]
    with pytest.raises(UnscorableError, match="Alba, Cirra share a family or differ in order"):
        choose_pairs(embeddings_of({"Alba": 9, "Cirra": 9, "Erema": 4}, 1.0), 5)
    with pytest.raises(UnscorableError, match=r"\(none\)"):
        choose_pairs(embeddings_of({"Alba": 3}, 1.0), 5)


def test_a_genus_filed_under_two_families_follows_the_majority(five_genera):
    embeddings = Embeddings.from_table(five_genera)
    family = embeddings.family.copy()
    family[np.flatnonzero(embeddings.genus == "Borea")[:3]] = "Eremaceae"
    assert choose_pairs(dataclasses.replace(embeddings, family=family), 5) == choose_pairs(embeddings, 5)


def test_pairs_are_read_from_settings_and_errors_reported():
    task = load(Discriminate, overrides=["pairs=[{positive: Syzygium, negative: Eugenia, kind: similar}]"])
    assert task.pairs[0].level == "Syzygium–Eugenia"
    assert task.max_iter == 2500
    with pytest.raises(ConfigError, match="needs two genera"):
        load(Discriminate, overrides=["pairs=[{positive: Eugenia, negative: Eugenia, kind: similar}]"])


def test_parts_are_one_pair_each_where_pairs_are_named():
    pairs = (CIRRA_DOLIA, Pair(positive="Alba", negative="Borea", kind="similar"))
    assert [part.pairs for part in Discriminate(pairs=pairs).parts()] == [pairs[:1], pairs[1:]]
    assert Discriminate().parts() == (Discriminate(),)


def test_likeness_is_measured_among_all_genera(embeddings_of):
    embeddings = embeddings_of({"Alba": 12, "Borea": 20, "Cirra": 9, "Dolia": 7}, separation=2.0)
    pair = Pair(positive="Alba", negative="Borea", kind="similar")
    features = {genus: embeddings.features[embeddings.genus == genus].astype(float) for genus in set(embeddings.genus)}
    means = {genus: rows.mean(axis=0) for genus, rows in features.items()}
    spread = {g: sum(((row - means[g]) ** 2).sum() for row in rows) / (len(rows) - 1) for g, rows in features.items()}

    def squared(other):
        raw = ((means["Alba"] - means[other]) ** 2).sum()
        return raw - spread["Alba"] / len(features["Alba"]) - spread[other] / len(features[other])

    farther = [squared(other) > squared("Borea") for other in ("Cirra", "Dolia")]
    found = measure_similarity(embeddings, pair)
    width = np.mean([spread["Alba"], spread["Borea"]])
    assert found["separation"] == pytest.approx(np.sqrt(squared("Borea") / width))
    assert found["similarity"] == np.mean(farther)
    assert set(measure_similarity(embeddings.take(np.isin(embeddings.genus, ["Alba", "Borea"])), pair)) == {
        "separation"
    }


def test_a_genus_of_few_sheets_is_not_farther_for_that_alone(embeddings_of):
    """All genera are one cloud: a rare one is nearer than a common one as often as not."""
    pair = Pair(positive="Alba", negative="Borea", kind="similar")
    found = []
    for seed in range(100):
        embeddings = embeddings_of({"Alba": 60, "Borea": 60, "Cirra": 3, "Dolia": 3, "Erema": 3}, separation=0.0)
        noise = np.random.default_rng(seed).normal(size=embeddings.features.shape).astype(np.float32)
        found.append(measure_similarity(dataclasses.replace(embeddings, features=noise), pair)["similarity"])
    assert 0.35 < np.mean(found) < 0.65


def test_coinciding_genera_have_no_separation(embeddings_of):
    embeddings = embeddings_of({"Alba": 5, "Borea": 5}, separation=0.0)
    flat = dataclasses.replace(embeddings, features=np.ones_like(embeddings.features))
    assert measure_similarity(flat, Pair(positive="Alba", negative="Borea", kind="similar")) == {"separation": 0.0}
