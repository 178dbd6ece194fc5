import numpy as np
import pytest

from herbray.probes.linear import LinearProbe, Probabilities


@pytest.fixture(params=[2, 7])
def probe(request):
    rng = np.random.default_rng(1)
    columns = 1 if request.param == 2 else request.param
    coefficients = rng.standard_normal((columns, 6))
    return LinearProbe(coefficients, rng.standard_normal(columns), rng.standard_normal(6), np.full(6, 2.0), True, 1)


def by_hand(probe, features):
    logits = (features - probe.centre) / probe.scale @ probe.coefficients.T + probe.intercepts
    logits = np.hstack([np.zeros((len(features), 1)), logits]) if logits.shape[1] == 1 else logits
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("cells", [1, 40, 10**6])
def test_blocks_of_rows_and_of_classes_are_the_whole_matrix(probe, cells, monkeypatch):
    monkeypatch.setattr("herbray.probes.linear._LEAST_CLASSES", 1)
    features = np.random.default_rng(2).standard_normal((23, 6)).astype(np.float32)
    rows = np.array([5, 3, 21, 0, 8, 9, 13])
    wanted = by_hand(probe, features[rows].astype(np.float64))
    found = Probabilities(probe, features, rows, cells)
    assert found.shape == wanted.shape
    for blocks, axis in ((found.by_rows(), 0), (found.by_classes(), 1)):
        parts, values = zip(*blocks, strict=True)
        assert [place for part in parts for place in range(part.start, part.stop)] == list(range(wanted.shape[axis]))
        assert np.allclose(np.concatenate(values, axis=axis), wanted, atol=1e-12)
        limit = max(cells, wanted.shape[1 - axis])
        assert (axis == 1 and wanted.shape[1] == 2) or max(block.size for block in values) <= limit
    assert np.array_equal(found.predict(), wanted.argmax(axis=1))


def test_probabilities_far_from_the_border_do_not_overflow(probe):
    features = np.full((1, 6), 3e4, np.float32) * np.sign(probe.coefficients[0]).astype(np.float32)
    found = Probabilities(probe, features, np.array([0])).dense()
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(1.0)


def test_no_rows_give_no_probabilities(probe):
    nothing = Probabilities(probe, np.empty((0, 6), np.float32), np.empty(0, np.intp))
    assert nothing.dense().shape == (0, probe.classes)
    assert not len(nothing.predict())
