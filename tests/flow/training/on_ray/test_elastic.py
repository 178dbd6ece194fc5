import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError

from herbray import config
from herbray.flow.cluster.placement import Node
from herbray.flow.input.batches import windows_of_rank
from herbray.flow.training.on_ray.failures import FailurePolicy, RepeatedFailure, explain, is_permanent, root_cause
from herbray.flow.training.on_ray.workers import divide_cpus, windows_ahead
from herbray.flow.training.specification import Elastic, Train
from herbray.flow.training.worker.step import learning_rate


@settings(max_examples=200, deadline=None)
@given(
    windows=st.integers(1, 60),
    lives=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 12), st.integers(0, 3)), max_size=6),
    last=st.integers(1, 8),
)
def test_whatever_the_workers_that_come_and_go_each_window_is_trained_on_once(windows, lives, last):
    plan, consumed, kept = list(range(windows)), 0, []
    for world, steps, lost in lives:  # so many together, for so many windows each, the last of which no checkpoint has
        shares = [windows_of_rank(plan, rank, world, consumed) for rank in range(world)]
        assert len({len(part) for part in shares}) == 1
        steps = min(steps, len(shares[0]))
        saved = max(0, steps - lost)
        kept += [part[step] for step in range(saved) for part in shares]
        consumed += saved * world
        assert kept == plan[:consumed]
    shares = [windows_of_rank(plan, rank, last, consumed) for rank in range(last)]
    kept += [part[step] for step in range(len(shares[0])) for part in shares]
    rest = plan[len(kept) :]
    assert len(rest) < last  # rank 0 takes them alone
    assert kept + rest == plan


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_rate_is_a_function_of_the_place_whatever_the_number_of_workers(schedule):
    spec = Train(optimizer={"lr": 0.1, "schedule": schedule}).optimizer
    one = np.array([learning_rate(spec, step, 400) for step in range(400)])
    four = np.array([learning_rate(spec, step, 100) for step in range(100)])
    assert one.max() == four.max() == 0.1
    assert np.abs(one[::4] - four)[20:].max() < 0.0011
    assert (np.diff(one) >= 0)[:19].all()


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        ({"min": 3, "max": 2}, "min=3 is more than max=2"),
        ({"min": 0, "max": 2}, "greater than or equal to 1"),
        ({"min": 1, "max": 2, "most": 3}, "workers.most: unknown key"),
        (-1, "greater than or equal to 0"),
        ({"min": 1}, "workers.max: missing"),
    ],
)
def test_workers_are_a_number_or_a_range(workers, message):
    with pytest.raises(config.ConfigError, match=message):
        config.parse(Train, {"workers": workers})


def test_a_range_of_workers():
    spec = config.parse(Train, {"workers": {"min": 2, "max": 8}})
    assert (spec.fewest_workers, spec.most_workers) == (2, 8)
    assert (Train(workers=3).fewest_workers, Train(workers=3).most_workers) == (3, 3)
    assert config.parse(Train, spec.model_dump(mode="json")) == spec


def worker(error):
    """As Ray hands over what a worker raised."""
    return WorkerGroupError("told", {1: UserExceptionWithTraceback(error, "Traceback …")})


def killed(**facts):
    died = ActorDiedError()
    vars(died).update(facts)
    return WorkerHealthCheckFailedError("A worker health check failed.", died)


@pytest.mark.parametrize(
    "error",
    [
        FloatingPointError("the training loss is nan: lower optimizer.lr"),
        ValueError("bad input"),
        OSError(28, "No space left on device"),
        MemoryError("Unable to allocate 3 TiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_permanent_error_ends_the_run_at_once_with_its_own_message(error):
    told = worker(error)
    with pytest.raises(type(error)) as raised:
        FailurePolicy(5).after_exception(None, told.worker_failures)
    ended = explain(pickle.loads(pickle.dumps(ControllerError(raised.value))), Train())
    if isinstance(error, MemoryError | RuntimeError):
        assert isinstance(ended, MemoryError)
        assert "lower stream.batch (64), encoder.size (256)" in str(ended)
    else:
        assert (type(ended), str(ended)) == (type(error), str(error))


@pytest.mark.parametrize(
    "error", [RuntimeError("Connection closed by peer"), OSError(5, "I/O error"), ImportError("x")]
)
def test_other_faults_are_tried_again(error):
    assert not is_permanent(error)
    FailurePolicy(1).after_exception(None, worker(error).worker_failures)
    assert explain(worker(error), Train()).worker_failures
    assert root_cause(worker(error)) is error


def test_failures_count_from_the_last_report_and_nodes_that_are_taken_away_do_not():
    judge = FailurePolicy(2)
    for place in range(5):
        judge.after_exception(None, {0: killed()})
        judge.after_exception(None, {0: killed()})
        judge.after_report(None, [{"images": place * 64.0}], None)
    for _ in range(5):
        judge.after_exception(None, {0: killed(_preempted=True), 1: RuntimeError("Connection closed by peer")})
    judge.after_exception(None, {0: killed()})
    judge.after_exception(None, {0: killed()})
    with pytest.raises(RepeatedFailure, match="died 3 times in a row without progress") as raised:
        judge.after_exception(None, {0: killed()})
    ended = explain(pickle.loads(pickle.dumps(ControllerError(raised.value))), Train())
    assert isinstance(ended, RepeatedFailure)
    assert str(ended).startswith(f"{Train().out}: workers died 3 times")


def test_a_fault_in_the_worker_s_own_words_keeps_them():
    with pytest.raises(UserExceptionWithTraceback, match="Traceback …"):
        FailurePolicy(0).after_exception(None, worker(RuntimeError("Connection closed by peer")).worker_failures)


def test_a_repeated_report_is_not_progress():
    judge = FailurePolicy(1)
    judge.after_report(None, [{"images": 64.0}], None)
    judge.after_report(None, [{"images": 128.0}], None)
    judge.after_exception(None, {0: killed()})
    for images in (64.0, 128.0):  # what a restarted worker heard of since the checkpoint
        judge.after_report(None, [{"images": images}], None)
    with pytest.raises(RepeatedFailure, match="died 2 times in a row"):
        judge.after_exception(None, {0: killed()})


def test_a_worker_may_have_every_cpu_where_tasks_just_read():
    nodes = [Node(1.0)]
    spec = Train(workers=Elastic(min=1, max=2), cpus_per_worker=1)
    assert divide_cpus(spec, nodes)[0] == 1
    decoding = spec.model_copy(update={"loader": spec.loader.model_copy(update={"decode": "tasks"})})
    with pytest.raises(ValueError, match=r"1 workers of 1 CPUs and the tasks that read for them need more .* 1 CPUs"):
        divide_cpus(decoding, nodes)


@pytest.mark.parametrize(
    ("decode", "workers", "cpus", "ahead"), [("trainer", 2, 64, 2), ("tasks", 1, 2, 2), ("tasks", 2, 34, 16)]
)
def test_tasks_that_decode_use_the_cpus_that_workers_leave(decode, workers, cpus, ahead):
    spec = Train(workers=workers, loader={"decode": decode})
    assert windows_ahead(spec, [Node(cpus, 0, 1e9)], 1.0, 1.0) == ahead
