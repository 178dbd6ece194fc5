import io
import time

import pytest
from rich.console import Console
from rich.progress import Progress

from herbray.console import progress


@pytest.fixture
def log(monkeypatch):
    """A log file instead of a terminal."""
    file = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=file, width=80))
    return file


def made(completed, seconds, **fields):
    now = [0.0]
    bar = Progress(get_time=lambda: now[0], disable=True)
    task = bar.add_task("shard", **({"total": 3000, "unit": "image"} | fields))
    now[0] = seconds
    bar.update(task, completed=completed)
    return bar.tasks[0]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ((1000, 10), "shard: 1,000/3,000 images, 100 image/s, 0:20 left"),
        ((3000, 90), "shard: 3,000/3,000 images, 33 image/s, in 1:30"),
        ((0, 60), "shard: 0/3,000 images"),
        ((1.5, 3600, {"total": 25, "unit": "epoch"}), "shard: 1.5/25 epochs, 1.5 epoch/h, 15:40:00 left"),
        ((20, 60, {"total": 25, "unit": "epoch", "begun": 18}), "shard: 20/25 epochs, 2.0 epoch/min, 2:30 left"),
        ((3, 60, {"total": None, "unit": "trial"}), "shard: 3/? trials, 3.0 trial/min"),
    ],
)
def test_a_line_has_amount_rate_and_remaining_time(task, expected):
    completed, seconds, fields = (*task, {})[:3]
    assert progress.progress_line(made(completed, seconds, **fields)) == expected


@pytest.mark.parametrize(
    ("seconds", "age", "expected"),
    [(9, 9, False), (10, 50, True), (10, 200, False), (20, 200, True), (59, 9000, False), (60, 9000, True)],
)
def test_lines_are_ten_seconds_apart_at_first_and_a_minute_in_a_long_job(seconds, age, expected):
    assert progress.is_line_due(seconds, age, has_advanced=True) is expected


def test_a_task_that_stands_still_gets_a_line_every_five_minutes():
    assert not progress.is_line_due(299, 9000, has_advanced=False)
    assert progress.is_line_due(300, 9000, has_advanced=False)


@pytest.mark.slow
def test_a_log_file_gets_plain_lines_on_the_way_and_one_at_the_end(log, monkeypatch):
    monkeypatch.setattr(progress, "MIN_INTERVAL_S", 0.5)
    with progress.progress() as bar:
        task = bar.add_task("a job of a long name that does not fit into eighty columns", total=10, unit="image")
        bar.advance(task, 5)
        time.sleep(1.5)
        on_the_way = log.getvalue()
        bar.advance(task, 5)
    assert on_the_way.count("\n") == 1
    assert "columns: 5/10 images, " in on_the_way
    assert " left\n" in on_the_way
    last = log.getvalue().removeprefix(on_the_way)
    assert last.count("\n") == 1
    assert "columns: 10/10 images, " in last
    assert ", in 0:0" in last
    assert "\x1b" not in log.getvalue()


@pytest.mark.slow
def test_a_finished_task_gets_its_last_line_while_others_go_on(log):
    with progress.progress() as bar:
        first, second = (bar.add_task(name, total=2, unit="epoch") for name in ("first", "second"))
        bar.advance(first, 2)
        time.sleep(2.5)
        assert "first: 2/2 epochs, " in log.getvalue()
        assert ", in 0:00" in log.getvalue()
        bar.advance(second, 2)
    assert log.getvalue().count("first") == 1
    assert ", in 0:0" in log.getvalue().rpartition("second")[2]


def test_a_terminal_gets_a_bar(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=file, force_terminal=True, width=100))
    with progress.progress() as bar:
        bar.advance(bar.add_task("shard", total=10, unit="image"), 10)
    assert "10/10" in file.getvalue()
    assert "━" in file.getvalue()


def test_muted_progress_prints_nothing_and_counts(log):
    with progress.mute_progress(), progress.progress() as bar:
        task = bar.add_task("shard", total=10, unit="image")
        bar.advance(task, 10)
        assert bar.tasks[0].completed == 10
    assert log.getvalue() == ""
