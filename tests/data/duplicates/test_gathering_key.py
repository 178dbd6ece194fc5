import pytest

from herbray.data.duplicates.gathering_key import fold_collector, make_gathering_key


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("gentry", ["Gentry, A.H.", "A. H. Gentry & M. Fallen", "Gentry AH", "A.H. GENTRY", "Coll.: A. Gentry Jr."]),
        ("gentry", ["Gentry A H; Fallen M", "Gentry, Alwyn", "A. Gentry, M. Fallen", "Alwyn Gentry, Marion Fallen"]),
        ("hughes", ["Hughes, Mark", "Mark Hughes (E)", "M. Hughes|P. Thomas", "Hughes M. et al."]),
        ("wilde", ["Wilde WJJO de; Wilde-Duyfjes BEE de", "W.J.J.O. de Wilde", "de Wilde, W.J.J.O."]),
        ("aubin", ["Saint Aubin G de", "Saint Aubin, G. de"]),
        ("andre", ["Jim André", "ANDRÉ, J."]),
        ("reina", ["A.L. Reina-G.", "Reina-G., A.L."]),
        ("bally", ["Peter René Oscar Bally", "Bally, P.R.O."]),
        ("buchanan", ["Buchanan"]),
        ("иванов", ["Иванов, А.", "А. Иванов"]),
        ("", ["", " ", "()", "&"]),
    ],
)  # fmt: skip
def test_a_collector_is_the_family_name_of_the_first(name, texts):
    assert {text: fold_collector(text) for text in texts} == dict.fromkeys(texts, name)


@pytest.mark.parametrize(
    ("number", "key"),
    [("1369-A", "1369a"), ("1369 a", "1369a"), ("No. 007", "7"), ("L-19739", "l19739"), ("Y61-18", "y6118")],
)
def test_a_number_has_no_punctuation(number, key):
    assert make_gathering_key("R. Spruce", number, "") == f"spruce | {key}"


@pytest.mark.parametrize(
    ("date", "key"),
    [
        ("1854-03-01T00:00:00", "1854-03-01"),
        ("1854-03-01/1854-03-05", "1854-03-01"),
        ("1854-03-01 00:00:00", "1854-03-01"),
        ("1854", "1854"),
        ("March 1854", "march1854"),
    ],
)
def test_a_date_is_the_first_day(date, key):
    assert make_gathering_key("R. Spruce", "12", date) == f"spruce | 12 | {key}"


def test_without_a_collector_or_a_number_there_is_no_key():
    assert make_gathering_key("", "12", "1854") is None
    for number in ("", "s.n.", "n/a", "unknown", "-"):
        assert make_gathering_key("R. Spruce", number, "1854") is None
