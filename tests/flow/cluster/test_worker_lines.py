import logging
import time

import pytest

from herbray.flow.cluster.worker_lines import LinePrinter


def batch(*lines, pid=1):
    return {"lines": list(lines), "pid": pid, "is_err": True}


def test_herbrays_lines_are_shown_once_and_crashes_too(capsys, monkeypatch):
    monkeypatch.delenv("HERBRAY_LOG", raising=False)
    lines = LinePrinter()
    lines.print(
        batch(
            "Reporting training result 3: TrainingReport(checkpoint=None)",
            "WARNING herbray.flow.training.checkpoints.directory: full",
        )
    )
    lines.print(
        batch(
            "WARNING herbray.flow.training.checkpoints.directory: full",
            "WARNING herbray.flow.training.checkpoints.directory: \x1b[31mbad",
            pid=2,
        )
    )
    lines.print(batch("INFO herbray.tracking.runs: going on", "WARNING ray.data: slow", "WARNING: herbray is new"))
    lines.print(batch("Fatal Python error: Segmentation fault"))
    assert capsys.readouterr().err.splitlines() == [
        "WARNING herbray.flow.training.checkpoints.directory: full",
        "WARNING herbray.flow.training.checkpoints.directory: \N{REPLACEMENT CHARACTER}[31mbad",
        "Fatal Python error: Segmentation fault",
    ]


def test_lost_processes_and_nodes_are_shown(capsys):
    lines = LinePrinter()
    lines.print(batch("WARNING: 8 PYTHON worker processes have been started on node: 02", pid="raylet"), False)
    lines.print(batch("Memory on the node was 15 GB. Ray killed this worker", pid="raylet"), ignore_prefix=False)
    lines.print(batch("Tip: use `ray status`", "Error: No available node types can fulfill it", pid="autoscaler"))
    assert capsys.readouterr().err.splitlines() == [
        "Memory on the node was 15 GB. Ray killed this worker",
        "Error: No available node types can fulfill it",
    ]


def test_info_shows_more_of_herbrays_lines(capsys, monkeypatch):
    monkeypatch.setenv("HERBRAY_LOG", "info")
    LinePrinter().print(batch("INFO herbray.tracking.runs: going on", "DEBUG herbray.x: y", "INFO ray.train: z"))
    assert capsys.readouterr().err == "INFO herbray.tracking.runs: going on\n"


def test_a_line_repeated_much_later_is_shown_again(capsys, monkeypatch):
    lines = LinePrinter()
    lines.print(batch("WARNING herbray.x: y"))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3600)
    lines.print(batch("WARNING herbray.x: y"))
    assert capsys.readouterr().err == "WARNING herbray.x: y\n" * 2


@pytest.fixture
def patience():
    end = time.monotonic() + 30
    return lambda: time.monotonic() < end


def test_workers_warnings_reach_the_user_once_and_nothing_else_does(cluster, capsys, patience):
    def speak(number):
        logging.getLogger("herbray.flow.training.checkpoints.directory").warning("the disk is\nfull")
        logging.getLogger("herbray.flow.training.checkpoints.directory").warning("worker %d", number)
        logging.getLogger("ray.train").warning("Reporting training result")
        print("chatter")
        time.sleep(0.5)  # two tasks, two workers
        return number

    cluster.get([cluster.remote(speak).remote(number) for number in range(2)])
    told = ""
    while not ("worker 0" in told and "worker 1" in told) and patience():
        time.sleep(0.1)
        told += capsys.readouterr().err
    time.sleep(1.0)
    told += capsys.readouterr().err
    assert sorted(told.splitlines()) == [
        "WARNING herbray.flow.training.checkpoints.directory: the disk is full",
        "WARNING herbray.flow.training.checkpoints.directory: worker 0",
        "WARNING herbray.flow.training.checkpoints.directory: worker 1",
    ]
