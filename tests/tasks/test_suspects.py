import dataclasses

import numpy as np
import pytest

from herbray.tasks import UnscorableError
from herbray.tasks.suspects import SUSPECT, list_suspects


def suspects_table(*args, **kwargs):
    return list_suspects(*args, **kwargs).table


def test_sheets_filed_under_a_wrong_name_head_the_list_with_the_right_one_suggested(embeddings_of):
    embeddings = embeddings_of({"Alba": 30, "Borea": 30, "Erema": 30}, separation=10.0)
    genus = embeddings.genus.copy()
    wrong = [2, 17, 40, 75]
    names = {2: "Erema", 17: "Borea", 40: "Alba", 75: "Borea"}
    for row, name in names.items():
        genus[row] = name
    table = suspects_table(dataclasses.replace(embeddings, genus=genus))
    assert table.schema == SUSPECT
    assert len(table) == 90
    head = table.slice(0, 4).to_pylist()
    assert {row["specimen_id"] for row in head} == set(embeddings.specimen_id[wrong])
    for row in head:
        assert row["suspected"]
        assert row["suggested"] == row["specimen_id"].split("-")[0]
        assert row["given"] != row["suggested"]
        assert row["given_probability"] < row["suggested_probability"]
    assert sum(table["suspected"].to_pylist()) < 8


def test_the_suspected_come_first_and_then_the_least_confident(embeddings_of):
    table = suspects_table(embeddings_of({"Alba": 30, "Borea": 30}, separation=1.0), rank="genus")
    assert all(row["given"] != row["suggested"] for row in table.to_pylist())
    keys = [(not row["suspected"], row["given_probability"]) for row in table.to_pylist()]
    assert keys == sorted(keys)
    assert 0 < sum(table["suspected"].to_pylist()) < 60


def test_specimens_without_a_name_or_with_rare_names_are_not_judged(embeddings_of):
    embeddings = embeddings_of({"Alba": 20, "Borea": 20, "Erema": 3}, separation=5.0)
    genus = embeddings.genus.copy()
    genus[0] = None
    found = list_suspects(dataclasses.replace(embeddings, genus=genus))
    assert len(found.table) == 39
    assert "Alba-0000" not in found.table["specimen_id"].to_pylist()
    assert "3 sheets of 1 name in fewer than 5 gatherings" in found.not_judged
    assert "1 sheet without a name at rank genus" in found.not_judged
    assert list_suspects(embeddings_of({"Alba": 20, "Borea": 20}, separation=5.0)).not_judged == ""


def test_rightly_named_sheets_of_one_gathering_are_not_suspected(embeddings_of):
    embeddings = embeddings_of({"Alba": 40, "Borea": 40, "Erema": 6}, separation=12.0)
    gathering = np.where(embeddings.genus == "Erema", "one plant", None)
    found = list_suspects(dataclasses.replace(embeddings, gathering=gathering))
    assert not [name for name in found.table["specimen_id"].to_pylist() if name.startswith("Erema")]
    assert not any(found.table["suspected"].to_pylist())
    assert found.not_judged.startswith("Not judged: 6 sheets of 1 name in fewer than 5 gatherings")


def test_a_duplicate_filed_under_another_genus_is_suspected_and_its_twin_is_not(embeddings_of):
    embeddings = embeddings_of({"Alba": 40, "Borea": 40, "Erema": 10}, separation=12.0)
    genus, gathering = embeddings.genus.copy(), np.array([f"g{row // 2}" for row in range(90)], dtype=object)
    genus[80] = "Alba"  # first of the two sheets of gathering 40, whose other sheet is rightly Erema
    found = list_suspects(dataclasses.replace(embeddings, genus=genus, gathering=gathering)).table
    assert found["specimen_id"].to_pylist()[0] == "Erema-0000"
    assert found["suggested"].to_pylist()[0] == "Erema"
    assert sum(found["suspected"].to_pylist()) == 1


def test_one_name_alone_and_an_unknown_rank_are_refused(embeddings_of):
    embeddings = embeddings_of({"Alba": 20, "Borea": 20}, separation=5.0)
    with pytest.raises(UnscorableError, match="rank 'order': 1 names"):
        list_suspects(embeddings, rank="order")
    with pytest.raises(ValueError, match="did you mean 'species'"):
        list_suspects(embeddings, rank="specie")


def test_the_list_is_the_same_for_the_same_seed(embeddings_of):
    embeddings = embeddings_of({"Alba": 20, "Borea": 20}, separation=1.0)
    assert suspects_table(embeddings, seed=3).equals(suspects_table(embeddings, seed=3))
    assert not np.allclose(
        np.sort(suspects_table(embeddings, seed=3)["given_probability"]),
        np.sort(suspects_table(embeddings, seed=4)["given_probability"]),
    )
