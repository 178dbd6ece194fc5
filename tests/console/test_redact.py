import pytest

from herbray import cli
from herbray.console.redact import redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://ann:s3cret@mlflow:5000/api failed", "at http://***@mlflow:5000/api failed"),
        ("postgresql+psycopg2://u:p%40ss@db/x", "postgresql+psycopg2://***@db/x"),
        ("https://bucket/x.tar?X-Amz-Signature=abc123&part=1", "https://bucket/x.tar?X-Amz-Signature=***&part=1"),
        ("https://host/x?sig=abc&se=1", "https://host/x?sig=***&se=1"),
        ("https://host/x?a=1&api_key=abc", "https://host/x?a=1&api_key=***"),
        ("no file http:/ann:s3cret@host/x", "no file http:/***@host/x"),
        ("models:/herbray-triplet@champion", "models:/herbray-triplet@champion"),
        ("https://doi.org/10.3389/fpls.2021.806407 by a@b.org", "https://doi.org/10.3389/fpls.2021.806407 by a@b.org"),
        ("", ""),
    ],
)
def test_secrets_in_addresses_are_hidden_and_nothing_else(text, shown):
    assert redact(text) == shown


def test_secrets_of_the_environment_are_hidden_everywhere(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "abcdef0123")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "x")  # too short to be searched for
    assert redact("sent abcdef0123, six times") == "sent ***, six times"


def test_a_refused_setting_does_not_show_its_secret(capsys, tmp_path):
    uri = "http://ann:s3cret@host/sheets"
    assert cli.run("catalogue", None, ["source.name=folder", f"source.path={uri}", f"out={tmp_path}/out"]) == 1
    assert cli.run("shard", None, [f"side={uri}", f"out={tmp_path}/out"]) == 1
    told = capsys.readouterr().err
    assert "***@host" in told
    assert "s3cret" not in told
