import pyarrow as pa
import pytest

from herbray import schema
from herbray.data.judged_labels import apply_verdicts
from herbray.data.labels import Labels, read_labels
from herbray.verdicts.saving import append_verdicts

NAMES = {"Alba": "Rosaceae", "Borea": "Rosaceae", "Erema": "Fagaceae"}


@pytest.fixture
def specimens():
    rows = []
    for genus, family in NAMES.items():
        for number in range(4):
            row = dict.fromkeys(schema.CATALOGUE.names) | {"specimen_id": f"{genus}{number}", "image": "x"}
            rows.append(row | {"family": family, "genus": genus, "species": f"{genus} minor"})
    return pa.Table.from_pylist(rows, schema=schema.CATALOGUE)


SPLITS = pa.array(["train", "train", "validation", "random"] * 3)


def judged(folder, specimens, rows, **settings):
    keys = ("specimen_id", "rank", "given", "verdict", "name", "reviewer")
    lines = [dict.fromkeys(schema.VERDICT.names) | dict(zip(keys, row, strict=False)) for row in rows]
    folder.mkdir(exist_ok=True)
    append_verdicts(folder / "a.csv", [line | {"id": str(at), "at": ""} for at, line in enumerate(lines)])
    return apply_verdicts(specimens, SPLITS, Labels(verdicts=folder, **settings))


def labels_of(found, rank="genus"):
    columns = (found.table["specimen_id"], read_labels(found.table, rank), found.splits)
    return {name: (label, split) for name, label, split in zip(*(c.to_pylist() for c in columns), strict=True)}


ROWS = [
    ("Alba0", "genus", "Alba", "wrong", "Erema", "Ada"),
    ("Alba2", "genus", "Alba", "wrong", None, "Ada"),
    ("Alba3", "genus", "Alba", "wrong", "Erema", "Ada"),  # of a test split
    ("Borea0", "genus", "Borea", "wrong", "Alba", "Ada"),
    ("Borea0", "genus", "Borea", "right", None, "Ben"),  # Ben disagrees
    ("Borea1", "genus", "Oldname", "wrong", "Alba", "Ada"),  # redetermined since
    ("Erema0", "species", "Erema minor", "wrong", "Erema major", "Ada"),  # the genus may be right
    ("Erema1", "genus", "Erema", "maybe", None, "Ada"),
]


def test_sheets_that_teach_are_left_out_if_their_label_was_judged_wrong(tmp_path, specimens):
    found = judged(tmp_path / "v", specimens, ROWS)
    assert (found.left_out, found.corrected) == (2, 0)
    after = labels_of(found)
    assert {name for name, (_, split) in after.items() if split == "unused"} == {"Alba0", "Alba2"}
    assert after["Alba3"] == ("Alba", "random")  # encoders are tested on the same sheets and names as before
    assert found.table.equals(specimens)


def test_sheets_are_corrected_with_their_higher_names_if_the_reviewers_gave_a_name(tmp_path, specimens):
    found = judged(tmp_path / "v", specimens, ROWS, wrong="correct")
    assert (found.left_out, found.corrected) == (1, 1)
    after = labels_of(found)
    assert after["Alba0"] == ("Erema", "train")
    assert after["Alba2"] == ("Alba", "unused")
    (row,) = [row for row in found.table.to_pylist() if row["specimen_id"] == "Alba0"]
    assert (row["family"], row["genus"], row["species"]) == ("Fagaceae", "Erema", None)
    same = [name for name, pair in labels_of(judged(tmp_path / "w", specimens, ())).items() if pair == after[name]]
    assert len(same) == 10


def test_a_verdict_on_a_species_counts_if_species_are_learned(tmp_path, specimens):
    found = judged(tmp_path / "v", specimens, ROWS, wrong="correct", rank="species")
    after = labels_of(found, "species")
    assert after["Erema0"] == ("Erema major", "train")
    assert after["Alba0"][1] == "unused"  # its genus is known now, its species is not
    assert (found.left_out, found.corrected) == (2, 1)


def test_without_verdicts_nothing_changes(specimens):
    found = apply_verdicts(specimens, SPLITS, Labels())
    assert (found.table, found.splits, found.left_out) == (specimens, SPLITS, 0)
