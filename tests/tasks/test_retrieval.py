import dataclasses
import time

import numpy as np
import pytest

from herbray.tasks import Embeddings, UnscorableError
from herbray.tasks.retrieval import Retrieval, count_partners


def by_hand(features, names, gatherings, k, recall_at):
    """Musgrave et al.'s formulas in plain loops: one dictionary of values a query that has a partner."""
    unit = features.astype(float) / np.linalg.norm(features.astype(float), axis=1, keepdims=True)
    found = {}
    for query in range(len(names)):
        others = [
            other
            for other in range(len(names))
            if other != query and (gatherings[other] is None or gatherings[other] != gatherings[query])
        ]
        others.sort(key=lambda other, query=query: (-round(float(unit[query] @ unit[other]) * 1e6), other))
        relevant = [names[other] == names[query] for other in others]
        total = sum(relevant)
        if not total:
            continue
        average, hits = 0.0, 0
        for place in range(1, total + 1):
            if relevant[place - 1]:
                hits += 1
                average += hits / place
        voters = [names[other] for other in others[:k]]
        most = max(voters.count(name) for name in voters)
        leaders = sorted({name for name in voters if voters.count(name) == most})
        nearness = {
            name: sum(1 + unit[query] @ unit[other] for other in others[:k] if names[other] == name) for name in leaders
        }
        found[query] = {
            "map_at_r": average / total,
            "r_precision": hits / total,
            "knn_accuracy": float(max(leaders, key=nearness.get) == names[query]),
            **{f"recall_at_{n}": float(any(relevant[:n])) for n in recall_at},
        }
    return found


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_the_formulas_in_plain_loops(embeddings_of, seed):
    embeddings = embeddings_of({"Alba": 14, "Borea": 9, "Cirra": 1, "Dolia": 6}, 1.5, seed, dim=4)
    generator = np.random.default_rng(seed)
    gathering = np.array([f"g{number}" for number in generator.integers(0, 20, 30)], dtype=object)
    gathering[generator.random(30) < 0.3] = None
    embeddings = dataclasses.replace(embeddings, gathering=gathering)
    found = Retrieval(ranks=("genus",), k=4, recall_at=(1, 3)).measure(embeddings, "random")
    wanted = by_hand(embeddings.features, embeddings.genus, gathering, 4, (1, 3))
    scores = {score.metric: score.value for score in found.scores}
    assert scores["rows"] == len(wanted)
    assert scores["rows_left_out"] == 30 - len(wanted) >= 1
    assert {outcome.metric for outcome in found.outcomes} == set(next(iter(wanted.values())))
    for outcome in found.outcomes:
        assert outcome.value.tolist() == pytest.approx([values[outcome.metric] for values in wanted.values()])
        assert scores[outcome.metric] == pytest.approx(np.mean([values[outcome.metric] for values in wanted.values()]))


def test_separated_clusters_are_retrieved_perfectly_and_noise_is_not(embeddings_of):
    sizes = {"Alba": 30, "Borea": 20, "Erema": 25}
    apart = {s.metric: s.value for s in Retrieval(ranks=("genus",)).run(embeddings_of(sizes, 60.0), "random")}
    assert apart["map_at_r"] == apart["r_precision"] == apart["knn_accuracy"] == apart["recall_at_1"] == 1.0
    noise = {s.metric: s.value for s in Retrieval(ranks=("genus",)).run(embeddings_of(sizes, 0.0), "random")}
    assert noise["map_at_r"] < 0.3
    assert noise["r_precision"] < 0.5
    assert noise["recall_at_10"] > noise["recall_at_5"] > noise["recall_at_1"]


def test_a_wider_rank_counts_relatives_and_leaves_the_undetermined_out(embeddings_of):
    embeddings = embeddings_of({"Alba": 10, "Borea": 10, "Erema": 10}, 40.0)
    family = embeddings.family.copy()
    family[:3] = None
    scores = Retrieval(ranks=("family",)).run(dataclasses.replace(embeddings, family=family), "random")
    found = {score.metric: score.value for score in scores}
    assert found["rows_undetermined"] == 3
    assert (found["rows"], found["classes"]) == (27, 2)
    assert found["recall_at_1"] == 1.0
    assert found["majority"] == pytest.approx(17 / 27)


def test_a_split_of_single_sheets_is_refused(embeddings_of):
    embeddings = embeddings_of({"Alba": 5, "Borea": 1}, 1.0)
    same = np.array(["one"] * 6, dtype=object)
    with pytest.raises(UnscorableError, match="retrieval, split 'random', rank 'genus': no two sheets"):
        Retrieval().run(dataclasses.replace(embeddings, gathering=same), "random")


def test_partners_are_of_the_class_and_of_another_unit():
    codes, units = np.array([0, 0, 0, 1, 1]), np.array([7, 7, 2, 3, 3])
    assert count_partners(codes, units).tolist() == [1, 1, 2, 0, 0]


def test_two_thousand_sheets_take_seconds():
    generator = np.random.default_rng(0)
    n = 2000
    none = np.full(n, None, dtype=object)
    names = np.array([f"G{number}" for number in generator.integers(0, 60, n)], dtype=object)
    labels = dict.fromkeys(("order", "family", "species", "institution", "gathering", "true_species"), none)
    embeddings = Embeddings(
        features=generator.standard_normal((n, 512)).astype(np.float32),
        specimen_id=np.array([f"{number:05d}" for number in range(n)], dtype=object),
        genus=names,
        split=np.array(["random"] * n, dtype=object),
        **labels,
    )
    began = time.monotonic()
    Retrieval(ranks=("genus",)).run(embeddings, "random")
    assert time.monotonic() - began < 20
