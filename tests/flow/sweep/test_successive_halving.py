from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from herbray.flow.sweep.successive_halving import Halving, HalvingScheduler, Rungs

EPOCHS = 9
settings = st.builds(Halving, grace=st.integers(1, 3), factor=st.sampled_from([2.0, 3.0, 4.0]))
scores = st.sampled_from([i / 10 for i in range(11)])
turns = st.lists(st.tuples(st.integers(0, 6), scores, st.booleans()), max_size=60)


def reports(turns):
    """Reports in order of arrival: (trial, epochs done, score or None); a trial may skip an epoch."""
    epochs: dict[int, int] = {}
    for trial, score, skip in turns:
        epochs[trial] = epochs.get(trial, 0) + 1 + skip
        if epochs[trial] < EPOCHS:
            yield trial, epochs[trial], score


@given(settings, turns)
def test_it_decides_as_rays_asha_does(spec, turns):
    ours = HalvingScheduler(Rungs(spec, EPOCHS))
    asha = ASHAScheduler("epochs_done", "val_knn", "max", EPOCHS, spec.grace, spec.factor)
    trials = {i: SimpleNamespace(trial_id=str(i), config={"number": i}) for i in range(7)}
    for trial in trials.values():
        asha.on_trial_add(None, trial)
    stopped = set()
    for number, epochs, score in reports(turns):
        if number in stopped:
            continue
        result = {"epochs_done": epochs, "val_knn": score}
        decision = asha.on_trial_result(None, trials[number], result)
        assert ours.on_trial_result(None, trials[number], result) == decision
        if decision == TrialScheduler.STOP:
            stopped.add(number)
    assert ours.stopped == stopped


@given(settings, turns, st.integers(0, 60))
def test_halving_rebuilt_from_reports_decides_as_without_an_interruption(spec, turns, cut):
    whole, before, heard = Rungs(spec, EPOCHS), Rungs(spec, EPOCHS), {}
    sequence = list(reports(turns))
    for trial, epochs, score in sequence[:cut]:
        whole.admit(trial, epochs, score)
        heard.setdefault(trial, []).append({"epochs_done": float(epochs), "val_knn": score})
        heard[trial].append({"epochs_done": float(epochs), "train_loss": 1.0})  # between epochs there is no score
    for trial in sorted(heard):
        before.restore(trial, heard[trial])
    assert before.scores == whole.scores
    for trial, epochs, score in sequence[cut:]:
        assert before.admit(trial, epochs, score) == whole.admit(trial, epochs, score)


def test_a_repeated_report_changes_nothing():
    rungs = Rungs(Halving(grace=1, factor=2), 8)
    assert all(rungs.admit(trial, 1, trial / 10) for trial in range(4))
    before = {epochs: dict(scores) for epochs, scores in rungs.scores.items()}
    assert rungs.admit(3, 1, 0.0)
    assert rungs.scores == before


def test_no_rung_lies_where_a_trial_ends_anyway():
    assert list(Rungs(Halving(grace=1, factor=3), 9).scores) == [3, 1]
    assert list(Rungs(Halving(grace=5, factor=3), 4).scores) == []


@pytest.mark.parametrize("values", [{"grace": 0}, {"factor": 1}])
def test_settings_that_halve_nothing_are_refused(values):
    with pytest.raises(ValidationError):
        Halving(**values)
