import pyarrow as pa

from herbray import schema
from herbray.verdicts.judgements import judge, match_names


def verdicts(*rows):
    names = ("reviewer", "specimen_id", "given", "verdict", "name")
    listed = [dict(zip(names, row, strict=True), rank="genus", id=str(at), at="") for at, row in enumerate(rows)]
    return pa.Table.from_pylist(listed, schema=schema.VERDICT)


def test_reviewers_are_compared_and_never_merged():
    found = judge(
        verdicts(
            ("Ada", "1", "Alba", "right", None),
            ("Ada", "1", "Alba", "wrong", "Borea"),  # Ada changed her mind
            ("Ben", "1", "Alba", "maybe", None),
            ("Ada", "2", "Alba", "wrong", "Borea"),
            ("Ben", "2", "Alba", "right", None),
            ("Ada", "3", "Alba", "wrong", "Borea"),
            ("Ben", "3", "Alba", "wrong", "Erema"),
            ("Ada", "4", "Alba", "wrong", None),
            ("Ada", "4", "Alba", "open", None),
        )
    )
    told = {key[0]: (each.verdict, each.name, len(each.by)) for key, each in found.items()}
    assert told == {
        "1": ("wrong", "Borea", 2),
        "2": ("disputed", None, 2),
        "3": ("wrong", None, 2),
        "4": ("open", None, 1),
    }


def test_a_verdict_holds_for_the_name_that_was_judged_and_not_for_a_later_one():
    found = judge(
        verdicts(
            ("Ada", "1", "Alba", "wrong", "Borea"),
            ("Ada", "2", "Alba", "wrong", "Borea"),
            ("Ada", "3", "Alba", "right", None),
        )
    )
    rows = [{"specimen_id": "1", "genus": "Alba"}, {"specimen_id": "2", "genus": "Borea"}]
    matched = match_names(found, pa.Table.from_pylist(rows, schema=schema.SPECIMEN))
    assert [key[0] for key in matched.current] == ["1"]
    assert [key[0] for key in matched.settled] == ["2"]
    assert [key[0] for key in matched.gone] == ["3"]
    nobody = match_names({}, schema.SPECIMEN.empty_table())
    assert (nobody.current, nobody.settled, nobody.gone) == ({}, {}, {})
