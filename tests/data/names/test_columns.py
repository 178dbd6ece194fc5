import pyarrow as pa

from herbray.data.names.catalogue_names import read_names
from herbray.data.names.columns import tidy_names
from herbray.data.names.settings import Names

COLUMNS = ("order", "family", "genus", "species", "true_species", "institution")


def table(*rows):
    filled = [dict.fromkeys(COLUMNS) | row for row in rows]
    return pa.table({name: pa.array([row[name] for row in filled], pa.string()) for name in COLUMNS})


def test_names_fill_and_correct_each_other():
    tidied = tidy_names(
        table(
            {"genus": "SERJANIA", "species": "Serjania sp."},
            {"genus": "serjania", "species": "caracasana"},
            {"genus": "Serjania", "family": "SAPINDACEAE"},
            {"species": "Rubus cf. caesius", "order": "Incertae sedis"},
            {"genus": "Rosaceae"},
            {"genus": "Unknown", "species": "Zea mays L.", "true_species": "ZEA MAYS"},
            {"genus": "Rubus", "species": "pollen type 3"},
            {"genus": "Leguminosae", "family": "Fabaceae"},
            {},
        )
    )
    columns = {name: column.to_pylist() for name, column in tidied.columns.items()}
    assert columns["genus"] == ["Serjania"] * 3 + ["Rubus", None, "Zea", "Rubus", None, None]
    assert columns["species"] == [None, "caracasana", None, None, None, "Zea mays", "pollen type 3", None, None]
    assert columns["family"] == [None, None, "Sapindaceae", None, "Rosaceae", None, None, "Fabaceae", None]
    assert columns["order"] == [None] * 9
    assert columns["true_species"][5] == "Zea mays"
    assert columns["verbatim_name"][:5] == ["Serjania sp.", "caracasana", "Serjania", "Rubus cf. caesius", "Rosaceae"]
    assert columns["verbatim_name"][8] is None
    assert tidied.notes == [
        "1 genus is written in several ways (SERJANIA, Serjania, serjania → Serjania): each is one genus",
        "2 rows with a family in the column genus ('Leguminosae', 'Rosaceae'): read as the family",
        "1 row without a genus ('Unknown'): left empty",
        "1 row whose species cannot be read as a name ('pollen type 3'): kept as written",
        "1 row of a doubtful species ('Rubus cf. caesius'): the species is left empty",
    ]


def test_clean_names_stay_and_nothing_is_told():
    rows = table({"genus": "Zea", "species": "Zea mays", "family": "Poaceae", "order": "Poales"}, {"genus": "A"})
    tidied = tidy_names(rows)
    assert tidied.notes == []
    for name in ("order", "family", "genus", "species"):
        assert tidied.columns[name].to_pylist() == rows[name].to_pylist()


def test_names_may_be_kept_as_they_are_written():
    rows = table(
        {"genus": "class  1", "species": "zea_mays", "institution": "kew  Gardens"},
        {"species": "Zea mays L.", "institution": "NY"},
    )
    kept = read_names(rows, Names(as_written=True, institutions={"Kew gardens": "K"}))
    assert kept.columns["genus"].to_pylist() == ["class 1", "Zea"]
    assert kept.columns["species"].to_pylist() == ["zea_mays", "Zea mays L."]
    assert kept.columns["institution"].to_pylist() == ["K", "NY"]
    assert kept.notes == []


def test_a_column_in_title_case_is_read_in_lower_case():
    names = ("Quercus Rubra", "Quercus x Hispanica", "Quercus Robur L.", "Quercus Alba", "Quercus Ilex", "Quercus sp.")
    tidied = tidy_names(table(*({"species": name} for name in names)))
    due = ["Quercus rubra", "Quercus ×hispanica", "Quercus robur", "Quercus alba", "Quercus ilex", None]
    assert tidied.columns["species"].to_pylist() == due
    assert tidied.columns["genus"].to_pylist() == ["Quercus"] * 6
    assert tidied.columns["verbatim_name"].to_pylist() == list(names)
    note = "5 rows with a capital epithet ('Quercus Alba', 'Quercus Ilex', 'Quercus Robur L.', 'Quercus Rubra', …): "
    assert [text.startswith(note) for text in tidied.notes] == [True]


def test_capitals_of_authors_are_no_epithets():
    names = ("Quercus Linnaeus", "Quercus rubra", "Quercus alba", "Quercus ilex", "Quercus robur")
    tidied = tidy_names(table(*({"species": name} for name in names)))
    assert tidied.columns["species"].to_pylist() == [None, *names[1:]]
    assert tidied.notes == []
