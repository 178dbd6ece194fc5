import dataclasses

import numpy as np

from herbray.tasks.evidence import find_most_alike, list_proposals


def test_the_nearest_sheets_of_a_name_are_of_other_gatherings(embeddings_of):
    embeddings = embeddings_of({"Alba": 20, "Borea": 20, "Erema": 2}, separation=2.0)
    gathering = embeddings.gathering.copy()
    gathering[:3] = "one plant"
    embeddings = dataclasses.replace(embeddings, gathering=gathering)
    own, other, rare = find_most_alike(embeddings, "genus", [0, 0, 40], ["Alba", "Borea", "Erema"], 5)
    unit = embeddings.features / np.linalg.norm(embeddings.features, axis=1, keepdims=True)
    distance = 1 - unit.astype(float) @ unit[0]
    assert own.rows.tolist() == (3 + np.argsort(distance[3:20]))[:5].tolist()
    assert other.rows.tolist() == (20 + np.argsort(distance[20:40]))[:5].tolist()
    np.testing.assert_allclose(other.distance, distance[other.rows], atol=1e-6)
    assert rare.rows.tolist() == [41]  # not itself


def test_a_sheet_without_another_sheet_of_the_name_has_no_evidence(embeddings_of):
    embeddings = embeddings_of({"Alba": 20, "Borea": 1}, separation=2.0)
    alone, unknown = find_most_alike(embeddings, "genus", [20, 0], ["Borea", "Nowhere"], 5)
    assert len(alone.rows) == len(unknown.rows) == 0


def test_names_of_the_nearest_sheets_are_proposed_after_the_suggested_one():
    assert list_proposals("Borea", "Alba", ["Erema", "Alba", "", "Ursa", "Ursa"]) == ["Borea", "Ursa"]
    assert list_proposals("Borea", "Alba", ["Borea"]) == ["Borea"]
