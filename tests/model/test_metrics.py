import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from herbray.model.metrics import knn_accuracy


def plain(features, labels, k):
    """The definition, row by row."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    cosines = np.rint(np.clip(unit @ unit.T, -1, 1) * 1e6).astype(int)
    right = counted = 0
    for row, label in enumerate(labels):
        others = sorted((o for o in range(len(labels)) if o != row), key=lambda o: (-cosines[row, o], labels[o]))[:k]
        ballot = {}
        for other in others:
            votes, near = ballot.get(labels[other], (0, 0))
            ballot[labels[other]] = (votes + 1, near + cosines[row, other] + 10**6)
        winner = min(ballot, key=lambda name: (-ballot[name][0], -ballot[name][1], name))
        if (labels == label).sum() > 1:
            counted += 1
            right += winner == label
    return right / counted


def cloud(n, d, classes, seed, spread=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return (rng.normal(size=(classes, d))[labels] + spread * rng.normal(size=(n, d))).astype(np.float32), labels


@given(seed=st.integers(0, 10**6), n=st.integers(4, 40), k=st.integers(1, 9), coarse=st.booleans())
@settings(max_examples=60, deadline=None)
def test_equals_the_plain_definition_in_any_order_and_chunk(seed, n, k, coarse):
    features, labels = cloud(n, 3, 4, seed)
    labels[:2] = labels[0]
    if coarse:  # whole numbers: many equal cosines
        features = np.rint(features)
    due = plain(features.astype(np.float64), labels, k)
    order = np.random.default_rng(seed).permutation(n)
    assert knn_accuracy(torch.tensor(features), torch.tensor(labels), k) == due
    assert knn_accuracy(torch.tensor(features[order]), torch.tensor(labels[order]), k) == due


@pytest.mark.slow
def test_equals_scikit_learn_where_nothing_ties():
    features, labels = cloud(300, 16, 6, 0, spread=2.0)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for k in (1, 5):
        right = 0
        for row in range(len(unit)):
            rest = np.arange(len(unit)) != row
            peer = KNeighborsClassifier(k, metric="cosine", weights="uniform").fit(unit[rest], labels[rest])
            shares = peer.predict_proba(unit[row : row + 1])[0]
            right += (shares[labels[row]] == shares.max()) / (shares == shares.max()).sum()
        found = knn_accuracy(torch.tensor(features), torch.tensor(labels), k)
        assert found == pytest.approx(right / len(unit), abs=0.0 if k == 1 else 0.02)


def test_a_row_never_votes_for_itself():
    features = torch.eye(4)
    assert knn_accuracy(features[[0, 0, 1, 1]], torch.tensor([0, 1, 0, 1]), 1) == 0.0
    assert knn_accuracy(features[[0, 0, 1, 1]], torch.tensor([3, 3, 9, 9]), 1) == 1.0


def test_a_lone_genus_votes_and_is_not_counted():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.05], [0.0, 1.0]])
    assert knn_accuracy(features, torch.tensor([0, 0, 1, 2]), 1) == 0.0  # both neighbours are the lone row
    assert knn_accuracy(features, torch.tensor([0, 0, 0, 2]), 1) == 1.0


def test_rows_of_one_unit_are_no_neighbours():
    points, labels = cloud(40, 8, 4, 3)
    noise = np.random.default_rng(5).normal(size=(40, 8)).astype(np.float32)
    twice, names = torch.tensor(noise).repeat(2, 1), torch.tensor(labels).repeat(2)
    units = torch.arange(40).repeat(2)
    assert knn_accuracy(twice, names, 1) == 1.0  # each finds its duplicate
    assert knn_accuracy(twice, names, 1, units=units) < 0.6
    twins = torch.tensor(points).repeat(2, 1)
    for k in (1, 3, 100):  # a duplicate votes twice for others, and never for its twin
        assert knn_accuracy(twins, names, 2 * k, units=units) == knn_accuracy(
            torch.tensor(points), torch.tensor(labels), k
        )


def test_with_fewer_neighbours_than_k_those_there_are_vote():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
    units = torch.tensor([0, 0, 1, 1])  # a row of unit 0 has two neighbours
    assert knn_accuracy(features, torch.tensor([5, 5, 5, 7]), 3, units=units) == 1.0
    with pytest.raises(ValueError, match="none of the 2 names has two gatherings"):
        knn_accuracy(features, torch.tensor([5, 5, 7, 7]), 3, units=units)


def test_scale_of_a_row_does_not_matter():
    features, labels = cloud(60, 8, 3, 1)
    scaled = torch.tensor(features) * torch.logspace(-3, 3, 60)[:, None]
    assert knn_accuracy(scaled, torch.tensor(labels)) == knn_accuracy(torch.tensor(features), torch.tensor(labels))


@pytest.mark.parametrize(
    ("features", "labels", "k", "told"),
    [
        (torch.zeros(4, 2), torch.zeros(3).long(), 5, "expected"),
        (torch.zeros(4), torch.zeros(4).long(), 5, "expected"),
        (torch.zeros(4, 2), torch.zeros(4).long(), 0, "expected"),
        (torch.full((4, 2), torch.nan), torch.zeros(4).long(), 5, "4 of 4 features hold NaN"),
        (torch.zeros(3, 2), torch.arange(3), 5, "none of the 3 names"),
    ],
)
def test_bad_input_is_refused(features, labels, k, told):
    with pytest.raises(ValueError, match=told):
        knn_accuracy(features, labels, k)
