import numpy as np
import pytest

from herbray.tasks.wrong_names.error_rates import Kernel, fit_rate

KIN = np.array([0, 0, 1, 1, 1])


def draw(rate, rows=4000, sharpness=3.0, seed=0):
    """Calibrated probabilities [n, 5], names drawn from the model, and true names."""
    generator = np.random.default_rng(seed)
    logits = sharpness * generator.standard_normal((rows, 5))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([generator.choice(5, p=row) for row in probability])
    given = truth.copy()
    for row in np.flatnonzero(generator.random(rows) < rate):
        among = np.flatnonzero(KIN == KIN[truth[row]]) if generator.random() < 0.5 else np.arange(5)
        given[row] = generator.choice(among)
    return probability, given, truth


def terms_of(probability, given):
    kernel = Kernel.of(given, KIN)
    rows = np.arange(len(given))
    return kernel.terms(given, probability[rows, given], kernel.sum_kin(probability)[rows, KIN[given]])


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2])
def test_the_rate_of_drawn_names_is_recovered(rate):
    probability, given, _ = draw(rate)
    assert fit_rate(terms_of(probability, given)) == pytest.approx(rate, abs=0.015)


def test_the_probability_of_a_wrong_name_is_its_frequency():
    probability, given, truth = draw(0.15, rows=8000)
    terms = terms_of(probability, given)
    wrong = terms.find_wrong(fit_rate(terms))
    order = np.argsort(wrong)
    for part in np.array_split(order, 8):
        assert wrong[part].mean() == pytest.approx((given != truth)[part].mean(), abs=0.04)


def test_the_probabilities_of_all_names_add_up_to_one():
    probability, _, _ = draw(0.1, rows=3)
    kernel = Kernel.of(np.array([0, 0, 1, 2, 3, 4, 4]), KIN)
    kin = kernel.sum_kin(probability)
    assert kin == pytest.approx(np.stack([probability[:, :2].sum(axis=1), probability[:, 2:].sum(axis=1)], axis=1))
    total = np.zeros(3)
    for name in range(5):
        terms = kernel.terms(np.full(3, name), probability[:, name], kin[:, KIN[name]])
        assert (terms.wrong <= terms.drawn).all()
        total += 0.9 * terms.own + 0.1 * terms.drawn
    assert total == pytest.approx(np.ones(3))


def test_few_names_leave_the_expected_rate():
    probability, given, _ = draw(0.0, rows=2)
    assert fit_rate(terms_of(probability, given), prior=0.3, strength=1e6) == pytest.approx(0.3, abs=1e-3)
