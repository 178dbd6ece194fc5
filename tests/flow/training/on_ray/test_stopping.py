"""A job on Ray workers is told to end, as `ray job stop` and Kubernetes do: SIGTERM to the driver."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from herbray.exit_codes import ExitCode
from herbray.flow.training.checkpoints.directory import NAME

JOBS = Path(__file__).parents[4] / "jobs"
TRAINING = (
    *("objective.name=classifier", "encoder={arch: mobilenet_v3_small, init: random, size: 32}", "validate_rows=20"),
    *("stream={batch: 8, window: 2, align: 1}", "checkpoints={seconds: null}", "reports=100", "epochs=20"),
    *("workers=2", "cpus_per_worker=0.5"),
)


@pytest.fixture
def start(tmp_path, long_epoch):
    """Starts the training, with a cluster of its own; ends what is left of both."""
    words = [sys.executable, JOBS / "train.py", f"shards={long_epoch}", "out=run", *TRAINING]
    kept = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    more = {"PYTHONPATH": str(JOBS.parent), "HERBRAY_ROOT": str(tmp_path)}
    started = []

    def begin():
        started.append(subprocess.Popen(words, env=kept | more, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for job in started:
        left = psutil.Process(job.pid).children(recursive=True) if job.poll() is None else []
        for process in [job, *left]:
            process.kill()


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.timeout(600)
def test_workers_write_a_checkpoint_within_the_epoch_when_the_driver_is_told_to_end(tmp_path, start):
    job = start()
    limit = time.monotonic() + 400
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert job.poll() is None, job.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.1)
    job.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, said = job.communicate(timeout=150)
    assert job.returncode == ExitCode.INTERRUPTED, said
    assert "stopping when the workers end this window" in said
    assert said.splitlines()[-1] == "herbray train: interrupted; the same command resumes"
    (written,) = (int(each.name) for each in tmp_path.glob("run/checkpoints/*/*") if NAME.fullmatch(each.name))
    assert (
        0 < written < 250
    )  # windows; an epoch has more, and nothing but the signal asks for a checkpoint before its end
    print(f"ended {time.monotonic() - began:.1f} s after the signal, after {written} windows")
