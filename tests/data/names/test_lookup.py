import pyarrow as pa
import pytest

from herbray.data.names.lookup import fill_lineages, replace_synonyms


def columns(**lists):
    return {name: pa.chunked_array([pa.array(values, pa.string())]) for name, values in lists.items()}


def lists(coverage):
    return {name: column.to_pylist() for name, column in coverage.columns.items()}


GENERA = """genus;family;order;remark
Rubus;Rosaceae;Rosales;
ZEA;POACEAE;Poales;
Morina;Caprifoliaceae;Dipsacales;a homonym
Morina;Rubiaceae;Gentianales;
"""


def test_families_and_orders_are_filled_from_a_table_of_genera(tmp_path):
    (tmp_path / "genera.csv").write_text(GENERA)
    given = columns(
        genus=["Rubus", "Zea", "Morina", "Morina", "Quercus", None, "Rubus"],
        family=[None, "Gramineae", None, "Rubiaceae", None, "Fagaceae", "Rosaceae"],
        order=["x", None, None, None, None, None, None],
    )
    filled = fill_lineages(given, tmp_path / "genera.csv")
    assert lists(filled) == {
        "family": ["Rosaceae", "Gramineae", None, "Rubiaceae", None, "Fagaceae", "Rosaceae"],
        "order": ["x", "Poales", None, "Gentianales", None, None, "Rosales"],
    }
    assert filled.note == (
        "genera.csv: 3 of 4 genera found; families filled in 1 rows, orders in 3; not found: 1 (Quercus); "
        "in several families, not guessed: 1 (Morina); genera with another family, kept: 1 (Zea)"
    )


SYNONYMS = """name,accepted
Panicum sanguinale L.,Digitaria sanguinalis (L.) Scop.
Digitaria sanguinalis,Digitaria sanguinea
Rubus fruticosus,Rubus plicatus
Rubus fruticosus,Rubus vestitus
Mahonia,Berberis
Zea,Zea mays
"""


def test_synonyms_are_replaced_unless_they_have_several_accepted_names(tmp_path):
    (tmp_path / "synonyms.csv").write_text(SYNONYMS)
    given = columns(
        genus=["Panicum", "Rubus", "Mahonia", "Zea", None],
        species=["Panicum sanguinale", "Rubus fruticosus", "Mahonia repens", "Zea mays", None],
    )
    replaced = replace_synonyms(given, tmp_path / "synonyms.csv")
    assert lists(replaced) == {
        "genus": ["Digitaria", "Rubus", "Berberis", "Zea", None],
        "species": ["Digitaria sanguinea", "Rubus fruticosus", "Mahonia repens", "Zea mays", None],
    }
    assert replaced.note == (
        "synonyms.csv: 3 synonyms, which occur in 2 rows; of several accepted names, not guessed: 1 (Rubus fruticosus)"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,accepted\nA b b,Aa cc\n", None),
        ("name,accepted\nAa bb,Aa cc\nAa cc,Aa bb\n", "Aa bb → Aa cc → Aa bb is a circle"),
        ("name,valid\nAa bb,Aa cc\n", "no column 'accepted'; the columns are 'name', 'valid'; rename one to accepted"),
        ("name,accepted\nAa bb\n", "line 2: 1 fields where the header has 2"),
    ],
)
def test_a_table_that_does_not_say_what_is_meant_is_refused(tmp_path, text, message):
    (tmp_path / "synonyms.csv").write_text(text)
    if message is None:
        assert "0 synonyms" in replace_synonyms(columns(genus=["Aa"], species=[None]), tmp_path / "synonyms.csv").note
        return
    with pytest.raises(ValueError, match=message):
        replace_synonyms(columns(genus=["Aa"], species=[None]), tmp_path / "synonyms.csv")
