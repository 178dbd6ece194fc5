import os
import subprocess
import sys

from herbray.flow.cluster import core_log

SCRIPT = """
import os, sys
from herbray.flow.cluster import core_log
with core_log.silence():
    print(os.environ["RAY_BACKEND_LOG_LEVEL"])
    line = "[2026-11-29 15:48:21,080 I 2416 2416] logging.cc:303: Set ray log level from environment variable X"
    os.write(2, (line + "\\n").encode())
    os.write(2, b"[2026-11-29 15:48:21,080 C 2416 2416] raylet.cc:1: no socket\\n")
    print("python", file=sys.stderr)
    sys.exit("the end")
"""


def test_only_the_level_notice_is_dropped_while_joining(monkeypatch):
    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL", raising=False)
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout == "fatal\n"
    assert sorted(done.stderr.splitlines()) == [
        "[2026-11-29 15:48:21,080 C 2416 2416] raylet.cc:1: no socket",
        "python",
        "the end",
    ]


def test_a_level_in_the_environment_or_debug_turns_silencing_off(monkeypatch):
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "warning")
    with core_log.silence():
        assert os.environ["RAY_BACKEND_LOG_LEVEL"] == "warning"
    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL")
    monkeypatch.setenv("HERBRAY_LOG", "debug")
    with core_log.silence():
        assert "RAY_BACKEND_LOG_LEVEL" not in os.environ
