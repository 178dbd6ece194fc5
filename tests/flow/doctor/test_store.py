import base64
import contextlib
import sqlite3

import pytest

from herbray.flow.doctor.store import check_mlflow_store

API = "/api/2.0/mlflow/experiments/search"


def test_an_sqlite_store_is_opened_for_writing_and_left_as_it_was(tmp_path):
    path = tmp_path / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (x)")
    before = path.read_bytes()
    (finding,) = check_mlflow_store({}, tmp_path, 1)
    assert finding.status == "ok"
    assert path.read_bytes() == before


def test_a_missing_store_is_not_created(tmp_path):
    (finding,) = check_mlflow_store({}, tmp_path / "runs", 1)
    assert finding.status == "ok"
    assert not (tmp_path / "runs").exists()


def test_damaged_locked_and_unreachable_stores_are_reported(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"this is no database at all" * 99)
    assert next(check_mlflow_store({}, tmp_path, 1)).status == "error"
    (tmp_path / "file").touch()
    assert next(check_mlflow_store({}, tmp_path / "file" / "runs", 1)).status == "error"
    busy = tmp_path / "busy"
    busy.mkdir()
    with contextlib.closing(sqlite3.connect(busy / "mlflow.db", isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert next(check_mlflow_store({}, busy, 0.1)).status == "warning"


@pytest.mark.parametrize(
    ("status", "word"), [(200, ""), (401, "MLFLOW_TRACKING_USERNAME"), (403, "--allowed-hosts"), (500, "log")]
)
def test_the_api_of_a_server_is_checked_too(server, tmp_path, status, word):
    made = server({"/health": 200, API: status})
    uri = f"http://127.0.0.1:{made.server_address[1]}"
    (finding,) = check_mlflow_store({"MLFLOW_TRACKING_URI": uri}, tmp_path, 5)
    assert finding.status == ("ok" if status == 200 else "error")
    assert word in finding.remedy


def test_the_credentials_are_those_of_mlflow_and_are_not_shown(server, tmp_path):
    made = server({"/health": 200, API: 401})
    environment = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{made.server_address[1]}"}
    environment |= {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "s3cret"}
    (finding,) = check_mlflow_store(environment, tmp_path, 5)
    assert made.seen[-1][1]["Authorization"] == "Basic " + base64.b64encode(b"ann:s3cret").decode()
    assert "s3cret" not in f"{finding}"


def test_credentials_do_not_follow_a_server_to_another_address(server, tmp_path):
    made, other = server({"/health": 200, API: 302}), server(200)
    made.elsewhere = f"http://127.0.0.1:{other.server_address[1]}/login"
    environment = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{made.server_address[1]}"}
    (finding,) = check_mlflow_store(environment | {"MLFLOW_TRACKING_TOKEN": "s3cret"}, tmp_path, 5)
    assert (finding.status, other.seen) == ("error", [])
    assert "another address" in finding.remedy


def test_a_server_that_does_not_answer_is_an_error(closed_port, tmp_path):
    (finding,) = check_mlflow_store({"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{closed_port}"}, tmp_path, 1)
    assert finding.status == "error"
    assert "no answer" in finding.found


def test_an_address_with_a_password_is_an_error_and_is_not_repeated(tmp_path):
    (finding,) = check_mlflow_store({"MLFLOW_TRACKING_URI": "http://ann:s3cret@127.0.0.1:5000"}, tmp_path, 1)
    assert finding.status == "error"
    assert "s3cret" not in f"{finding}"
    assert "MLFLOW_TRACKING_PASSWORD" in finding.remedy
