import pytest

from herbray.flow.doctor import access


@pytest.mark.parametrize(
    ("environment", "status"),
    [
        ({}, "ok"),
        ({"RAY_AUTH_MODE": "token", "RAY_ADDRESS": "http://head:8265"}, "ok"),
        ({"RAY_AUTH_MODE": "disabled"}, "warning"),
        ({"RAY_ADDRESS": "http://head:8265"}, "warning"),
        ({"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "http://head:8265"}, "error"),
    ],
)
def test_a_cluster_without_a_token_is_reported(environment, status):
    (finding,) = access.check_token_mode(environment)
    assert finding.status == status
    assert bool(finding.remedy) == (status != "ok")


@pytest.mark.parametrize(
    ("mode", "text", "status"),
    [
        (0o600, "s3cret", "ok"),
        (0o400, "s3cret", "ok"),
        (0o644, "s3cret", "error"),
        (0o660, "s3cret", "error"),
        (0o600, "", "error"),
    ],
)
def test_only_the_owner_may_read_the_token(tmp_path, mode, text, status):
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    (finding,) = access.check_token_file({"RAY_AUTH_TOKEN_PATH": str(path)})
    assert finding.status == status
    assert "s3cret" not in f"{finding}"
    if mode == 0o644:
        assert f"chmod 600 {path}" in finding.remedy


def test_a_token_file_that_was_named_must_exist(tmp_path, monkeypatch):
    assert next(access.check_token_file({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")})).status == "error"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert next(access.check_token_file({})).status == "ok"
    assert next(access.check_token_file({"RAY_AUTH_MODE": "token", "RAY_ADDRESS": "auto"})).status == "error"


def test_a_token_in_the_environment_is_not_shown():
    (finding,) = access.check_token_file({"RAY_AUTH_TOKEN": "s3cret"})
    assert finding.status == "ok"
    assert "s3cret" not in f"{finding}"


@pytest.mark.parametrize(
    ("host", "status", "expected"),
    [
        ("127.0.0.1", 401, "ok"),
        ("127.0.0.1", 200, "warning"),
        ("0.0.0.0", 200, "error"),
        ("0.0.0.0", 401, "ok"),
    ],
)
def test_a_dashboard_open_to_the_network_without_a_token_is_an_error(server, host, status, expected):
    port = server(status, host).server_address[1]
    (finding,) = access.check_dashboard({}, port, 5)
    assert finding.status == expected
    if expected == "error":
        assert "0.0.0.0" in finding.found
        assert "--dashboard-host 127.0.0.1" in finding.remedy


def test_the_named_dashboard_is_asked_and_nothing_secret_is_shown(server):
    made = server({"/api/jobs/": 401})
    address = f"http://someone:s3cret@127.0.0.1:{made.server_address[1]}"
    (finding,) = access.check_dashboard({"RAY_ADDRESS": address}, 1, 5)
    assert finding.status == "ok"
    assert "s3cret" not in f"{finding}"
    assert [path for path, _ in made.seen] == ["/api/jobs/"]
    assert not any("Authorization" in headers for _, headers in made.seen)


def test_no_dashboard_is_fine_unless_one_is_named(closed_port):
    assert next(access.check_dashboard({}, closed_port, 1)).status == "ok"
    silent = next(access.check_dashboard({"RAY_ADDRESS": f"http://127.0.0.1:{closed_port}"}, closed_port, 1))
    assert silent.status == "error"
    assert "no answer" in silent.found
