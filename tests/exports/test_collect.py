from collections import Counter

from export_cases import HOSTILE, make_batch, make_suspects, make_verdicts

from herbray.exports import collect


def told(batch):
    return [(each.sheet["specimen_id"], each.verdict, each.name, each.by) for each in batch.opinions]


def test_suggestions_give_way_to_decisions_and_to_what_became_of_the_sheet(batch):
    machines = [name for name, verdict, *_ in told(batch) if verdict == "suggested"]
    assert machines == ["s1", "s3", "s4", "s5", "s7", "urn:catalog:K:8"]
    assert batch.left_out == Counter({collect.DECIDED: 2, collect.RENAMED: 1, collect.GONE: 1})
    people = [(name, verdict, right) for name, verdict, right, _ in told(batch) if verdict != "suggested"]
    assert people == [
        ("s1", "maybe", None),
        ("s2", "wrong", "Borea"),
        ("s2", "wrong", "Borea"),
        ("s6", "wrong", "Erema"),
        ("s6", "right", "Borea"),
        ("s9", "right", "Alba"),
    ]


def test_only_the_last_reviewer_of_those_who_agree_makes_a_name_current():
    batch = make_batch(current=True)
    current = [(each.sheet["specimen_id"], each.by) for each in batch.opinions if batch.is_current(each)]
    assert current == [("s2", "Ben"), ("s9", "Ada")]
    assert not any(each.is_machine for each in batch.opinions if batch.is_current(each))
    assert not any(make_batch().is_current(each) for each in batch.opinions)
    disputed = [each for each in batch.opinions if each.sheet["specimen_id"] == "s6"]
    assert not any(each.is_settled for each in disputed)


def test_a_herbarium_gets_its_own_sheets():
    batch = make_batch(institution="K")
    assert [name for name, *_ in told(batch)] == ["urn:catalog:K:8"]
    assert batch.left_out[collect.ELSEWHERE] == 14


def test_ids_depend_on_what_is_said_and_on_nothing_else(batch):
    again = make_batch()
    assert [each.id for each in again.opinions] == [each.id for each in batch.opinions]
    assert len({each.id for each in batch.opinions}) == len(batch.opinions)
    assert again.id == batch.id
    fewer = make_batch(make_suspects(("s1", "Alba", "Borea")), make_verdicts())
    assert fewer.opinions[0].id == batch.opinions[0].id
    assert fewer.id != batch.id


def test_two_judgements_on_names_are_disputed_if_the_names_differ():
    verdicts = make_verdicts(
        ("2026-01-01T00:00:00Z", "Ada", "s1", "Alba", "wrong", "Borea", None),
        ("2026-01-02T00:00:00Z", "Ben", "s1", "Alba", "wrong", "Erema", HOSTILE),
    )
    batch = make_batch(make_suspects(), verdicts)
    assert [each.is_settled for each in batch.opinions] == [False, False]
