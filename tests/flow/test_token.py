import stat

import pytest

from herbray.flow import cluster


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_token_of_a_cluster_here_is_for_its_owner_alone_and_made_once(home):
    cluster._private_token()
    path = home / ".ray" / "auth_token"
    token = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) == 64
    cluster._private_token()
    assert path.read_text() == token


def test_no_token_is_made_where_one_is_given(home, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    cluster._private_token()
    assert not (home / ".ray").exists()
