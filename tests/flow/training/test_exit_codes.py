"""Commands as a platform runs them: the exit code, and the last line, which is the cause."""

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from herbray.exit_codes import ExitCode
from herbray.flow.training.checkpoints.directory import NAME

ROOT = Path(__file__).parents[3]
WINDOWS = 250  # of an epoch of the fixture `long_epoch`
TRAINING = (
    *("objective.name=classifier", "encoder={arch: mobilenet_v3_small, init: random, size: 32}", "validate_rows=20"),
    *("stream={batch: 8, window: 2, align: 1}", "checkpoints={seconds: null}", "reports=100", "epochs=20", "workers=0"),
)


def command(*words):
    return [sys.executable, ROOT / "jobs" / f"{words[0]}.py", *words[1:]]


def environment(folder, **more):
    kept = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    return kept | {"PYTHONPATH": str(ROOT), "HERBRAY_ROOT": str(folder), "OMP_NUM_THREADS": "1"} | more


def end(folder, *words, **more):
    """The exit code, and the last line on stderr."""
    done = subprocess.run(command(*words), env=environment(folder, **more), capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr.splitlines()[-1] if done.stderr else ""


@pytest.fixture
def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]  # bound, but nobody listens: connections are refused


@pytest.mark.slow
def test_bad_input_ends_with_1_and_its_cause(tmp_path):
    code, line = end(tmp_path, "catalogue", "nowhere.yaml")
    assert (code, line) == (
        ExitCode.BAD_INPUT,
        "herbray catalogue: nowhere.yaml: no such configuration file; `herbray init` writes the shipped ones",
    )
    code, line = end(tmp_path, "catalogue", ROOT / "jobs" / "catalogue.yaml", "source.sheeets=3")
    assert (code, line.strip()) == (ExitCode.BAD_INPUT, "source.sheeets: unknown key; did you mean 'sheets'?")
    code, line = end(tmp_path, "catalogue", "source={name: folder, path: sheets}")
    assert code == ExitCode.BAD_INPUT
    assert line.startswith(f"herbray catalogue: {tmp_path}/sheets/labels.csv: no such file")


@pytest.mark.slow
def test_an_unknown_option_or_verb_ends_with_2_and_its_cause(tmp_path):
    assert end(tmp_path, "catalogue", "--fast") == (ExitCode.USAGE, "herbray: No such option: --fast")
    script = [sys.executable, "-m", "herbray.cli", "unknown"]
    done = subprocess.run(script, env=environment(tmp_path), capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (ExitCode.USAGE, "herbray: No such command 'unknown'.")


@pytest.mark.slow
def test_a_tracking_server_that_does_not_answer_ends_with_3(tmp_path, small_shards, closed_port):
    server = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{closed_port}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    code, line = end(tmp_path, "train", f"shards={small_shards}", *TRAINING, **server)
    assert code == ExitCode.UNREACHABLE
    assert line.startswith("herbray train: the tracking server is unreachable (")
    assert line.endswith("training has not started; run the same command again")
    code, line = end(tmp_path, "promote", "herbray-triplet", **server)
    assert code == ExitCode.UNREACHABLE
    assert "run the same command again" in line


@pytest.mark.slow
def test_a_tracking_server_that_refuses_ends_with_1(tmp_path, small_shards):
    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(401, "who are you?")

        do_POST = do_GET

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        code, line = end(tmp_path, "train", f"shards={small_shards}", *TRAINING, MLFLOW_TRACKING_URI=uri)
        server.shutdown()
    assert code == ExitCode.BAD_INPUT
    assert line.startswith("herbray train: the tracking server refuses a request (")


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_ends_with_3(tmp_path, small_shards, closed_port):
    address = f"127.0.0.1:{closed_port}"
    words = ("train", f"shards={small_shards}", *TRAINING, "workers=1")
    code, line = end(tmp_path, *words, RAY_ADDRESS=address)
    assert code == ExitCode.UNREACHABLE
    assert line == (
        f"herbray train: no cluster answers at RAY_ADDRESS={address} (Connection refused); check RAY_ADDRESS and that "
        "the cluster runs, then run the same command again"
    )


@pytest.fixture
def start(tmp_path, long_epoch):
    """Starts a training, or resumes it."""
    jobs = []

    def begin():
        words = command("train", f"shards={long_epoch}", "out=run", *TRAINING)
        jobs.append(subprocess.Popen(words, env=environment(tmp_path), stderr=subprocess.PIPE, text=True))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_is_told_to_end_writes_a_checkpoint_and_resumes(tmp_path, start, number):
    metrics, ends = tmp_path / "run" / "metrics.jsonl", []
    for _ in range(2):
        job, seen = start(), rows(metrics)
        wait_for(lambda seen=seen: rows(metrics) > seen, job)
        job.send_signal(number)
        said = job.communicate(timeout=120)[1].splitlines()
        assert (job.returncode, said[-1]) == (
            ExitCode.INTERRUPTED,
            "herbray train: interrupted; the same command resumes",
        )
        assert any("with a checkpoint; a second signal ends the job at once" in line for line in said)
        ends.append(max(checkpoints(tmp_path)))
    assert 0 < ends[0] < ends[1] < WINDOWS  # nothing but the signal asks for a checkpoint within an epoch


def rows(metrics):
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def wait_for(condition, job, seconds=240):
    limit = time.monotonic() + seconds
    while not condition():
        assert job.poll() is None, job.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.05)


def checkpoints(folder):
    """Windows consumed, of each complete checkpoint."""
    return sorted(int(each.name) for each in folder.glob("run/checkpoints/*/*") if NAME.fullmatch(each.name))
