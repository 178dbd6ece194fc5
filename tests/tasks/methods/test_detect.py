import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from herbray.neighbours.search import find_all_nearest
from herbray.tasks.methods.confident import summarise
from herbray.tasks.methods.detect import (
    Doubt,
    auroc_contributions,
    confident_learning,
    contributions,
    detection_scores,
    neighbour_disagreement,
    precision_at,
    probe_disagreement,
)

# rows 0 and 1 are wrong; the probe disagrees with the label at rows 0 and 4
GIVEN = np.array([0, 0, 0, 0, 1, 1, 1, 1])
WRONG = np.array([1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
CONFIDENCE = np.array([0.1, 0.6, 0.9, 0.8, 0.3, 0.7, 0.95, 0.85])
PROBABILITIES = np.stack([CONFIDENCE, 1 - CONFIDENCE], axis=1)
PROBABILITIES[4:] = PROBABILITIES[4:, ::-1]


class Blocks:
    """Probabilities in blocks of few rows, in any order."""

    def __init__(self, probabilities, size=7):
        self.probabilities, self.size, self.shape = probabilities, size, probabilities.shape

    def blocks(self):
        order = np.random.default_rng(0).permutation(len(self.probabilities))
        for start in range(0, len(order), self.size):
            rows = order[start : start + self.size]
            yield rows, self.probabilities[rows]


def probe_doubt():
    return probe_disagreement(GIVEN, summarise(GIVEN, Blocks(PROBABILITIES)))


def test_rates_are_those_counted_by_hand():
    scores = detection_scores(WRONG, probe_doubt())
    assert scores["tpr"] == 1 / 2
    assert scores["fpr"] == 1 / 6
    assert scores["precision"] == 1 / 2
    assert scores["precision_at_n"] == 1 / 2  # least confident: rows 0 and 4
    assert scores["auroc"] == pytest.approx((6 + 5) / 12)  # row 0 below all six, row 1 below five
    assert precision_at(WRONG, probe_doubt(), 3) == 2 / 3
    assert precision_at(WRONG, probe_doubt(), 100) == 2 / 8


def test_nothing_flagged_has_precision_zero():
    assert detection_scores(WRONG, Doubt(np.zeros(8, dtype=bool), np.arange(8.0)))["precision"] == 0.0


def test_confident_learning_lists_the_flagged_first_and_then_the_least_confident():
    generator = np.random.default_rng(2)
    given = np.repeat([0, 1, 2], 40)
    probabilities = generator.dirichlet([1, 1, 1], 120) * 0.5 + 0.5 * np.eye(3)[generator.integers(0, 3, 120)]
    blocks = Blocks(probabilities)
    doubt = confident_learning(given, blocks, summarise(given, blocks))
    assert 0 < doubt.flagged.sum() < 120
    assert doubt.rank[doubt.flagged].min() >= doubt.rank[~doubt.flagged].max()
    confidence = probabilities[np.arange(120), given]
    for group in (doubt.flagged, ~doubt.flagged):
        assert np.array_equal(np.argsort(doubt.rank[group]), np.argsort(-confidence[group]))


def test_neighbours_vote_with_their_cosine():
    # row 0 lies among rows 4 and 5, of the other label; the third neighbour of each of the three bears 0
    features = np.array([[1, 0], [0, 1], [0.1, 1], [-0.1, 1], [1, 0.1], [1, -0.1]], dtype=np.float32)
    given = np.array([0, 0, 0, 0, 1, 1])
    near = find_all_nearest(features, np.arange(6), 3)
    doubt = neighbour_disagreement(given, near)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for row in range(6):
        order = [r for r in np.argsort(-(unit @ unit[row]), kind="stable") if r != row][:3]
        votes = {0: 0.0, 1: 0.0}
        for other in order:
            votes[given[other]] += (1 + unit[row] @ unit[other]) / 2
        assert doubt.rank[row] == pytest.approx(1 - votes[given[row]] / sum(votes.values()), abs=1e-5)
        assert doubt.flagged[row] == (votes[1 - given[row]] > votes[given[row]])
    assert doubt.flagged.tolist() == [True, False, False, False, True, True]


def test_a_row_without_neighbours_is_not_doubted():
    near = find_all_nearest(np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.intp), 3)
    doubt = neighbour_disagreement(np.array([0, 1]), near)
    assert doubt.flagged.tolist() == [False, False]
    assert doubt.rank.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("seed", range(5))
def test_contributions_average_to_the_scores(seed):
    generator = np.random.default_rng(seed)
    wrong = generator.random(60) < 0.2
    doubt = Doubt(generator.random(60) < 0.3, np.round(generator.random(60) + 0.3 * wrong, 1))  # with ties
    scores = detection_scores(wrong, doubt)
    parts = contributions(wrong, doubt)
    assert set(parts) == set(scores) - {"precision"}
    for metric, (value, part) in parts.items():
        assert np.average(value, weights=part) == pytest.approx(scores[metric]), metric
    assert scores["auroc"] == pytest.approx(roc_auc_score(wrong, doubt.rank))


def test_the_parts_of_an_area_vary_as_it_does_among_data_sets():
    """Standard error by the parts, against the spread of the AUROC over data sets drawn anew: few of either kind."""
    generator = np.random.default_rng(1)
    areas, errors = [], []
    for _ in range(400):
        positive = np.repeat([True, False], [60, 25])
        value, weight = auroc_contributions(positive, generator.normal(size=85) + positive)
        mean = np.average(value, weights=weight)
        areas.append(mean)
        errors.append(np.sqrt(((weight * (value - mean)) ** 2).sum()) / weight.sum())
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.1)
