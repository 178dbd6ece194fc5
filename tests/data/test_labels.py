import pyarrow as pa
import pytest

from herbray.config import ConfigError, parse
from herbray.data.labels import Labels, encode_lineages, list_lineages, read_labels
from herbray.data.splitting.empty_splits import explain_empty_splits
from herbray.data.splitting.splits import EmptySplit, Splits, split
from herbray.schema import CATALOGUE

ONE_GENUS = [("Rubus", f"Rubus {epithet}") for epithet in ("caesius", "idaeus", "saxatilis") for _ in range(8)]


def catalogue_of(names, **columns):
    rows = [
        {"specimen_id": f"s{number:03d}", "image": f"{number}.jpg", "genus": genus, "species": species}
        for number, (genus, species) in enumerate(names)
    ]
    table = pa.Table.from_pylist(rows, schema=CATALOGUE)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
    return table


def test_labels_are_the_names_at_the_rank():
    table = catalogue_of([("Rubus", "Rubus caesius"), ("Rubus", None), (None, None)], family=["Rosaceae", None, None])
    assert read_labels(table, "genus").to_pylist() == ["Rubus", "Rubus", None]
    assert read_labels(table, "family").to_pylist() == ["Rosaceae", None, None]
    assert read_labels(table, "species").to_pylist() == ["Rubus caesius", None, None]


def test_epithets_without_their_genus_are_distinguished():
    table = catalogue_of([("Rubus", "caesius"), ("Carex", "caesius"), (None, "caesius"), ("Rubus", "Rubus caesius")])
    assert read_labels(table, "species").to_pylist() == ["Rubus caesius", "Carex caesius", "caesius", "Rubus caesius"]


def test_a_catalogue_of_one_genus_is_refused_with_the_way_out_and_split_by_its_species():
    table = catalogue_of(ONE_GENUS)
    with pytest.raises(ValueError, match=r"all 24 specimens are of one genus, Rubus.*labels\.rank=species"):
        split(table, Splits(home=None), 89)
    found = split(table, Splits(home=None), 89, "species").to_pylist()
    assert {"train", "validation", "random"} == set(found)
    trained = {name for (_, name), side in zip(ONE_GENUS, found, strict=True) if side == "train"}
    assert {name for (_, name), side in zip(ONE_GENUS, found, strict=True) if side == "random"} <= trained


def test_species_held_out_make_no_sense_when_species_are_the_labels():
    table = catalogue_of(ONE_GENUS)
    with pytest.raises(EmptySplit, match="split 'species' is empty"):
        split(table, Splits(home=None, species=0.3), 89, "species")
    found = split(table, Splits(home=None), 89, "species")
    assert (
        "a species that training never saw has no label"
        in explain_empty_splits(table, found, Splits(home=None), "species")["species"]
    )


def test_sheets_without_a_name_at_the_rank_are_unused():
    table = catalogue_of([*ONE_GENUS, ("Rubus", None), (None, None)])
    assert split(table, Splits(home=None), 89, "species").to_pylist()[-2:] == ["unused", "unused"]


def test_families_are_labels_too():
    families = ["Rosaceae", "Poaceae"] * 12
    names = [("Rubus", None), ("Zea", None)] * 12
    found = split(catalogue_of(names, family=families), Splits(home=None), 89, "family").to_pylist()
    assert found.count("train") > 8
    with pytest.raises(ValueError, match="no specimen has a name at rank order"):
        split(catalogue_of(names), Splits(home=None), 89, "order")


def test_an_unknown_rank_is_refused():
    with pytest.raises(ConfigError, match=r"rank"):
        parse(Labels, {"rank": "tribe"})


MIXED = [
    ("Rubus", "Rubus caesius"),
    ("Rubus", "Rubus idaeus"),
    ("Rubus", None),
    ("Rosa", None),
    (None, None),
    (None, None),
]


def test_at_rank_all_the_label_is_the_finest_name():
    table = catalogue_of(MIXED, family=["Rosaceae"] * 4 + ["Fagaceae", None])
    found = read_labels(table, "all").to_pylist()
    assert found == ["Rubus caesius", "Rubus idaeus", "Rubus", "Rosa", "Fagaceae", None]
    lineages = list_lineages(table, "all").to_pylist()
    assert [row["label"] for row in lineages] == ["Fagaceae", "Rosa", "Rubus", "Rubus caesius", "Rubus idaeus"]
    assert lineages[3] == {
        "label": "Rubus caesius",
        "order": None,
        "family": "Rosaceae",
        "genus": "Rubus",
        "species": "Rubus caesius",
    }
    codes = encode_lineages(list_lineages(table, "all"), ["Rubus idaeus", "Rubus", "Fagaceae", "Rosa"])
    assert codes.tolist() == [[1, 1, 0], [1, 1, -1], [0, -1, -1], [1, 0, -1]]  # no order: no column


def test_names_form_a_tree_even_if_sheets_disagree():
    table = catalogue_of(
        [("Rubus", None)] * 3, family=["Rosaceae", "Rosaceae", "Fagaceae"], order=["Rosales", None, None]
    )
    assert list_lineages(table, "genus").to_pylist() == [
        {"label": "Rubus", "order": "Rosales", "family": "Rosaceae", "genus": "Rubus", "species": None}
    ]


def test_lineages_at_a_rank_leave_out_finer_names_and_sheets_without_that_rank():
    table = catalogue_of(MIXED, family=["Rosaceae"] * 4 + ["Fagaceae", None])
    assert [row["label"] for row in list_lineages(table, "genus").to_pylist()] == ["Rosa", "Rubus"]
    assert list_lineages(table, "genus")["species"].null_count == 2
    assert [row["label"] for row in list_lineages(table, "species").to_pylist()] == ["Rubus caesius", "Rubus idaeus"]


def test_names_of_one_rank_and_labels_without_a_lineage_are_refused():
    table = catalogue_of([("Rubus", None), ("Rosa", None)])
    with pytest.raises(ValueError, match=r"names at two ranks or more.*labels\.rank=all"):
        encode_lineages(list_lineages(table, "genus"), ["Rosa", "Rubus"])
    with pytest.raises(ValueError, match="no lineage of Carex"):
        encode_lineages(list_lineages(table, "genus"), ["Carex", "Rosa"])


def test_at_rank_all_no_species_is_held_out():
    table = catalogue_of([(g, f"{g} {e}") for g in ("Rubus", "Rosa") for e in ("alba", "rubra") for _ in range(8)])
    splits = split(table, Splits(home=None), 89, "all")
    assert {"train", "random"} <= set(splits.to_pylist())
    assert "species" not in splits.to_pylist()
    assert "species that training never saw" in explain_empty_splits(table, splits, Splits(home=None), "all")["species"]
