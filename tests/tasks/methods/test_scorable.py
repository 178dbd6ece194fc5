"""What labels allow: each task's own word, and what `measure` then does."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from herbray import schema
from herbray.config import parse
from herbray.flow.evaluation.job import Evaluate
from herbray.tasks import (
    TASKS,
    Embeddings,
    UnscorableError,
    add_rank,
    describe_left_out,
    select_scorable,
    to_left_out_table,
)
from herbray.tasks.identify import Identify
from herbray.tasks.methods.pairs import Pair

GENERA = {
    "Alba": ("Aceae", "Ales"),
    "Borea": ("Aceae", "Ales"),
    "Cirra": ("Cceae", "Ales"),
    "Dolia": ("Dceae", "Dales"),
}
SETTINGS = {"mislabel": {"draws": 2}, "noise": {"draws": 2, "shares": (0.1, 0.4)}}


def table(sheets=16, splits=("herbarium", "species", "random"), genera=GENERA, **columns):
    """Sheets of each genus in each split; `columns` give further labels by (genus, split, number)."""
    rows = []
    for genus, split, number in itertools.product(genera, splits, range(sheets)):
        row = dict.fromkeys(schema.SPECIMEN.names)
        row |= {"specimen_id": f"{genus}-{split}-{number:03d}", "genus": genus, "split": split}
        row |= {"family": GENERA[genus][0], "order": GENERA[genus][1], "species": f"{genus} {'ab'[number % 2]}"}
        row |= {"institution": "XY"[number % 2], "true_species": "Alba a" if number == 0 else f"{genus} a"}
        rows.append(row | {name: give(genus, split, number) for name, give in columns.items()})
    return pa.Table.from_pylist(rows, schema=pa.schema([*schema.SPECIMEN, pa.field("split", pa.string())]))


def labels_of(rows):
    return Embeddings.from_labels(rows)


def embedded(rows, seed=0):
    """The same specimens, their genera as clouds."""
    generator = np.random.default_rng(seed)
    codes = np.unique(rows["genus"].to_numpy(), return_inverse=True)[1]
    features = (2 * np.eye(8)[codes] + generator.standard_normal((len(rows), 8))).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(features.ravel(), 8)
    return Embeddings.from_table(rows.append_column("embedding", column))


def one(*_):
    return "one gathering"


def per_genus(genus, split, number):
    """Three genera of one gathering each."""
    return None if genus == "Alba" else f"{genus} {split}"


CASES = {
    "all is there": table(),
    "one split": table(splits=("random",)),
    "no random": table(splits=("herbarium", "species")),
    "one family": table(genera=("Alba", "Borea")),
    "one order": table(genera=("Alba", "Cirra")),
    "one genus": table(genera=("Alba",)),
    "no order, no family": table(order=lambda *_: None, family=lambda *_: None),
    "no institution": table(institution=lambda *_: None),
    "one institution": table(institution=lambda *_: "X"),
    "no truth": table(true_species=lambda *_: None),
    "no wrong name": table(true_species=lambda genus, *_: f"{genus} a"),
    "a few sheets": table(sheets=3),
    "two sheets": table(sheets=2),
    "one sheet": table(sheets=1),
    "one gathering": table(gathering=one),
    "a gathering for each genus": table(gathering=per_genus),
    "pairs of sheets": table(gathering=lambda genus, split, number: f"{genus} {split} {number // 2}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", TASKS)
def test_kept_parts_can_be_measured_and_left_out_parts_cannot(name, case):
    """One truth: `check` refuses what `measure` refuses, in the same words."""
    task, rows = TASKS[name](**SETTINGS.get(name, {})), CASES[case]
    labels, embeddings = labels_of(rows), embedded(rows)
    there = set(rows["split"].to_pylist())
    for split, part in itertools.product(sorted(there), task.split_for_check()):
        if name == "transfer" and split == part.fitted_on:
            continue
        with_split = part.narrow_to(splits=(split,))
        try:
            with_split.check(labels, split)
            refused = None
        except UnscorableError as error:
            refused = error
        if refused is None:
            assert with_split.measure(embeddings, split).scores
            continue
        with pytest.raises(UnscorableError) as told:
            with_split.measure(embeddings, split)
        assert str(told.value) == str(refused)
        assert refused.reason in str(refused)


def left_out(case, **tasks):
    spec = parse(Evaluate, {"tasks": [{"name": name, **settings} for name, settings in tasks.items()]})
    found = select_scorable(spec.tasks, labels_of(CASES[case]))
    kept = {(task.name, split): getattr(task, task.checked_over or "name") for task, split in found.pieces}
    return kept, [(one.task, one.split, one.level) for one in found.left_out]


def test_ranks_that_cannot_be_scored_are_left_out_and_others_kept():
    kept, out = left_out("one family", identify={}, retrieval={})
    assert kept == {(task, split): ("genus",) for task in ("identify", "retrieval") for split in schema.TEST_SPLITS}
    assert out == [
        (task, split, rank)
        for task in ("identify", "retrieval")
        for split in schema.TEST_SPLITS
        for rank in ("family", "order")
    ]


def test_a_pool_keeps_the_splits_that_have_specimens():
    kept, out = left_out("one split", identify={}, discriminate={}, leakage={})
    assert list(kept) == [("identify", "random"), ("discriminate", "random"), ("leakage", "random")]
    assert out == [
        ("identify", "herbarium", ""),
        ("identify", "species", ""),
        ("discriminate", "herbarium", ""),
        ("discriminate", "species", ""),
        ("leakage", "herbarium", ""),
    ]


def test_a_task_of_which_nothing_is_left_is_left_out():
    kept, out = left_out("no truth", identify={}, planted={})
    assert {task for task, _ in kept} == {"identify"}
    assert [each for each in out if each[0] == "planted"] == [("planted", "herbarium+species+random", "genus")]


@pytest.mark.parametrize(
    ("case", "tasks", "message"),
    [
        (
            "one family",
            {"identify": {"ranks": ["genus", "family"]}},
            "identify: family, listed in `ranks`.*1 of 1",
        ),
        ("one split", {"identify": {"splits": ["random", "species"]}}, "identify: species, listed in `splits`"),
        (
            "one split",
            {"retrieval": {}, "identify": {"splits": ["herbarium+species"]}},
            "herbarium[+]species, listed in",
        ),
        (
            "all is there",
            {"mislabel": {"pairs": [{"positive": "Alba", "negative": "Rosa", "kind": "similar"}]}},
            "mislabel: Alba–Rosa, listed in `pairs`, .*0 specimens of 'Rosa'",
        ),
        (
            "one sheet",
            {"identify": {}, "leakage": {}},
            "no task can be scored with these labels: .*\n  .*identify at genus on herbarium",
        ),
        ("one genus", {"identify": {}, "discriminate": {}}, "no task can be scored"),
        ("no truth", {"planted": {}}, "no specimen's true name is known"),
    ],
)
def test_named_parts_must_be_scorable_and_at_least_one_part_must_remain(case, tasks, message):
    with pytest.raises(UnscorableError, match=f"(?s){message}"):
        left_out(case, **tasks)


def test_all_errors_are_reported_together():
    tasks = {"identify": {"ranks": ["family", "order"]}, "silhouette": {"splits": ["train"]}}
    with pytest.raises(UnscorableError) as told:
        left_out("one family", **tasks)
    assert [line.split(",")[0] for line in str(told.value).splitlines()] == [
        "task identify: family",
        "task identify: order",
        "task silhouette: train",
    ]


def test_a_named_rank_that_can_be_scored_on_one_split_is_accepted():
    """Where both splits and ranks are named, some of their combinations may be left out."""
    few = table(splits=("random",)).to_pylist()
    few += table(splits=("species",), genera=("Alba", "Borea")).to_pylist()
    rows = pa.Table.from_pylist(few, schema=table().schema)
    task = Identify(splits=("random", "species"), ranks=("genus", "order"))
    found = select_scorable([task], labels_of(rows))
    assert [(piece.ranks, split) for piece, split in found.pieces] == [
        (("genus", "order"), "random"),
        (("genus",), "species"),
    ]
    assert found.pieces[0][0].model_fields_set == {"splits", "ranks"}


def test_one_pair_is_left_out_and_another_kept():
    pairs = [Pair(positive="Alba", negative=other, kind="distinct") for other in ("Borea", "Dolia")]
    rows = table(splits=("random",), genera=("Alba", "Borea")).to_pylist()
    rows += table(splits=("species",), genera=("Alba", "Borea", "Dolia")).to_pylist()
    task = TASKS["noise"](splits=("random", "species"), pairs=pairs, draws=1)
    found = select_scorable([task], labels_of(pa.Table.from_pylist(rows, schema=table().schema)))
    assert [[pair.level for pair in piece.pairs] for piece, _ in found.pieces] == [
        ["Alba–Borea"],
        ["Alba–Borea", "Alba–Dolia"],
    ]
    assert [(each.split, each.level) for each in found.left_out] == [("random", "Alba–Dolia")]


def test_entries_of_a_preset_count_as_written_by_the_user():
    spec = parse(Evaluate, {"preset": "walker2022"})
    with pytest.raises(UnscorableError, match="Syzygium–Eugenia, listed in `pairs`"):
        select_scorable(spec.tasks, labels_of(CASES["all is there"]))


def test_left_out_parts_with_one_reason_share_a_line():
    spec = parse(Evaluate, {"tasks": [{"name": name} for name in ("identify", "silhouette", "retrieval")]})
    found = select_scorable(spec.tasks, labels_of(table(splits=("random",), genera=("Alba", "Borea"))))
    told = describe_left_out(found.left_out, {"herbarium": "all sheets are of one institution, K"})
    assert told == [
        "split herbarium: all sheets are of one institution, K",
        "identify, silhouette, retrieval on species: no specimen is in this split",
        "identify at family, order on random: "
        "1 of 1 classes have the 5 gatherings that 5 folds need, but at least two must",
        "silhouette at family, order on random: 1 names have two or more gatherings; at least two must",
        "retrieval at family, order on random: all sheets have the same name, so that every sheet is a match",
    ]
    rows = to_left_out_table(found.left_out)
    assert rows.schema == schema.LEFT_OUT
    assert rows.num_rows == len(found.left_out) == 12


def test_a_rank_is_added_as_if_it_were_a_default():
    first, named, no_ranks = add_rank((Identify(), Identify(ranks=("family",)), TASKS["leakage"]()), "species")
    assert first.ranks == ("species", "genus", "family", "order")
    assert "ranks" not in first.model_fields_set  # so it may be left out
    assert (named, no_ranks) == (Identify(ranks=("family",)), TASKS["leakage"]())
    assert add_rank((Identify(),), "genus") == (Identify(),)
