import dataclasses

import numpy as np
import pytest

from herbray.tasks import UnscorableError
from herbray.tasks.interface.columns import Labels
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


def test_the_most_probably_wrong_come_first(embeddings_of):
    table = suspects_table(embeddings_of({"Alba": 30, "Borea": 30}, separation=1.0), rank="genus")
    rows = table.to_pylist()
    assert all(row["given"] != row["suggested"] for row in rows)
    assert [row["wrong_probability"] for row in rows] == sorted(
        (row["wrong_probability"] for row in rows), reverse=True
    )
    assert all(row["suspected"] == (row["wrong_probability"] >= 0.5) for row in rows)


def test_names_that_images_do_not_tell_apart_are_not_suspected(embeddings_of):
    found = list_suspects(embeddings_of({"Alba": 60, "Borea": 60, "Cirra": 60}, separation=0.0))
    assert not any(found.table["suspected"].to_pylist())
    assert found.total < 0.15 * 180
    assert found.after.error < found.before.error


def test_specimens_without_a_name_or_with_rare_names_are_not_judged(embeddings_of):
    embeddings = embeddings_of({"Alba": 20, "Borea": 20, "Erema": 3}, separation=5.0)
    genus = embeddings.genus.copy()
    genus[0] = None
    found = list_suspects(dataclasses.replace(embeddings, genus=genus))
    assert len(found.table) == 39
    assert "Alba-0000" not in found.table["specimen_id"].to_pylist()
    assert "3 sheets of 1 name in fewer than 5 gatherings" in found.not_judged
    assert "1 sheet without a name at rank genus" in found.not_judged
    rows = {row["specimen_id"]: (row["given"], row["gatherings"], row["reason"]) for row in found.unjudged.to_pylist()}
    assert len(rows) == 4
    assert rows["Alba-0000"] == (None, None, "no name at this rank")
    assert rows["Erema-0002"] == ("Erema", 3, "fewer than 5 gatherings under this name")
    whole = list_suspects(embeddings_of({"Alba": 20, "Borea": 20}, separation=5.0))
    assert (whole.not_judged, len(whole.unjudged)) == ("", 0)


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
    kinds = dict(zip(found["specimen_id"].to_pylist(), found["kind"].to_pylist(), strict=True))
    assert {name for name, kind in kinds.items() if kind == "gathering"} == {"Erema-0000", "Erema-0001"}


def test_a_gathering_under_several_names_is_listed_even_if_no_probe_can_judge_them(embeddings_of):
    embeddings = embeddings_of({"Alba": 30, "Borea": 30, "Dolia": 2, "Erema": 2}, separation=9.0)
    gathering = np.where(np.isin(np.arange(64), (60, 62)), "one plant", None)  # a Dolia and an Erema
    found = list_suspects(dataclasses.replace(embeddings, gathering=gathering))
    rows = {row["specimen_id"]: row for row in found.table.to_pylist()}
    assert len(rows) == 62
    for name, other in (("Dolia-0000", "Erema"), ("Erema-0000", "Dolia")):
        assert (rows[name]["kind"], rows[name]["suggested"]) == ("gathering", other)
        assert rows[name]["wrong_probability"] >= 0.5
    assert {row["specimen_id"] for row in found.unjudged.to_pylist()} == {"Dolia-0001", "Erema-0001"}


def test_a_synonym_is_told_apart_from_a_wrong_name(embeddings_of):
    embeddings = embeddings_of({"Alba": 30, "Borea": 30}, separation=9.0)
    genus = embeddings.genus.copy()
    genus[3], genus[40] = "Albula", "Albula"  # an old name of Alba: once rightly, once on a Borea
    found = list_suspects(dataclasses.replace(embeddings, genus=genus), accepted={"Albula": "Alba"}).table
    rows = {row["specimen_id"]: row for row in found.to_pylist()}
    assert len(rows) == 60
    old, wrong = rows["Alba-0003"], rows["Borea-0010"]
    assert (old["kind"], old["given"], old["suggested"], old["suspected"]) == ("synonym", "Albula", "Alba", False)
    assert (wrong["kind"], wrong["given"], wrong["suggested"], wrong["suspected"]) == ("name", "Albula", "Borea", True)
    assert wrong["place"] == 1


def test_the_number_of_wrong_names_is_estimated(embeddings_of):
    embeddings = embeddings_of({"Alba": 80, "Borea": 80, "Cirra": 80}, separation=4.0)
    genus = embeddings.genus.copy()
    genus[::20] = np.where(embeddings.genus[::20] == "Alba", "Borea", "Alba")
    found = list_suspects(dataclasses.replace(embeddings, genus=genus))
    assert [each.first for each in found.expected] == [10, 50, 200]
    assert 6 < found.total < 20  # 12 are wrong
    for each in found.expected:
        assert each.low <= each.value <= each.high
    assert found.expected[0].low >= 4


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


def test_sheets_with_one_image_are_held_out_together_and_disagree(embeddings_of):
    embeddings = embeddings_of({"Alba": 30, "Borea": 30}, separation=9.0)
    genus, same = embeddings.genus.copy(), np.full(60, None, dtype=object)
    genus[7], same[[7, 20]] = "Borea", "one image"
    gathering = np.where(np.isin(np.arange(60), (20, 21)), "one plant", None)
    filed = dataclasses.replace(embeddings, genus=genus, gathering=gathering)
    found = list_suspects(filed, same=Labels.of(same))
    rows = {row["specimen_id"]: row for row in found.table.to_pylist()}
    assert {name for name, row in rows.items() if row["kind"] == "image"} == {"Alba-0007", "Alba-0020", "Alba-0021"}
    assert (rows["Alba-0007"]["place"], rows["Alba-0007"]["suspected"]) == (1, True)
    assert not rows["Alba-0020"]["suspected"]
    assert "Alba-0020" not in rows["Alba-0007"]["neighbours"]
