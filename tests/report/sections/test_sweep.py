import math
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herbray import schema
from herbray.report import ReportData, SweepNote, logarithmic_paths, write_report
from herbray.report.sections.sweep import make_dimension, scale_to_unit, sweep_section

PATHS = {"objective.margin": pa.float64(), "optimizer.lr": pa.float64(), "objective.mining": pa.string()}


def trial(number, score, margin=0.1, lr=1e-3, mining="all", status="finished", cause=""):
    fixed = (number, status, cause, 2.0, score, 30.0, "ab12")
    return dict(zip([*schema.TRIAL.names, *PATHS], (*fixed, margin, lr, mining), strict=True))


def note_of(*trials, title="triplet"):
    types = pa.schema([*schema.TRIAL, *(pa.field(name, kind) for name, kind in PATHS.items())])
    return SweepNote(title, pa.Table.from_pylist(list(trials), types), frozenset({"optimizer.lr"}))


SWEEP = note_of(
    trial(0, 0.40, 0.1, 1e-4),
    trial(1, 0.55, 0.2, 1e-3, "hard"),
    trial(2, 0.30, 0.9, 1e-2, status="stopped"),
    trial(3, 0.60, 0.5, 5e-3, status="failed", cause="FloatingPointError: the training loss is nan"),
    trial(4, None, 0.6, 9e-3, status="failed", cause="out of memory"),
)


def empty(**parts):
    nothing = ReportData(
        "", schema.RESULT.empty_table(), {}, [], None, {}, [], schema.QUARANTINE.empty_table(), "", "", ""
    )
    return replace(nothing, **parts)


def page_of(tmp_path, *notes):
    write_report(empty(sweeps=notes), tmp_path / "report.html")
    return (tmp_path / "report.html").read_text()


def test_the_best_is_a_trial_that_did_not_fail(tmp_path):
    part = sweep_section(SWEEP, "s")
    assert "5 trials (2 finished, 1 stopped, 2 failed). Trial 1 scores highest, 55.0%" in part.words
    assert "objective.margin = 0.2, optimizer.lr = 0.001, objective.mining = hard" in part.words
    assert [(row["number"], best) for row, _, best in part.rows] == [
        (1, True),
        (0, False),
        (2, False),
        (3, False),
        (4, False),
    ]


@pytest.mark.slow
def test_the_page_shows_figures_table_and_causes_and_is_the_same_twice(tmp_path):
    page = page_of(tmp_path, SWEEP, SWEEP)
    assert page == page_of(tmp_path, SWEEP, SWEEP)
    assert page.count('<section id="sweeps">') == page.count('<a href="#sweeps">') == 1
    assert page.count("<svg") == 4
    assert "FloatingPointError: the training loss is nan" in page
    assert (
        "Parallel coordinates of 4 trials over objective.margin, optimizer.lr, objective.mining and the score." in page
    )


def test_without_a_sweep_the_page_does_not_speak_of_one(tmp_path):
    assert "sweep" not in page_of(tmp_path).partition("</style>")[2].lower()


@pytest.mark.parametrize(
    "note",
    [
        note_of(trial(0, None, status="failed")),
        note_of(trial(0, 0.5)),
        note_of(trial(0, 0.5), trial(1, 0.5)),
        note_of(trial(0, float("nan")), trial(1, 0.5)),
    ],
    ids=["no score", "one trial", "nothing varies", "one finite score"],
)
def test_sweeps_without_figures_are_described_in_words(tmp_path, note):
    part = sweep_section(note, "s")
    assert (part.parallel, part.plane) == (None, None)
    assert "<svg" not in page_of(tmp_path, note)


def test_hostile_names_stay_text(tmp_path):
    note = note_of(trial(0, 0.5, mining="<script>x</script>"), trial(1, 0.4, mining="$\\alpha$"), title="<b>\x00</b>")
    page = page_of(tmp_path, note)
    assert "<script" not in page
    assert "<b>" not in page.partition("</style>")[2]


def test_a_table_without_its_columns_is_refused():
    with pytest.raises(ValueError, match="lack the columns score"):
        sweep_section(SweepNote("x", SWEEP.trials.drop_columns(["score"])), "s")


def test_logarithmic_ranges_have_logarithmic_places():
    assert logarithmic_paths({"a": "loguniform(1e-4, 1e-2)", "b": "uniform(0, 1)", "c": [1, 2]}) == {"a"}
    assert make_dimension("a", [1e-4, 1e-2], True).places == (-4.0, -2.0)
    assert make_dimension("b", ["x", "null", "x"], False).places == (1.0, 0.0, 1.0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_places_lie_on_their_rail(places):
    unit = scale_to_unit(places)
    assert all(0 <= height <= 1 for height in unit)
    assert math.isclose(max(unit), 1) or len(set(places)) == 1
