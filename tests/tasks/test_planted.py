import dataclasses

import numpy as np
import pytest

from herbray.tasks import UnscorableError
from herbray.tasks.methods.detect import METHODS
from herbray.tasks.planted import OURS, Planted

SIZES = {"Alba": 60, "Borea": 60, "Cirra": 60, "Erema": 60}


def with_wrong_names(embeddings, every):
    """True names are those of the clouds; each `every`-th sheet is filed under the next genus."""
    genera = sorted(SIZES)
    genus = embeddings.genus.copy()
    species = embeddings.species.copy()
    for row in range(3, len(genus), every):
        genus[row] = genera[(genera.index(genus[row]) + 1) % len(genera)]
        species[row] = f"{genus[row]} alta"
    return dataclasses.replace(embeddings, genus=genus, species=species, true_species=embeddings.species)


def counts(scores):
    return {score.metric: score.value for score in scores}


def test_wrong_names_rank_first_if_genera_are_separated(embeddings_of):
    embeddings = with_wrong_names(embeddings_of(SIZES, 9.0), 20)
    found = counts(Planted(first=(12,)).run(embeddings, "random"))
    assert (found["rows"], found["wrong"], found["chance"]) == (240, 12, 0.05)
    for prefix in (*METHODS, OURS):
        assert found[prefix + "precision_at_12"] > 0.9, prefix
        assert found[prefix + "precision_at_n"] == found[prefix + "precision_at_12"]
        assert found[prefix + "tpr"] > (0.5 if prefix == OURS else 0.9)  # OURS: more probably wrong than right
        assert found[prefix + "fpr"] < 0.1
        assert found[prefix + "auroc"] > 0.97


def test_without_signal_a_list_is_no_better_than_chance(embeddings_of):
    embeddings = with_wrong_names(embeddings_of(SIZES, 0.0), 5)
    found = counts(Planted(first=(100,)).run(embeddings, "random"))
    for prefix in (*METHODS, OURS):
        assert found[prefix + "precision_at_100"] == pytest.approx(found["chance"], abs=0.12), prefix
        assert found[prefix + "auroc"] == pytest.approx(0.5, abs=0.15)


def test_a_wrong_species_of_the_right_genus_is_wrong_at_rank_species_only(embeddings_of):
    embeddings = embeddings_of({"Alba": 40, "Erema": 40}, 5.0)
    true_species = embeddings.species.copy()
    true_species[:4] = "Alba nova"
    reviewed = dataclasses.replace(embeddings, true_species=true_species)
    assert counts(Planted(ranks=("species",)).run(reviewed, "random"))["wrong"] == 4
    with pytest.raises(UnscorableError, match=r"planted, split 'random', rank 'genus': of 80 .* 0 have a wrong name"):
        Planted().run(reviewed, "random")


def test_rightly_named_sheets_of_one_gathering_are_not_on_the_list(embeddings_of):
    embeddings = with_wrong_names(embeddings_of(SIZES | {"Dolia": 6}, 9.0), 25)
    gathering = np.where(embeddings.genus == "Dolia", "one plant", None)
    gathered = dataclasses.replace(embeddings, gathering=gathering)
    found = counts(Planted(first=(10,)).run(gathered, "random"))
    assert (found["rows"], found["rows_left_out"]) == (len(embeddings) - 6, 6)
    assert found["precision_at_10"] > 0.9
    assert found["oof_fpr"] < 0.02


def test_unreviewed_and_rare_specimens_are_left_out(embeddings_of):
    embeddings = with_wrong_names(embeddings_of(SIZES | {"Dolia": 3}, 5.0), 20)
    true_species = embeddings.true_species.copy()
    true_species[:10] = None
    found = counts(Planted().run(dataclasses.replace(embeddings, true_species=true_species), "random"))
    dolia = int((embeddings.genus == "Dolia").sum())
    assert found["rows"] == 243 - 10 - dolia
    assert found["rows_left_out"] == 10 + dolia


def test_without_truth_the_task_is_refused(embeddings_of):
    with pytest.raises(UnscorableError, match="leave the task out if `true_species` is not known"):
        Planted().run(embeddings_of(SIZES, 1.0), "random")


def test_the_true_genus_may_have_no_filed_specimens(embeddings_of):
    embeddings = embeddings_of({"Alba": 40, "Erema": 40}, 5.0)
    true_species = np.array([*["Nova rara"] * 3, *embeddings.species[3:]], dtype=object)
    found = counts(Planted().run(dataclasses.replace(embeddings, true_species=true_species), "random"))
    assert found["wrong"] == 3


@pytest.mark.parametrize("kind", ["random", "kin", "gatherings"])
def test_planted_names_are_found_and_their_number_is_estimated(embeddings_of, kind):
    embeddings = embeddings_of(SIZES, 9.0)
    gathering = np.array([f"g{row // 2}" for row in range(len(embeddings))], dtype=object)
    known = dataclasses.replace(embeddings, gathering=gathering, true_species=embeddings.species)
    task = Planted(first=(10, 20), plant=kind, share=0.1, draws=2)
    scores = task.run(known, "random")
    assert {score.level for score in scores} == {f"genus ({kind})"}
    assert {score.fold for score in scores} == {0, 1}
    for draw in (0, 1):
        found = counts([score for score in scores if score.fold == draw])
        assert found["wrong"] == 24
        assert found["list_precision_at_20"] > 0.9
        assert found["list_wrong_20"] == 20 * found["list_precision_at_20"]
        assert found["list_expected_20"] == pytest.approx(found["list_wrong_20"], abs=6)
        assert found["list_error_after"] < 0.06


def test_planting_needs_no_wrong_name_and_is_the_same_for_the_same_seed(embeddings_of):
    embeddings = embeddings_of({"Alba": 30, "Borea": 30}, 2.0)
    known = dataclasses.replace(embeddings, true_species=embeddings.species)
    task = Planted(first=(5,), plant="random", draws=1)
    task.check(known, "random")
    assert task.run(known, "random", 3) == task.run(known, "random", 3)
    with pytest.raises(UnscorableError, match="no sheet can get a wrong name of kind 'gatherings'"):
        Planted(plant="gatherings").check(known, "random")
