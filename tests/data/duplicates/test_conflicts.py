import pyarrow as pa

from herbray.data.duplicates.conflicts import describe_conflicts, find_conflicts
from herbray.data.sources.base import make_batch
from herbray.schema import CONFLICT


def table(rows):
    ids, family, genus, species, gathering = zip(*rows, strict=True)
    columns = {"specimen_id": ids, "image": [f"{each}.jpg" for each in ids], "family": family, "genus": genus}
    columns |= {"species": species, "gathering": gathering, "institution": ["K"] * len(ids)}
    return pa.Table.from_batches([make_batch({name: list(column) for name, column in columns.items()})])


ROWS = [
    ("a", "F", "G", "G one", "x"),
    ("b", "F", "G", "G two", "x"),
    ("c", "F", "G", "G two", "x"),
    ("d", "F", "G", None, "x"),  # undetermined: contradicts nobody
    ("e", "F", "G", "G one", "y"),  # another family, so the species is not compared
    ("f", "E", "H", "H one", "y"),
    ("g", "F", "G", "G one", "z"),
    ("h", "F", "G", "G one", "z"),
    ("i", "F", "G", "G one", None),
    ("j", "F", "H", "H two", None),
]


def test_duplicates_under_different_names_are_listed_at_the_widest_rank():
    given = table(ROWS)
    found = find_conflicts(given, given["gathering"], "gathering")
    assert found.schema.equals(CONFLICT)
    rows = [tuple(row.values())[1:8] for row in found.to_pylist()]
    assert rows == [
        ("x", "a", "species", "G one", "G two", ["b", "c"], ["G two", "G two"]),
        ("x", "b", "species", "G two", "G one", ["a"], ["G one"]),
        ("x", "c", "species", "G two", "G one", ["a"], ["G one"]),
        ("y", "e", "family", "F", "E", ["f"], ["E"]),
        ("y", "f", "family", "E", "F", ["e"], ["F"]),
    ]
    assert found.to_pylist()[0] | {"image": "a.jpg", "institution": "K", "reference": None} == found.to_pylist()[0]
    assert describe_conflicts(found, "conflicts.parquet") == [
        "gatherings under different names: 2 (5 specimens), listed in conflicts.parquet"
    ]
    shuffled = given.take([7, 3, 1, 9, 0, 5, 8, 2, 6, 4])
    assert find_conflicts(shuffled, shuffled["gathering"], "gathering").equals(found)


def test_without_groups_and_in_large_groups_there_is_no_conflict():
    given = table(ROWS)
    nothing = pa.chunked_array([pa.nulls(len(ROWS), pa.string())])
    assert find_conflicts(given, nothing, "file").equals(CONFLICT.empty_table())
    assert describe_conflicts(CONFLICT.empty_table(), "conflicts.parquet") == []
    many = table([(str(number), "F", "G", f"G s{number}", "one") for number in range(101)])
    assert find_conflicts(many, many["gathering"], "gathering").num_rows == 0
