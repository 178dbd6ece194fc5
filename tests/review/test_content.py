import pytest

from herbray.review.content import Doubt, Item, Sheet, collector_of, explain


@pytest.mark.parametrize(
    ("gathering", "collector"),
    [
        ("A. Vale 123 2019-05-01", "A. Vale"),
        ("Müller, K.|45|1901", "Müller, K"),
        ("rubus053", None),
        ("123 Vale", None),
        ("Vale", None),
        ("", None),
        (None, None),
    ],
)
def test_the_collector_stands_before_the_number(gathering, collector):
    assert collector_of(gathering) == collector


def item(*doubts, now="Borea"):
    return Item(Sheet({"specimen_id": "1", "genus": now}, ""), "genus", "Alba", doubts, ())


def test_a_doubt_is_one_sentence_with_its_evidence():
    doubt = Doubt("genus", "Alba", "Borea", 0.001, 0.6, 0.998, True, "name", 1, ("Borea", "Alba", "Borea"))
    assert explain(item(doubt)) == (
        "It is filed as Alba, to which the encoder gives a probability of under 1 %; Borea has 60 %, and 2 of its 3 "
        "most similar sheets are filed as Borea. The filed name is wrong with a probability of over 99 %."
    )
    alone = Doubt("genus", "Alba", "Borea", 0.3, 0.999, 0.55, True, "gathering", 1, ("Alba",))
    told = explain(item(alone))
    assert told.startswith("Sheets of its gathering have several names. It is filed as Alba")
    assert told.endswith("Borea has over 99 %. The filed name is wrong with a probability of 55 %.")
    old = Doubt("genus", "Alba", "Borea", 0.9, 0.9, 0.1, False, "synonym", 9, ())
    assert explain(item(old)) == "Alba is a synonym of Borea; the plant is not doubted."


def test_a_settled_sheet_says_what_it_is_named_now():
    assert explain(item()) == "It was judged as Alba and has another name now (Borea), so it is settled."
