import re

import pytest

from herbray import cli
from herbray.flow.doctor import job
from herbray.flow.doctor.finding import Finding


@pytest.fixture
def fit(tmp_path, monkeypatch):
    """An empty home folder, no cluster named, and settings that any machine meets."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return [f"folders=[{tmp_path}]", "free_gb=0", "shared_gb=0", "open_files=64", "dashboard_port=1", "store=."]


def test_a_fit_machine_ends_with_zero_and_a_table(fit, capsys):
    assert cli.run("doctor", None, fit) == 0
    shown = capsys.readouterr().out
    assert "torchvision" in shown
    assert re.search(r"\d+ ok", shown)
    assert "error" not in shown


def test_an_error_ends_with_one_and_says_what_to_do(fit, tmp_path, capsys):
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("s3cret")
    token.chmod(0o644)
    assert cli.run("doctor", None, fit) == 1
    shown = capsys.readouterr()
    assert "chmod 600" in " ".join(shown.out.split())
    assert "1 error" in shown.err
    assert "s3cret" not in shown.out + shown.err


def test_text_of_a_finding_is_not_interpreted_as_markup(capsys):
    job.Console(width=200).print(job.findings_table([Finding("disk /[red]x[/nonsense]", "ok", "[bold]", "")]))
    assert "/[red]x[/nonsense]" in capsys.readouterr().out
