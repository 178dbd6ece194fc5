import logging
import subprocess
import sys

import pytest

from herbray import cli
from herbray.console import logs


def test_logs_hold_neither_secrets_nor_control_characters():
    record = logging.LogRecord("x", logging.WARNING, "", 0, "at %s", ("http://ann:s3cret@host\x1b[2J\r",), None)
    shown = logs.Formatter("%(message)s").format(record)
    assert "s3cret" not in shown
    assert shown == "at http://***@host\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}"


def test_a_message_is_one_line():
    record = logging.LogRecord("x", logging.WARNING, "", 0, "one\ntwo", (), None)
    assert logs.Formatter("%(message)s").format(record) == "one two"


def test_an_unknown_level_lists_the_known_ones(monkeypatch, capsys):
    monkeypatch.setenv("HERBRAY_LOG", "loud")
    assert cli.run("catalogue", None, []) == 1
    assert "HERBRAY_LOG=loud: unknown; set it to warning, info, debug" in capsys.readouterr().err


LOUD = """
import logging
from herbray.console import logs
logs.configure()
for name in ("herbray.x", "other"):
    for level in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger(name), level)(level)
"""


@pytest.mark.parametrize(
    ("detail", "ours", "others"),
    [
        ("", {"warning", "error"}, {"error"}),
        ("info", {"info", "warning", "error"}, {"warning", "error"}),
        ("DEBUG", {"debug", "info", "warning", "error"}, {"info", "warning", "error"}),
    ],
)
def test_the_level_decides_what_is_shown_of_herbray_and_libraries(detail, ours, others, monkeypatch):
    monkeypatch.setenv("HERBRAY_LOG", detail)
    done = subprocess.run([sys.executable, "-c", LOUD], capture_output=True, text=True, check=True)
    wanted = [(name, level) for name, levels in (("herbray.x", ours), ("other", others)) for level in levels]
    assert sorted(done.stderr.splitlines()) == sorted(f"{level.upper()} {name}: {level}" for name, level in wanted)


STORE = """
from herbray.console import logs
logs.configure()
import mlflow.exceptions  # MLflow configures its log on import
from herbray.tracking.store import client
client("sqlite:///{}/mlflow.db")
"""


@pytest.mark.slow
def test_a_new_tracking_store_is_created_silently(tmp_path, monkeypatch):
    monkeypatch.delenv("HERBRAY_LOG", raising=False)
    monkeypatch.delenv("MLFLOW_LOGGING_LEVEL", raising=False)
    code = STORE.format(tmp_path)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
