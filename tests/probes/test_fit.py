import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from herbray.benchmark.contests.probe import compare_probes, draw_embeddings, measure_loss
from herbray.probes import fit as module
from herbray.probes.fit import Fit, Solver, fit_probes
from herbray.probes.linear import Probabilities

ROWS, DIM = 400, 24


def learn(features, labels, rows, **settings):
    """scikit-learn's loss, iterations, and probabilities of all rows."""
    scaler = StandardScaler().fit(features[rows].astype(np.float64))
    known = {"class_weight": "balanced", "max_iter": 5000} | settings
    fitted = LogisticRegression(**known).fit(scaler.transform(features[rows].astype(np.float64)), labels[rows])
    return int(fitted.n_iter_[0]), fitted.predict_proba(scaler.transform(features.astype(np.float64)))


def fits_of(labels, folds=3):
    held = np.arange(len(labels)) % folds
    rows = [np.flatnonzero(held != fold) for fold in range(folds)]
    return [Fit(each, labels[each]) for each in rows]


@pytest.mark.parametrize("classes", [2, 3, 17])
def test_steps_and_probabilities_are_those_of_scikit_learn(classes):
    features, labels = draw_embeddings(ROWS, DIM, classes, 1)
    fits = fits_of(labels)
    for fit, probe in zip(fits, fit_probes(features, fits, Solver(classes)), strict=True):
        iterations, wanted = learn(features, labels, fit.rows)
        assert probe.iterations == iterations
        assert probe.converged
        assert np.abs(Probabilities(probe, features, np.arange(ROWS)).dense() - wanted).max() < 1e-7


@pytest.mark.parametrize("classes", [2, 10])
def test_in_32_bits_the_loss_is_within_1e5_and_probabilities_within_1e3(classes, monkeypatch):
    monkeypatch.setattr(module, "_SMALL", 0)
    features, labels = draw_embeddings(ROWS, DIM, classes, 2)
    fits = fits_of(labels)
    own = list(fit_probes(features, fits, Solver(classes)))
    monkeypatch.undo()
    wide = list(fit_probes(features, fits, Solver(classes)))  # equal to scikit-learn's, see above
    assert not np.array_equal(own[0].coefficients, wide[0].coefficients)
    for fit, ours, theirs in zip(fits, own, wide, strict=True):
        loss, apart, flips = compare_probes(features, labels, fit.rows, ours, theirs)
        assert loss < 1e-5
        assert apart < 1e-3
        assert not flips


def test_a_probe_does_not_depend_on_what_is_fitted_beside_it_or_on_the_size_of_blocks(monkeypatch):
    features, labels = draw_embeddings(ROWS, DIM, 5, 3)
    fits = fits_of(labels)
    together = list(fit_probes(features, fits, Solver(5)))
    for name, value in (("_CELLS", {"cpu": 1}), ("_GOOD_ROWS", 10), ("_LEAST_ROWS", 10)):
        monkeypatch.setattr(f"herbray.probes.objective.{name}", value)
    for fit, beside in zip(fits, together, strict=True):
        alone = next(fit_probes(features, [fit], Solver(5)))
        assert alone.iterations == beside.iterations
        assert np.allclose(alone.coefficients, beside.coefficients, atol=1e-7)
        assert np.allclose(alone.centre, beside.centre, atol=1e-12)


def test_what_is_held_out_leaves_no_trace():
    """Labels without a pattern are guessed no better than by chance: no probe starts from one that knew them.

    With as many classes and features, a start from the probe of all rows names every held-out row (`docs/log.md`).
    """
    rng = np.random.default_rng(4)
    features, labels = rng.standard_normal((400, 128)).astype(np.float32), rng.permutation(np.arange(400) % 80)
    hits = 0
    for fit, probe in zip(fits_of(labels), fit_probes(features, fits_of(labels), Solver(80)), strict=True):
        held = np.setdiff1d(np.arange(400), fit.rows)
        hits += (Probabilities(probe, features, held).predict() == labels[held]).sum()
    assert hits < 400 / 80 + 4 * np.sqrt(400 / 80)


def test_penalty_weights_and_tolerance_are_those_of_scikit_learn():
    features, labels = draw_embeddings(ROWS, DIM, 4, 5)
    fit = fits_of(labels)[0]
    found = next(fit_probes(features, [fit], Solver(4, C=0.01, balanced=False, tol=1e-3)))
    iterations, wanted = learn(features, labels, fit.rows, C=0.01, class_weight=None, tol=1e-3)
    assert found.iterations == iterations
    assert np.abs(Probabilities(found, features, np.arange(ROWS)).dense() - wanted).max() < 1e-7


def test_a_fit_that_is_stopped_early_says_so_and_a_longer_one_has_a_lower_loss():
    features, labels = draw_embeddings(ROWS, DIM, 4, 6)
    fit = fits_of(labels)[0]
    short, long = (next(fit_probes(features, [fit], Solver(4, max_iter=most))) for most in (3, 5000))
    assert (short.converged, short.iterations) == (False, 3)
    assert measure_loss(features, labels, fit.rows, long) < measure_loss(features, labels, fit.rows, short)


def test_a_constant_feature_and_a_far_offset_change_nothing():
    features, labels = draw_embeddings(ROWS, DIM, 3, 7)
    fit = fits_of(labels)[0]
    moved = np.hstack([features + np.float32(8), np.full((ROWS, 1), 5.5, np.float32)])
    plain, other = (next(fit_probes(each, [fit], Solver(3))) for each in (features, moved))
    assert other.coefficients[:, -1].tolist() == [0, 0, 0]
    assert np.allclose(plain.coefficients, other.coefficients[:, :-1], atol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_probes():
    features, labels = draw_embeddings(ROWS, DIM, 10, 8)
    fits = fits_of(labels)
    pairs = zip(*(fit_probes(features, fits, Solver(10, device=name)) for name in ("cpu", "cuda")), strict=True)
    for fit, (here, there) in zip(fits, pairs, strict=True):
        assert compare_probes(features, labels, fit.rows, there, here)[0] < 1e-5


def test_a_device_without_memory_gets_smaller_blocks_and_then_the_cpu(monkeypatch):
    asked = []
    prepare = module._prepare

    def fail_twice(features, fits, solver, device, cells):
        asked.append((device.type, cells))
        if len(asked) < 3:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return prepare(features, fits, solver, torch.device("cpu"), cells)

    monkeypatch.setattr(module, "_prepare", fail_twice)
    features, labels = draw_embeddings(ROWS, DIM, 3, 9)
    assert next(fit_probes(features, fits_of(labels)[:1], Solver(3, device="cuda"))).converged
    assert asked == [("cuda", None), ("cuda", 2**20), ("cpu", None)]
