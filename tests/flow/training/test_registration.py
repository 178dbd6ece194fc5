import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from herbray import cli, config, storage, tracking
from herbray.flow.training import job as train_module
from herbray.flow.training.job import fit_prepared, train
from herbray.flow.training.metrics_log import append_metrics, read_metrics, read_metrics_with_times
from herbray.flow.training.registration import Register, register
from herbray.flow.training.specification import Train
from herbray.tracking.store import client

SMALL = {
    "encoder": {"arch": "mobilenet_v3_small", "size": 32},
    "objective": {"name": "triplet"},
    "stream": {"batch": 16, "window": 8, "align": 2},
    "epochs": 2,
    "workers": 0,
}


def spec_of(shards, out, **values):
    return config.parse(Train, SMALL | {"shards": shards, "out": out / "train", "store": out} | values)


def steps(uri, run_id, name="train_loss"):
    return [point.step for point in client(uri).get_metric_history(run_id, name)]


def reported(out):
    return [int(row["images"]) for row in read_metrics(out / "metrics.jsonl")]


@pytest.fixture
def server(mlflow_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(tracking.delivery, "PATIENCE", 0.5)
    yield mlflow_server
    for how in ("refuse", "full"):
        (mlflow_server.folder / how).unlink(missing_ok=True)


def test_an_unreachable_store_loses_nothing_and_register_catches_up(server, shards, tmp_path, monkeypatch):
    spec = spec_of(shards, tmp_path, seed=1)

    def fit_while_the_store_refuses(job):
        server.begin("refuse")
        return fit_prepared(job)

    monkeypatch.setattr(train_module, "fit_prepared", fit_while_the_store_refuses)
    with pytest.raises(tracking.StoreUnreachable, match=f"encoder is safe in .*`herbray register {spec.out}`"):
        train(spec)
    assert (spec.out / "encoder" / "encoder.safetensors").exists()
    assert not (spec.out / "trained.json").exists()
    with pytest.raises(tracking.StoreUnreachable, match="when the server is reachable again"):
        register(Register(run=spec.out))
    server.end("refuse")

    done = register(Register(run=spec.out))
    assert steps(server.uri, done.run_id) == reported(spec.out)
    assert client(server.uri).get_run(done.run_id).info.status == "FINISHED"
    assert tracking.resolve(server.uri, f"models:/{done.model}@candidate") == (done.model, done.version)
    assert json.loads((spec.out / "trained.json").read_text())["uri"] == done.uri
    assert register(Register(run=spec.out)) == done  # no second version

    monkeypatch.setattr(train_module, "fit_prepared", fit_prepared)
    again = train(spec)
    assert (again.run_id, again.version) == (done.run_id, done.version)
    assert steps(server.uri, done.run_id) == reported(spec.out)


def test_a_registration_that_fails_is_loud_and_repeated_on_the_command_line(
    server, shards, tmp_path, monkeypatch, capsys
):
    spec = spec_of(shards, tmp_path, seed=2, epochs=1)

    def full(*given):
        server.begin("full")
        return registered(*given)

    registered = tracking.register
    monkeypatch.setattr(tracking, "register", full)
    overrides = [f"{key}={json.dumps(value)}" for key, value in json.loads(spec.model_dump_json()).items()]
    assert cli.run("train", None, overrides) == 3  # the store does not answer
    told = capsys.readouterr().err
    assert "too many 503 error responses" in told
    assert f"`herbray register {spec.out}`" in told
    monkeypatch.setattr(tracking, "register", registered)
    server.end("full")
    assert cli.run("register", spec.out, []) == 0
    assert f"models:/herbray-triplet/{json.loads((spec.out / 'trained.json').read_text())['version']}" in (
        capsys.readouterr().out
    )


def test_only_a_finished_training_is_registered_and_only_where_it_was_tracked(shards, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no training here \(tracked.json is missing\)"):
        register(Register(run=tmp_path))
    spec = spec_of(shards, tmp_path, epochs=1)
    trained = train(spec)
    note = storage.read_note(spec.out / "tracked.json", "")
    (tmp_path / "mlflow.db").rename(tmp_path / "moved.db")
    with pytest.raises(ValueError, match="no such MLflow store"):
        register(Register(run=spec.out))
    other = tracking.tracking_uri(tmp_path / "other")
    tracking.open_run(other, "herbray", "one", {})
    with pytest.raises(ValueError, match=f"has no run {trained.run_id}"):
        register(Register(run=spec.out, store=tmp_path / "other"))
    del note["figures"]
    storage.write_note(spec.out / "tracked.json", note)
    with pytest.raises(ValueError, match="this training has not ended"):
        register(Register(run=spec.out))


def test_another_training_in_the_folder_starts_its_own_curve(shards, tmp_path):
    first = train(spec_of(shards, tmp_path, epochs=1))
    second = train(spec_of(shards, tmp_path, epochs=1, seed=5))
    uri = tracking.tracking_uri(tmp_path)
    out = tmp_path / "train"
    assert first.run_id != second.run_id
    assert steps(uri, first.run_id) == steps(uri, second.run_id) == reported(out)
    assert len(list(out.glob("metrics-triplet-*.jsonl"))) == 1
    assert (first.version, second.version) == (1, 2)
    curve = read_metrics(out / "metrics.jsonl")
    assert train(spec_of(shards, tmp_path, epochs=1)).version == 1  # the first one again
    assert json.loads((out / "trained.json").read_text())["run_id"] == first.run_id
    assert steps(uri, first.run_id) == reported(out)
    assert read_metrics(out / "metrics.jsonl") != curve
    train(spec_of(shards, tmp_path, epochs=1, seed=5))
    assert read_metrics(out / "metrics.jsonl") == curve
    assert len(list(out.glob("metrics-triplet-*.jsonl"))) == 1


def test_a_killed_driver_resumes_its_run(shards, tmp_path):
    spec = spec_of(shards, tmp_path, epochs=3)
    (tmp_path / "job.yaml").write_text(config.dump(spec), encoding="utf-8")
    command = [sys.executable, "-m", "herbray.cli", "train", str(tmp_path / "job.yaml")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    uri = tracking.tracking_uri(tmp_path)
    for _ in range(2):
        job = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 100
        while not (spec.out / "tracked.json").exists() or not _some(uri, spec):
            assert job.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        job.send_signal(signal.SIGKILL)
        job.wait()
    done = train(spec)
    assert len(client(uri).search_runs([client(uri).get_experiment_by_name("herbray").experiment_id])) == 1
    for name in ("train_loss", "images_per_s", "epoch"):
        assert steps(uri, done.run_id, name) == reported(spec.out)


def _some(uri, spec):
    return len(steps(uri, json.loads((spec.out / "tracked.json").read_text())["run_id"])) > 1


def test_a_line_that_was_cut_short_is_left_out_and_the_next_one_is_whole(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_metrics(path, {"images": 32.0, "loss": 1.0})
    with path.open("a") as file:
        file.write('{"time": 1.0, "images": 64.0, "lo')
    append_metrics(path, {"images": 96.0, "loss": 0.5})
    assert read_metrics(path) == [{"images": 32.0, "loss": 1.0}, {"images": 96.0, "loss": 0.5}]
    assert all(abs(row["time"] - time.time()) < 60 for row in read_metrics_with_times(path))
    shutil.rmtree(tmp_path)
    assert read_metrics(path) == []
