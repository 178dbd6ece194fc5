"""The jobs of a small herbarium in a bucket of a real S3 server give what they give on a disk."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from herbray import storage, tables
from herbray.storage import path_of

CHAIN = Path(__file__).with_name("bucket_chain.py")
ENCODER = "run/encoder/encoder.safetensors"

pytestmark = pytest.mark.long


def start(words, server, folder, **more):
    """A process with the server's environment and a cache of its own."""
    environment = {**os.environ, **server.environment, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", **more}
    return subprocess.Popen([sys.executable, *words], env=environment, stderr=subprocess.PIPE, text=True)


def finish(process):
    """The last line on stderr of a process that must end well."""
    _, text = process.communicate(timeout=600)
    assert process.returncode == 0, text[-3000:]
    return text


def test_a_bucket_gives_what_a_disk_gives_also_after_a_kill(bucket, tmp_path):
    sys.path.insert(0, str(CHAIN.parent))
    from bucket_chain import TRAIN

    there, here = path_of("s3://sheets/chain"), tmp_path / "disk"
    finish(start([str(CHAIN), str(here), "0"], bucket, tmp_path))
    printed = finish(start([str(CHAIN), "s3://sheets/chain", "1"], bucket, tmp_path))
    assert "object store:" in printed
    assert storage.read_bytes(there / ENCODER) == (here / ENCODER).read_bytes()
    results = [tables.read(root / "results.parquet", "") for root in (there, here)]
    assert results[0].equals(results[1])

    words = ["-m", "herbray.cli", "train", "root=s3://sheets/chain", *TRAIN, "out=killed", "workers=0"]
    first = start(words, bucket, tmp_path, HERBRAY_CACHE=str(tmp_path / "first"))
    while first.poll() is None and not any(p.name == "checkpoint.json" for p in storage.file_sizes(there / "killed")):
        time.sleep(0.05)
    assert first.poll() is None, first.communicate()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    shutil.rmtree(tmp_path / "first")
    finish(start(words, bucket, tmp_path, HERBRAY_CACHE=str(tmp_path / "second")))
    assert storage.read_bytes(there / "killed/encoder/encoder.safetensors") == (here / ENCODER).read_bytes()
