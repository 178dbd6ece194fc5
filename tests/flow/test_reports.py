from herbray.flow.reports import Curve, append, read_metrics


def test_what_is_told_twice_is_written_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    curve = Curve(path)
    assert [curve.add({"images": n, "loss": 1 / n}) for n in (10, 20, 10, 20, 30)] == [True, True, False, False, True]
    assert not Curve(path).add({"images": 30, "loss": 5})  # another process
    assert [row["images"] for row in read_metrics(path)] == [10, 20, 30]
    assert len(path.read_text().splitlines()) == 3


def test_half_a_line_is_no_report_and_spoils_no_other(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append(path, {"images": 1, "loss": 0.5})
    with path.open("a") as file:
        file.write('{"images": 2, "lo')
    assert [row["images"] for row in read_metrics(path)] == [1]
    append(path, {"images": 2, "loss": 0.25})
    assert [row["loss"] for row in read_metrics(path)] == [0.5, 0.25]
    assert read_metrics(tmp_path / "absent") == []
