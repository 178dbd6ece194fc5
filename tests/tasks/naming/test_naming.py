import numpy as np
import pytest

from herbray.schema import RANKS
from herbray.tasks import Embeddings
from herbray.tasks.interface.embeddings import UnscorableError
from herbray.tasks.mislabel import Mislabel
from herbray.tasks.naming.confidence import choose_threshold, draw_curve
from herbray.tasks.naming.learning import learn_names
from herbray.tasks.naming.rank_model import NOTHING, restrict
from herbray.tasks.naming.suggestions import Unnamed, list_cases, suggest_names

GENERA, SHEETS, DIM = 10, 40, 16
EASY = 4  # genera far apart; the others come in pairs that overlap


def draw(embeddings_of_rows, count, seed, overlap=1.6):
    """Sheets of ten genera in five families; families are far apart, the two genera of a family less so."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        genus = number % GENERA
        centre = 7 * np.eye(DIM)[genus // 2] + (7 if genus < EASY else overlap) * np.eye(DIM)[5 + genus]
        names = {"order": "Ordo", "family": f"F{genus // 2}aceae", "genus": f"G{genus}", "species": None}
        rows.append(names | {"features": (centre + rng.standard_normal(DIM)).astype(np.float32)})
    return embeddings_of_rows(rows)


@pytest.fixture(scope="module")
def of_rows():
    def make(rows):
        ids = np.array([f"@{number:05d}" for number in range(len(rows))], dtype=object)
        filed = {rank: np.array([row[rank] for row in rows], dtype=object) for rank in RANKS}
        return ids, np.stack([row["features"] for row in rows]), filed

    return make


@pytest.fixture(scope="module")
def named(of_rows):
    ids, features, filed = draw(of_rows, GENERA * SHEETS, 1)
    nothing = np.full(len(ids), None, dtype=object)
    gathering = np.array([f"g{number // GENERA // 2}-{number % GENERA}" for number in range(len(ids))], dtype=object)
    others = {"institution": nothing, "true_species": nothing, "gathering": gathering}
    return Embeddings(features, ids, split=np.full(len(ids), "random", dtype=object), **filed, **others)


CASES = [("family", NOTHING), ("genus", NOTHING), ("genus", "family")]


@pytest.fixture(scope="module")
def namer(named):
    return learn_names(named, CASES, Mislabel(), 0.95, 0.05, "genus", 89)


def unnamed_of(of_rows, count, seed, hide):
    ids, features, filed = draw(of_rows, count, seed)
    nothing = np.full(len(ids), None, dtype=object)
    return Unnamed(ids, features, {rank: nothing if rank in hide else filed[rank] for rank in RANKS}), filed["genus"]


def test_confidence_is_calibrated_and_the_wanted_accuracy_holds_on_new_sheets(namer, named, of_rows):
    unnamed, true = unnamed_of(of_rows, 2000, 2, RANKS)
    found = suggest_names(namer, unnamed, named)
    genus = found.by_rank["genus"]
    right = genus.names == true
    assert 0.75 < right.mean() < 0.97
    assert abs(genus.confidence.mean() - right.mean()) < 0.05
    threshold = namer.thresholds["genus", NOTHING]
    assert 0.3 < threshold.coverage < 1
    assert threshold.low < 0.95 <= threshold.accuracy
    accepted = genus.confidence >= threshold.confidence
    assert right[accepted].mean() > 0.92
    assert abs(accepted.mean() - threshold.coverage) < 0.1
    assert (found.by_rank["family"].names == np.array([f"F{int(g[1:]) // 2}aceae" for g in true])).mean() > 0.99


def test_a_given_family_narrows_the_genera(namer, named, of_rows):
    unnamed, true = unnamed_of(of_rows, 300, 3, ("genus", "species"))
    assert list_cases(unnamed, "genus") == [("genus", "family")]
    found = suggest_names(namer, unnamed, named).by_rank["genus"]
    assert {int(name[1:]) // 2 for name in found.names[true == "G4"]} == {2}
    moved = Unnamed(unnamed.ids, unnamed.features, unnamed.filed | {"family": np.full(300, "F0aceae", dtype=object)})
    assert set(suggest_names(namer, moved, named).by_rank["genus"].names) <= {"G0", "G1"}
    strange = Unnamed(unnamed.ids, unnamed.features, unnamed.filed | {"family": np.full(300, "Newaceae", dtype=object)})
    none = suggest_names(namer, strange, named)
    assert set(none.by_rank["genus"].names) == {None}
    assert not none.by_rank["genus"].confidence.any()
    assert set(none.name) == {None}


def test_a_genus_that_nobody_taught_is_found_at_the_measured_rate(namer, named):
    open_set = namer.open_set
    assert [rule.name for rule in (open_set.used, *open_set.others)] == ["either", "distance", "confidence"]
    assert (open_set.names, open_set.unknown) == (GENERA, GENERA * SHEETS)
    assert all(rule.false_alarms <= 0.05 + 1 / open_set.known for rule in (open_set.used, *open_set.others))
    far = np.random.default_rng(5).standard_normal((200, DIM)).astype(np.float32) + 9 * np.eye(DIM, dtype="f4")[15]
    nothing = {rank: np.full(200, None, dtype=object) for rank in RANKS}
    found = suggest_names(namer, Unnamed(np.arange(200).astype(str).astype(object), far, nothing), named)
    assert np.mean(found.unknown == True) > 0.9  # noqa: E712
    assert set(found.name[found.unknown == True]) == {None}  # noqa: E712


def test_the_threshold_is_the_largest_coverage_at_the_accuracy(namer):
    trust = namer.trusts["genus", NOTHING]
    threshold = choose_threshold(trust, 0.95)
    accepted = trust.confidence >= threshold.confidence
    assert accepted.mean() == pytest.approx(threshold.coverage)
    assert trust.hit[accepted].mean() == pytest.approx(threshold.accuracy)
    lower = np.unique(trust.confidence[~accepted])
    assert all(trust.hit[trust.confidence >= value].mean() < 0.95 for value in lower)
    assert choose_threshold(trust, 0.9999).coverage == 0  # 400 sheets cannot show it
    coverage, accuracy = draw_curve(trust)
    assert (coverage[-1], accuracy[-1]) == (1.0, pytest.approx(trust.hit.mean()))


def test_calibration_does_not_make_the_errors_larger_and_both_methods_are_measured(namer):
    for trust in namer.trusts.values():
        assert set(trust.errors) == {"raw", "temperature", "isotonic"}
        assert trust.errors[trust.calibration.method] == min(trust.errors["temperature"], trust.errors["isotonic"])
        assert ((trust.confidence >= 0) & (trust.confidence <= 1)).all()
    assert len(namer.trusts["genus", "family"].hit) == GENERA * SHEETS


def test_what_labels_do_not_allow_is_told(named):
    few = learn_names(named, [("order", NOTHING), ("genus", NOTHING)], Mislabel(), 0.9, 0.05, "family", 89)
    assert few.open_set is None
    assert any(note.startswith("No names are suggested at rank order") for note in few.notes)
    assert any(note.startswith("Unknown names are not recognised") for note in few.notes)
    with pytest.raises(UnscorableError, match="rank species"):
        learn_names(named, [("species", NOTHING)], Mislabel(), 0.9, 0.05, "genus", 89)


def test_a_name_that_contradicts_the_accepted_family_is_dropped(namer, named, of_rows):
    unnamed, _ = unnamed_of(of_rows, 400, 8, RANKS)
    found = suggest_names(namer, unnamed, named)
    for row in np.flatnonzero(found.rank == "genus"):
        if found.by_rank["family"].accepted[row]:
            assert found.by_rank["family"].names[row] == f"F{int(found.name[row][1:]) // 2}aceae"


def test_restricted_probabilities_add_up_to_one_or_are_all_zero():
    kept = restrict(np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]]), np.array([[0, 1, 1], [0, 0, 0]], dtype=bool))
    assert np.allclose(kept, [[0, 2 / 3, 1 / 3], [0, 0, 0]])
