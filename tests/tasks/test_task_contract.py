"""What holds of every task in the registry."""

import dataclasses
import pickle

import numpy as np
import pytest
from pydantic import TypeAdapter
from threadpoolctl import threadpool_info

from herbray.config import dump, load
from herbray.schema import Identity
from herbray.tasks import TASKS, AnyTask, Embeddings, to_outcome_table, to_result_table
from herbray.tasks.methods.bootstrap import group_by_gathering
from herbray.tasks.methods.probe import LinearTask

SMALL = {
    "mislabel": {"draws": 2},
    "noise": {"draws": 2, "shares": (0.1, 0.3)},
    "planted": {"first": (5,)},
    "silhouette": {"most": 90},
    "transfer": {"fitted_on": "herbarium"},
}
WHO = Identity("triplet", "0a1b", "triplet", "2c3d", "random", "4e5f", 1)
DRAW_NOTHING = {"retrieval", "transfer"}  # no fold, no sample: any seed gives the same


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param](splits=("random",), **SMALL.get(request.param, {}))


@pytest.fixture(scope="module")
def herbarium(table_of):
    """Three splits of five genera; one sheet in twelve is known to be of another genus."""
    sizes = {"Alba": 60, "Borea": 45, "Cirra": 80, "Dolia": 36, "Erema": 54}
    table = table_of(sizes, separation=2.0, splits=("random", "random", "herbarium", "random", "species"))
    rows = table.to_pylist()
    for number, row in enumerate(rows):
        row["true_species"] = "Erema alta" if number % 12 == 5 else row["species"]
        row["institution"] = "AB"[number // 3 % 2]
    return type(table).from_pylist(rows, schema=table.schema)


def test_the_name_is_the_registry_key_and_the_union_discriminator(task):
    read = TypeAdapter(AnyTask).validate_python(task.model_dump())
    assert type(read) is TASKS[task.name]
    assert read == task


def test_defaults_load_and_survive_yaml(task, tmp_path):
    (tmp_path / "task.yaml").write_text(dump(task), encoding="utf-8")
    assert load(type(task), tmp_path / "task.yaml") == task
    assert load(type(task)).splits


@pytest.mark.slow
def test_results_are_the_same_for_any_row_order_and_follow_the_seed(task, herbarium):
    wanted = task.measure(Embeddings.from_table(herbarium), "random", 7)
    shuffled = herbarium.take(np.random.default_rng(1).permutation(len(herbarium)))
    found = task.measure(Embeddings.from_table(shuffled), "random", 7)
    assert wanted.scores
    assert found.scores == wanted.scores
    assert to_outcome_table(found.outcomes, WHO).equals(to_outcome_table(wanted.outcomes, WHO))
    other = task.run(Embeddings.from_table(herbarium), "random", 8)
    assert (other == wanted.scores) == (task.name in DRAW_NOTHING)


@pytest.mark.slow
def test_embeddings_in_shared_memory_that_cannot_be_written_to_give_the_same(task, herbarium):
    """As Ray's object store hands them to a task."""
    whole = Embeddings.from_table(herbarium)
    buffers = []
    alone = pickle.dumps(whole, protocol=5, buffer_callback=buffers.append)
    shared = pickle.loads(alone, buffers=[bytes(buffer.raw()) for buffer in buffers])
    assert not shared.features.flags.writeable
    found, wanted = task.measure(shared, "random"), task.measure(whole, "random")
    assert found.scores == wanted.scores
    grouped = group_by_gathering(found.outcomes, shared)
    assert [each.mean for each in grouped] == [each.mean for each in wanted.outcomes]


@pytest.mark.slow
def test_specimens_of_other_splits_play_no_part(task, herbarium):
    everything = Embeddings.from_table(herbarium)
    needed = "random+herbarium" if task.name == "transfer" else "random"
    assert task.run(everything, "random") == task.run(everything.select_splits(needed), "random")


@pytest.mark.slow
def test_every_number_is_named_once_and_belongs_to_the_task_and_split(task, herbarium):
    scores = task.run(Embeddings.from_table(herbarium), "random")
    keys = [(score.level, score.fold, score.metric) for score in scores]
    assert len(keys) == len(set(keys))
    assert {(score.task, score.split) for score in scores} == {(task.name, "random")}
    assert to_result_table(scores, WHO).num_rows == len(scores)


@pytest.mark.slow
def test_the_mean_of_every_outcome_is_a_score(task, herbarium):
    found = task.measure(Embeddings.from_table(herbarium), "random")
    assert found.outcomes
    for outcome in found.outcomes:
        values = [s.value for s in found.scores if (s.level, s.metric) == (outcome.level, outcome.metric)]
        assert outcome.mean == pytest.approx(np.mean(values), abs=0.02), outcome.metric  # folds differ by a row in size
        assert len(set(outcome.specimen_id)) == len(outcome.specimen_id)
        assert (outcome.task, outcome.split) == (task.name, "random")


@pytest.mark.slow
def test_every_probe_says_whether_it_converged(task, herbarium):
    scores = task.run(Embeddings.from_table(herbarium), "random")
    folds = {(score.level, score.fold) for score in scores if score.fold >= 0}
    told = {(score.level, score.fold): score.value for score in scores if score.metric == "converged"}
    assert set(told.values()) == ({1.0} if isinstance(task, LinearTask) else set())
    assert folds <= set(told)


@pytest.mark.slow
def test_an_unconverged_probe_is_recorded_without_a_warning(task, herbarium):
    if not isinstance(task, LinearTask):
        assert not hasattr(task, "max_iter")
        return
    hasty = task.model_copy(update={"max_iter": 1})
    scores = hasty.run(Embeddings.from_table(herbarium), "random")
    assert {score.value for score in scores if score.metric == "converged"} == {0.0}


@pytest.mark.slow
def test_parts_together_give_the_scores_of_the_task(task, herbarium):
    embeddings = Embeddings.from_table(herbarium)
    parts = [score for part in task.parts() for score in part.run(embeddings, "random")]
    whole = task.run(embeddings, "random")
    assert sorted(map(dataclasses.astuple, parts)) == sorted(map(dataclasses.astuple, whole))


@pytest.mark.slow
def test_thread_pools_are_as_they_were_after_a_run(task, herbarium):
    before = [pool["num_threads"] for pool in threadpool_info()]
    task.run(Embeddings.from_table(herbarium), "random")
    assert [pool["num_threads"] for pool in threadpool_info()] == before
