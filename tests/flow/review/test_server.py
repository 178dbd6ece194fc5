import http.client
import json
import threading

import pytest

from herbray import schema
from herbray.flow.review.server import make_server
from herbray.verdicts.files import read_verdicts

ROW = dict.fromkeys(schema.VERDICT.names, "x") | {"rank": "genus", "verdict": "wrong", "at": "2026-03-01T09:30:00.000Z"}


@pytest.fixture
def server(tmp_path):
    page = tmp_path / "page"
    (page / "evidence").mkdir(parents=True)
    (page / "index.html").write_text("the page")
    (page / "data.js").write_text("the data")
    (tmp_path / "secret.txt").write_text("secret")
    made = make_server(page, tmp_path / "verdicts", "127.0.0.1", 0)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def ask(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {"Host": f"localhost:{server.server_port}"} | headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer


def save(server, rows, **headers):
    own = {"Origin": f"http://localhost:{server.server_port}", "Content_Type": "application/json"}
    body = rows if isinstance(rows, str) else json.dumps(rows)
    return ask(server, "POST", f"/{server.token}/verdicts", body, **(own | headers))


def test_the_page_and_verdicts_need_the_token(server):
    status, text, answer = ask(server, "GET", f"/{server.token}/")
    assert (status, text) == (200, "the page")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert ask(server, "GET", f"/{server.token}/data.js")[:2] == (200, "the data")
    for path in ("/", "/index.html", "/data.js", "/verdicts", f"/{server.token[:-1]}/data.js", "/%C3%A9/"):
        assert ask(server, "GET", path)[0] == 403
    own = {"Origin": f"http://localhost:{server.server_port}", "Content_Type": "application/json"}
    assert ask(server, "POST", "/wrong/verdicts", json.dumps([ROW]), **own)[0] == 403
    assert read_verdicts(server.verdicts).num_rows == 0


def test_other_hosts_and_other_pages_are_refused(server):
    path = f"/{server.token}/data.js"
    assert ask(server, "GET", path, Host="evil.example")[0] == 403  # a name that was pointed at this machine
    assert ask(server, "GET", path, Host="")[0] in (400, 403)
    assert ask(server, "GET", path, Host="localhost:9999")[0] == 200  # through a tunnel
    assert ask(server, "GET", path, Host="[::1]:8642")[0] == 200
    for origin in ("https://evil.example", "null", f"http://localhost:{server.server_port + 1}", ""):
        assert save(server, [ROW], Origin=origin)[0] == 403
    assert save(server, [ROW], Content_Type="text/plain")[0] == 403  # what a form of another page can send
    assert read_verdicts(server.verdicts).num_rows == 0


def test_only_files_of_the_page_are_sent(server):
    for path in ("../secret.txt", "%2e%2e/secret.txt", "evidence/", "none.js", "..%2fverdicts/saved.csv"):
        status, text, _ = ask(server, "GET", f"/{server.token}/{path}")
        assert status == 404
        assert "secret" not in text.replace("secret.txt", "")


def test_rows_are_saved_once_they_are_checked(server):
    status, text, _ = save(server, [ROW, ROW | {"id": "y", "name": None, "note": "=1"}])
    assert (status, json.loads(text)) == (200, {"saved": ["x", "y"]})
    status, text, _ = ask(server, "GET", f"/{server.token}/verdicts")
    assert (
        json.loads(text)["verdicts"]
        == read_verdicts(server.verdicts).to_pylist()
        == [ROW, ROW | {"id": "y", "name": None, "note": "=1"}]
    )
    bad = (
        "[",
        "{}",
        "[1]",
        [{}],
        [ROW | {"verdict": "?"}],
        [ROW | {"at": "now"}],
        [ROW | {"given": 7}],
        [ROW | {"name": "n" * 100_001}],
    )
    for rows in bad:
        assert save(server, rows)[0] == 400
    assert save(server, "", Content_Length="4000001")[0] == 400
    assert read_verdicts(server.verdicts).num_rows == 2


def test_a_changed_file_and_a_taken_port_are_told_before_anything_is_served(server, tmp_path):
    with pytest.raises(ValueError, match=r"cannot listen there .*set port=0"):
        make_server(tmp_path, tmp_path / "verdicts", "127.0.0.1", server.server_port)
    (tmp_path / "verdicts" / "saved.csv").write_text("specimen_id;rank\n")
    with pytest.raises(ValueError, match="another program has changed"):
        make_server(tmp_path, tmp_path / "verdicts", "127.0.0.1", 0)
