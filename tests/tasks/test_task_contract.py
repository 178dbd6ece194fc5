"""What holds of every task in the registry."""

import numpy as np
import pytest
from pydantic import TypeAdapter
from threadpoolctl import threadpool_info

from herbray.config import dump, load
from herbray.tasks import TASKS, AnyTask, Embeddings, to_table

SMALL = {"mislabel": {"draws": 2}}


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param](splits=("random",), **SMALL.get(request.param, {}))


def test_the_name_is_the_key_in_the_registry_and_tells_the_union_apart(task):
    read = TypeAdapter(AnyTask).validate_python(task.model_dump())
    assert type(read) is TASKS[task.name]
    assert read == task


def test_defaults_load_and_survive_yaml(task, tmp_path):
    (tmp_path / "task.yaml").write_text(dump(task), encoding="utf-8")
    assert load(type(task), tmp_path / "task.yaml") == task
    assert load(type(task)).splits


def test_results_are_the_same_for_any_row_order_and_any_further_splits(task, five_genera, embeddings_of, table_of):
    wanted = task.run(Embeddings.from_table(five_genera), "random", 7)
    shuffled = five_genera.take(np.random.default_rng(1).permutation(len(five_genera)))
    assert task.run(Embeddings.from_table(shuffled), "random", 7) == wanted
    assert wanted
    assert task.run(Embeddings.from_table(five_genera), "random", 8) != wanted


def test_specimens_of_other_splits_play_no_part(task, table_of):
    both = table_of({"Alba": 40, "Borea": 40, "Erema": 40}, 2.0, splits=("random", "herbarium"))
    everything = Embeddings.from_table(both)
    assert task.run(everything, "random") == task.run(everything.of_split("random"), "random")


def test_every_number_is_named_once_and_belongs_to_the_task_and_split(task, five_genera):
    scores = task.run(Embeddings.from_table(five_genera), "random")
    keys = [(score.level, score.fold, score.metric) for score in scores]
    assert len(keys) == len(set(keys))
    assert {(score.task, score.split) for score in scores} == {(task.name, "random")}
    assert to_table(scores, "triplet", "random", 1).num_rows == len(scores)


def test_every_fold_says_whether_its_probe_converged(task, five_genera):
    scores = task.run(Embeddings.from_table(five_genera), "random")
    folds = {(score.level, score.fold) for score in scores if score.fold >= 0}
    told = {(score.level, score.fold): score.value for score in scores if score.metric == "converged"}
    assert told == dict.fromkeys(folds, 1.0)


def test_a_probe_cut_short_is_told_and_no_warning_escapes(task, five_genera):
    hasty = task.model_copy(update={"max_iter": 1})
    scores = hasty.run(Embeddings.from_table(five_genera), "random")
    assert {score.value for score in scores if score.metric == "converged"} == {0.0}


def test_parts_put_together_are_the_whole(task, five_genera):
    embeddings = Embeddings.from_table(five_genera)
    parts = task.parts()
    assert [score for part in parts for score in part.run(embeddings, "random")] == task.run(embeddings, "random")


def test_thread_pools_are_as_they_were_after_a_run(task, five_genera):
    before = [pool["num_threads"] for pool in threadpool_info()]
    task.run(Embeddings.from_table(five_genera), "random")
    assert [pool["num_threads"] for pool in threadpool_info()] == before
