import numpy as np
import pytest
from cleanlab.filter import find_label_issues

from herbray.tasks.methods.confident import find_issues, summarise


class Blocks:
    """Probabilities in blocks of few rows, in an order of their own."""

    def __init__(self, probabilities):
        self.probabilities, self.shape = probabilities, probabilities.shape

    def blocks(self):
        for rows in np.array_split(np.random.default_rng(0).permutation(self.shape[0]), 9):
            yield rows, self.probabilities[rows]


def draw(seed, n, k, sharpness):
    """Labels, of which some are wrong, and probabilities that know better; classes differ in size."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.repeat(np.arange(k), 2), rng.integers(0, k, n - 2 * k) ** 2 // k])
    given = np.where(rng.random(n) < 0.2, rng.permutation(truth), truth)
    given[: 2 * k] = truth[: 2 * k]
    return given, (1 - sharpness) * rng.dirichlet(np.ones(k), n) + sharpness * np.eye(k)[truth]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "k", "sharpness"), [(200, 2, 0.1), (200, 5, 0.2), (300, 40, 0.1), (300, 12, 0.0)])
def test_issues_are_those_of_cleanlab(seed, n, k, sharpness):
    given, probabilities = draw(seed, n, k, sharpness)
    blocks = Blocks(probabilities)
    found = find_issues(given, blocks, summarise(given, blocks))
    assert np.array_equal(found, find_label_issues(given, probabilities, filter_by="prune_by_noise_rate", n_jobs=1))
    assert found.any()


def test_the_summary_is_read_off_the_whole_matrix():
    given, probabilities = draw(1, 120, 8, 0.1)
    found = summarise(given, Blocks(probabilities))
    every = np.arange(120)
    others = probabilities.copy()
    others[every, given] = -1
    assert np.array_equal(found.own, probabilities[every, given])
    assert np.array_equal(found.predicted, probabilities.argmax(axis=1))
    assert np.array_equal(found.rival, others.argmax(axis=1))
    assert np.array_equal(found.rival_probability, others.max(axis=1))
