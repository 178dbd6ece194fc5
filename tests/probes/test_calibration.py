import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from herbray.probes.calibration import (
    Monotone,
    apply_temperature,
    brier,
    calibration_error,
    fit_isotonic,
    fit_temperature,
    log_loss,
)


def draw(n, k, temperature, seed=1):
    """Probabilities, and labels that follow the probabilities at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, k))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = apply_temperature(probabilities, temperature)
    labels = (true.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return probabilities, np.minimum(labels, k - 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_by_which_labels_were_drawn_is_found(temperature):
    probabilities, labels = draw(8000, 5, temperature)
    found = fit_temperature(probabilities, labels)
    assert found == pytest.approx(temperature, rel=0.06)
    top = apply_temperature(probabilities, found)
    hits = top.argmax(axis=1) == labels
    assert calibration_error(top.max(axis=1), hits) < 0.02
    if temperature > 2:
        assert calibration_error(probabilities.max(axis=1), hits) > 0.1


def test_a_temperature_of_one_changes_nothing_and_certain_rows_stay_finite():
    probabilities, _ = draw(50, 4, 1.0)
    assert np.allclose(apply_temperature(probabilities, 1.0), probabilities)
    sure = np.eye(3)[[0, 1, 2, 0]]
    assert np.isfinite(apply_temperature(sure, 5.0)).all()
    assert 0.05 <= fit_temperature(sure, np.array([0, 1, 2, 1])) <= 20
    assert fit_temperature(np.empty((0, 3)), np.empty(0, np.intp)) == 1.0


def test_weights_are_repeated_rows():
    probabilities, labels = draw(300, 3, 2.0)
    twice = np.r_[np.arange(300), np.arange(100)]
    weights = np.where(np.arange(300) < 100, 2.0, 1.0)
    assert fit_temperature(probabilities, labels, weights) == pytest.approx(
        fit_temperature(probabilities[twice], labels[twice]), rel=1e-3
    )
    hits, scores = probabilities.argmax(axis=1) == labels, probabilities.max(axis=1)
    one, other = fit_isotonic(scores, hits, weights), fit_isotonic(scores[twice], hits[twice])
    assert np.allclose(one.knots, other.knots)
    assert np.allclose(one.values, other.values)


def test_isotonic_steps_are_those_of_scikit_learn_up_to_the_half_row():
    rng = np.random.default_rng(3)
    scores = rng.random(4000)
    hits = rng.random(4000) < scores**2
    found = fit_isotonic(scores, hits)
    peer = IsotonicRegression().fit(scores, hits).predict(found.knots)
    inner = slice(1, -1)
    assert np.abs(found.values[inner] - peer[inner]).max() < 0.1
    grid = np.linspace(0.05, 0.95, 19)
    assert np.abs(found.apply(grid) - grid**2).mean() < 0.03


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 10, 60])
def test_isotonic_never_falls_and_never_is_zero_or_one(rows):
    for seed in range(20):
        rng = np.random.default_rng([rows, seed])
        scores = np.round(rng.random(rows), int(rng.integers(1, 6)))  # with ties
        found = fit_isotonic(scores, rng.random(rows) < 0.5).apply(np.linspace(-1, 2, 50))
        assert (np.diff(found) >= 0).all()
        assert ((found > 0) & (found < 1)).all()


def test_losses_by_hand():
    probabilities, hits = np.array([0.9, 0.6, 0.2, 1.0]), np.array([True, False, False, True])
    assert brier(probabilities, hits) == pytest.approx((0.01 + 0.36 + 0.04) / 4)
    assert log_loss(probabilities, hits) == pytest.approx(-np.log([0.9, 0.4, 0.8, 1.0]).mean())
    assert calibration_error(probabilities, hits, bins=2) == pytest.approx((0.4 - 0.0 + 1.0 - 0.95) / 2)
    assert Monotone(np.empty(0), np.empty(0)).apply(np.zeros((2, 3))).shape == (2, 3)
