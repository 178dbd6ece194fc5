import logging
import os
import threading
import time

import pytest

from herbray.tracking import (
    History,
    Point,
    StoreUnreachable,
    deliver_in_background,
    finish,
    log_run_metrics,
    open_run,
    resume_run,
    wrap_store_errors,
)
from herbray.tracking.delivery import DeliveryThread, summarise_error
from herbray.tracking.runs import RunNotFound
from herbray.tracking.store import client

QUICK = 0.05


def points_of(count):
    return [Point(step, 1_700_000_000.0 + step, {"loss": 1.0 / step, "speed": 9.0}) for step in range(1, count + 1)]


def curve(run, name="loss"):
    history = client(run.uri).get_metric_history(run.run_id, name)
    return [(point.step, point.value, point.timestamp) for point in history]


def expected(count):
    return [(p.step, p.metrics["loss"], int(1_000 * p.time)) for p in points_of(count)]


def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("how", ["away", "refuse", "full", "lose"])
def test_metrics_wait_while_the_server_is_unreachable_and_arrive_once_in_order(mlflow_server, caplog, how):
    run = open_run(mlflow_server.uri, "delivery", how, {})
    written, history, slowest = [], History(run), 0.0
    with DeliveryThread(lambda: history.send(list(written)), QUICK) as delivery:
        written += points_of(3)
        until(lambda: len(curve(run, "speed")) == 3)
        with mlflow_server.out_of_order(how):
            for point in points_of(40)[3:]:
                start = time.monotonic()
                written.append(point)
                slowest = max(slowest, time.monotonic() - start)
                time.sleep(0.01)
            until(lambda: any("unreachable" in record.message for record in caplog.records))
        delivery.finish(30)
    assert curve(run) == expected(40)
    assert slowest < 0.1
    told_of = [record.message for record in caplog.records if record.name == "herbray.tracking.delivery"]
    assert [("unreachable" in words, "reachable again" in words) for words in told_of] == [(True, False), (False, True)]


def test_the_wait_for_an_unreachable_server_is_limited(mlflow_server):
    run = open_run(mlflow_server.uri, "delivery", "stays away", {})
    history = History(run)
    start = time.monotonic()
    with mlflow_server.out_of_order("refuse"):
        with pytest.raises(StoreUnreachable, match=r"the tracking server is unreachable \(.*500.*\); all is safe"):
            with deliver_in_background(run, lambda: history.send(points_of(2)), "all is safe", patience=0.5):
                pass
    assert time.monotonic() - start < 4


def test_a_server_that_never_answers_does_not_block(mlflow_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    run = open_run(mlflow_server.uri, "delivery", "mute", {})
    history = History(run)
    with mlflow_server.out_of_order("mute"):
        start = time.monotonic()
        with pytest.raises(StoreUnreachable):
            with deliver_in_background(run, lambda: history.send(points_of(2)), "", patience=0.5):
                pass
        assert time.monotonic() - start < 5
    until(lambda: not any(thread.name == "herbray-delivery" for thread in threading.enumerate()))


def test_an_error_of_the_body_is_raised(mlflow_server, uri):
    run = open_run(uri, "delivery", "fails", {})
    history = History(run)
    with pytest.raises(KeyError, match="work"), deliver_in_background(run, lambda: history.send(points_of(2)), ""):
        raise KeyError("work")
    assert client(uri).get_run(run.run_id).info.status == "FAILED"
    assert curve(run) == expected(2)
    stopped = open_run(uri, "delivery", "stopped", {})
    with pytest.raises(KeyboardInterrupt), deliver_in_background(stopped, lambda: None, ""):
        raise KeyboardInterrupt
    assert client(uri).get_run(stopped.run_id).info.status == "KILLED"
    away = open_run(mlflow_server.uri, "delivery", "fails away", {})
    with mlflow_server.out_of_order("refuse"):
        start = time.monotonic()
        with (
            pytest.raises(KeyError, match="work"),
            deliver_in_background(away, lambda: History(away).send(points_of(2)), ""),
        ):
            raise KeyError("work")
        assert time.monotonic() - start < 12


def test_retries_and_log_levels_of_mlflow_are_restored(uri):
    logger = logging.getLogger("urllib3.connectionpool")
    before = (os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES"), logger.level)
    with DeliveryThread(lambda: None, QUICK) as delivery:
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
        delivery.finish(1)
    assert (os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES"), logger.level) == before


def test_what_is_written_before_the_end_is_delivered_by_then(uri):
    for _ in range(20):
        written, sent = [], []
        with DeliveryThread(lambda written=written, sent=sent: sent.extend(written[len(sent) :]), 10.0) as delivery:
            written += range(5)
            delivery.finish(1)
        assert sent == written


# History


def test_a_resumed_run_repeats_and_omits_no_step(uri):
    run = open_run(uri, "history", "goes on", {})
    History(run).send(points_of(5))
    redone = [Point(p.step, p.time + 900, {"loss": 7.0, "val": 0.5}) for p in points_of(8)[2:]]
    History(run).send(redone)
    assert [(step, value) for step, value, _ in curve(run)] == [
        *((step, 1 / step) for step in range(1, 6)),
        *((step, 7.0) for step in range(6, 9)),
    ]
    assert [step for step, *_ in curve(run, "val")] == [3, 4, 5, 6, 7, 8]  # a metric that these steps had not


def test_long_histories_are_read_completely(uri):
    run = open_run(uri, "history", "long", {})
    points = [Point(step, float(step), {"loss": 0.0}) for step in range(1_200)]
    from mlflow.entities import Metric

    for start in range(0, 1_200, 1_000):
        batch = [Metric("loss", 0.0, 1_000 * p.step, p.step) for p in points[start : start + 1_000]]
        client(uri).log_batch(run.run_id, metrics=batch)
    History(run).send(points)
    assert len(curve(run)) == 1_200


def test_names_that_mlflow_refuses_are_recognised(uri):
    run = open_run(uri, "history", "names", {})
    for _ in range(2):
        History(run).send([Point(1, None, {"a–b?": 1.0, "nan": float("nan")})])
    (name,) = client(uri).get_run(run.run_id).data.metrics
    assert len(curve(run, name)) == 1


def test_a_run_metric_is_written_once_and_again_if_it_changed(uri):
    run = open_run(uri, "history", "figures", {})
    for value in (0.5, 0.5, 0.6):
        log_run_metrics(run, {"accuracy": value})
    assert [value for _, value, _ in curve(run, "accuracy")] == [0.5, 0.6]
    assert client(uri).get_run(run.run_id).data.metrics == {"accuracy": 0.6}


# Runs taken up, errors in words


def test_a_run_is_resumed_by_id_and_an_unknown_id_refused(uri, mlflow_server):
    run = open_run(uri, "taken up", "one", {})
    finish(run)
    assert resume_run(uri, run.run_id) == run
    assert client(uri).get_run(run.run_id).info.status == "RUNNING"
    with pytest.raises(RunNotFound, match="is it the store that the training used"):
        resume_run(mlflow_server.uri, run.run_id)
    client(uri).delete_run(run.run_id)
    with pytest.raises(RunNotFound, match="mlflow runs restore --run-id"):
        resume_run(uri, run.run_id)


def test_errors_of_the_store_are_wrapped_and_bad_input_is_not(mlflow_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = open_run(mlflow_server.uri, "told", "one", {})
    with mlflow_server.out_of_order("refuse"), pytest.raises(StoreUnreachable, match=r"500.*try `this`") as raised:
        with wrap_store_errors("try `this`", run):
            log_run_metrics(run, {"a": 1.0})
    assert raised.value.__cause__ is not None
    with pytest.raises(KeyError), wrap_store_errors("", run):
        raise KeyError("a fault of ours")
    with pytest.raises(ValueError, match="bad"), wrap_store_errors("", run):
        raise ValueError("bad")


def test_reasons_are_one_short_line_without_secrets():
    line = summarise_error(RuntimeError("at http://ann:s3cret@host\n" + 900 * "x"))
    assert line.startswith("RuntimeError: at http://***@host xxx")
    assert len(line) < 250
