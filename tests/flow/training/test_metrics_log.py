import resource

import pytest

from herbray.flow.training.metrics_log import MetricsLog, append_metrics, read_metrics


@pytest.fixture
def no_room():
    """Files may not grow: what a full disk is to their writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield limit
    limit(None)


def test_while_the_disk_is_full_figures_wait_and_are_written_with_the_next(tmp_path, no_room, caplog):
    path = tmp_path / "metrics.jsonl"
    curve = MetricsLog(path)
    curve.add({"images": 1, "loss": 1.0})
    no_room(path.stat().st_size + 10)
    told = [curve.add({"images": n, "loss": 1 / n}) for n in (2, 3, 2)]
    no_room(None)
    assert told == [True, True, False]
    assert [row["images"] for row in read_metrics(path)] == [1]
    assert caplog.text.count("metrics wait in memory, training continues") == 1
    no_room(path.stat().st_size + 10)
    with pytest.raises(OSError, match="too large"):
        curve.flush()
    no_room(None)
    curve.add({"images": 4, "loss": 0.25})
    assert [row["loss"] for row in read_metrics(path)] == [1, 1 / 2, 1 / 3, 1 / 4]


def test_a_repeated_message_is_written_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    curve = MetricsLog(path)
    assert [curve.add({"images": n, "loss": 1 / n}) for n in (10, 20, 10, 20, 30)] == [True, True, False, False, True]
    assert not MetricsLog(path).add({"images": 30, "loss": 5})  # another process
    assert [row["images"] for row in read_metrics(path)] == [10, 20, 30]
    assert len(path.read_text().splitlines()) == 3


def test_half_a_line_is_no_report_and_spoils_no_other(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_metrics(path, {"images": 1, "loss": 0.5})
    with path.open("a") as file:
        file.write('{"images": 2, "lo')
    assert [row["images"] for row in read_metrics(path)] == [1]
    append_metrics(path, {"images": 2, "loss": 0.25})
    assert [row["loss"] for row in read_metrics(path)] == [0.5, 0.25]
    assert read_metrics(tmp_path / "absent") == []
