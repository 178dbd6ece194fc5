import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import herbray
from herbray import config, tracking
from herbray.data.planning.plan import Stream
from herbray.flow.embedding.job import embed
from herbray.flow.embedding.specification import Embed
from herbray.flow.embedding_folder import read_embeddings, read_note
from herbray.flow.evaluation.job import Evaluate, evaluate
from herbray.flow.input.batches import sequential_batches
from herbray.flow.training import job as train_module
from herbray.flow.training.job import fit, fit_prepared, train
from herbray.flow.training.metrics_log import read_metrics
from herbray.flow.training.on_ray.workers import choose_workers
from herbray.flow.training.runs.identity import run_name
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import read_training_data
from herbray.model.encoder_card import read_encoder
from herbray.tracking.store import client

SMALL = {
    "encoder": {"arch": "mobilenet_v3_small", "size": 32},
    "stream": {"batch": 16, "window": 8, "align": 2},
    "epochs": 2,
    "optimizer": {"lr": 1e-3},
}


def spec_of(folder, out, **values):
    return config.parse(Train, SMALL | {"shards": folder, "out": out, "store": out, "workers": 0} | values)


@pytest.mark.parametrize(
    "objective", [{"name": "triplet"}, {"name": "autoencoder", "width": 8}, {"name": "hierarchical"}]
)
def test_each_objective_trains_in_this_process_and_repeats_itself(shards, tmp_path, objective):
    fits = [fit(spec_of(shards, tmp_path / str(i), objective=objective)) for i in range(2)]
    rows = [read_metrics(tmp_path / str(i) / "metrics.jsonl") for i in range(2)]
    untimed = [[{k: v for k, v in row.items() if k != "images_per_s"} for row in part] for part in rows]
    assert untimed[0] == untimed[1]
    assert rows[0][-1]["epochs_done"] == 2
    assert {"train_loss", "val_loss", "val_knn", "lr"} <= rows[0][-1].keys()
    weights = [read_encoder(each.encoder)[0].state_dict() for each in fits]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


class Stopped(Exception):
    pass


def stopping(monkeypatch, after):
    """Batches end with an exception, after so many of all."""
    from herbray.flow.training import job as module

    def feed(windows, reader, **settings):
        for number, batch in enumerate(sequential_batches(windows, reader)):
            if number == after:
                raise Stopped
            yield batch

    monkeypatch.setattr(module, "load_batches", feed)


def untimed(path):
    return [{k: v for k, v in row.items() if k != "images_per_s"} for row in read_metrics(path)]


def weights_of(fitted):
    state = torch.load(fitted.checkpoint / "training.pt", weights_only=True)
    return state["learner"] | {f"moment {i}": each["exp_avg"] for i, each in state["optimizer"]["state"].items()}


def equal(one, two):
    one, two = weights_of(one), weights_of(two)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


OBJECTIVES = [{"name": "triplet"}, {"name": "autoencoder", "width": 8}, {"name": "hierarchical"}]


@pytest.mark.parametrize(
    "objective",
    [OBJECTIVES[0], *(pytest.param(each, marks=pytest.mark.long) for each in OBJECTIVES[1:])],
    ids=lambda each: each["name"],
)
def test_stopped_again_and_again_it_ends_with_the_weights_and_curves_of_an_undisturbed_run(
    shards, tmp_path, monkeypatch, objective
):
    values = {"objective": objective, "checkpoints": {"seconds": None, "windows": 1, "last": 3}, "keep": "last"}
    whole = fit(spec_of(shards, tmp_path / "whole", **values))
    spec = spec_of(shards, tmp_path / "broken", **values)
    batches = len(read_training_data(spec).windows) * read_training_data(spec).windows[0].batches
    stops = (0, 1, 3, read_training_data(spec).windows[0].batches, 5)  # before anything, in a window, at its end
    for stop in stops:
        stopping(monkeypatch, stop)
        with pytest.raises(Stopped):
            fit(spec)
        monkeypatch.undo()
    stopping(monkeypatch, batches)
    broken = fit(spec)
    assert equal(whole, broken)
    assert untimed(spec.out / "metrics.jsonl") == untimed(tmp_path / "whole" / "metrics.jsonl")
    assert len((spec.out / "metrics.jsonl").read_text().splitlines()) == len(untimed(spec.out / "metrics.jsonl"))
    stopping(monkeypatch, 0)
    again = fit(spec)  # not one batch more
    assert again == broken


def test_the_newest_checkpoint_is_damaged_and_the_one_before_is_used(shards, tmp_path, monkeypatch, caplog):
    values = {"checkpoints": {"seconds": None, "windows": 1}, "keep": "last"}
    whole = fit(spec_of(shards, tmp_path / "whole", **values))
    spec = spec_of(shards, tmp_path / "broken", **values)
    a_window = read_training_data(spec).windows[0].batches
    stopping(monkeypatch, 3 * a_window)
    with pytest.raises(Stopped):
        fit(spec)
    monkeypatch.undo()
    newest = sorted((spec.out / "checkpoints").glob("*/*/training.pt"))[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 4
    newest.write_bytes(data)
    broken = fit(spec)
    assert (
        "000000003/training.pt: size or sha256 is not what was written; the checkpoint before it is used" in caplog.text
    )
    assert equal(whole, broken)


@pytest.mark.long
def test_by_the_clock_a_checkpoint_is_made_between_the_epochs_ends(shards, tmp_path, monkeypatch):
    spec = spec_of(shards, tmp_path, checkpoints={"seconds": 1e-6, "last": 99})
    fit(spec)
    numbers = [int(path.name) for path in sorted((tmp_path / "checkpoints").glob("*/*"))]
    assert numbers == list(range(1, len(read_training_data(spec).windows) + 1))
    only = spec_of(shards, tmp_path / "only", checkpoints={"seconds": None, "last": 99})
    fit(only)
    per_epoch = read_training_data(spec).per_epoch
    assert [int(p.name) for p in sorted((tmp_path / "only" / "checkpoints").glob("*/*"))] == [per_epoch, 2 * per_epoch]


@pytest.mark.parametrize("interval", [1, pytest.param(4, marks=pytest.mark.long)])
def test_on_a_slow_disk_an_interruption_costs_at_most_one_interval(shards, tmp_path, monkeypatch, interval):
    """Steps go on beside a write, unless they would go further than an interval past the last one on disk."""
    from herbray.flow.training import job as module
    from herbray.flow.training.checkpoints.directory import CheckpointDirectory

    saved, writing, at_stake, beside = CheckpointDirectory.save, [], [], []

    def slowly(store, *given):
        writing.append(given)
        time.sleep(0.5)
        saved(store, *given)
        writing.pop()

    def feed(windows, reader, **settings):
        for number, batch in enumerate(sequential_batches(windows, reader)):
            on_disk = [int(path.name) for path in (tmp_path / "checkpoints").glob("*/*") if path.name.isdigit()]
            at_stake.append(number // windows[0].batches + 1 - max(on_disk, default=0))
            beside.append(bool(writing))
            yield batch

    monkeypatch.setattr(CheckpointDirectory, "save", slowly)
    monkeypatch.setattr(module, "load_batches", feed)
    stream = {"batch": 16, "window": 2, "align": 1}
    fit(spec_of(shards, tmp_path, stream=stream, checkpoints={"seconds": None, "windows": interval, "last": 99}))
    assert max(at_stake) == interval
    assert any(beside) == (interval > 1)


@pytest.mark.long
def test_by_the_clock_a_slow_disk_leaves_time_to_train(shards, tmp_path, monkeypatch):
    """The interval begins when a write has been waited for; else the next one is due at once, window by window."""
    from herbray.flow.training import job as module
    from herbray.flow.training.checkpoints import coordinator
    from herbray.flow.training.checkpoints.directory import CheckpointWriter

    clock, begun, begin, windows_seen = SimpleNamespace(now=0.0), [], CheckpointWriter.begin, []

    def waiting(writer, *given):
        begun.append(clock.now)
        clock.now += 10
        begin(writer, *given)

    def feed(windows, reader, **settings):
        for number, batch in enumerate(sequential_batches(windows, reader)):
            if number % windows[0].batches == 0:
                clock.now += 1
                windows_seen.append(clock.now)
            yield batch

    monkeypatch.setattr(coordinator, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(CheckpointWriter, "begin", waiting)
    monkeypatch.setattr(module, "load_batches", feed)
    stream = {"batch": 16, "window": 2, "align": 1}
    fit(spec_of(shards, tmp_path, epochs=2, stream=stream, checkpoints={"seconds": 8, "last": 99}))
    assert len(windows_seen) >= 8
    assert len(begun) <= 3 + len(windows_seen) / 4  # every half interval of four windows, and at epochs' ends


def test_another_run_in_the_same_folder_has_curves_of_its_own(shards, tmp_path):
    one = fit(spec_of(shards, tmp_path, epochs=1))
    fit(spec_of(shards, tmp_path, epochs=1, seed=1))
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == len(
        {r["images"] for r in untimed(tmp_path / "metrics.jsonl")}
    )
    assert (
        fit(spec_of(shards, tmp_path, epochs=1)).figures == one.figures
    )  # the first one's checkpoints are still there


def ranks(world, folder, spec, phases):
    """Ranks without Ray; see tests/drills/bare.py."""
    folder.mkdir(exist_ok=True)
    (folder / "job.yaml").write_text(config.dump(spec))
    (folder / "phases.json").write_text(json.dumps(phases))
    script = Path(__file__).parents[2] / "drills" / "bare.py"
    begun = [
        subprocess.Popen(
            [sys.executable, script, str(rank), str(world), folder], env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        for rank in range(world)
    ]
    assert [each.wait(120) for each in begun] == [0] * world


def final(out):
    return torch.load(sorted((out / "checkpoints").iterdir())[-1] / "training.pt", weights_only=True)


def trained_on(folder, world, phase):
    return sorted(
        tuple(json.loads(line))
        for rank in range(world)
        for line in (folder / f"seen-{world}-{phase}-{rank}.jsonl").read_text().splitlines()
    )


def test_two_ranks_resume_bit_for_bit_and_three_share_what_is_left(shards, tmp_path):
    stream = {"batch": 16, "window": 4, "align": 2}
    kept = {"seconds": None, "windows": 2, "last": 99}
    spec = spec_of(shards, tmp_path, keep="last", stream=stream, checkpoints=kept, optimizer={"average": 0.9})
    data = read_training_data(spec)
    a_window, plan = data.windows[0].batches, sorted((w.epoch, w.number) for w in data.windows)
    whole, broken, shrunk = (str(tmp_path / name) for name in ("whole", "broken", "shrunk"))
    stop = 2 * a_window + 1
    ranks(2, tmp_path / "two", spec, [{"out": whole}, {"out": broken, "stop": stop}, {"out": broken}])
    one, two = final(Path(whole)), final(Path(broken))
    assert all(torch.equal(one["learner"][name], two["learner"][name]) for name in one["learner"])
    assert torch.equal(one["ranks"][:, :-1], two["ranks"][:, :-1])  # the buffers of both ranks; the last one is a time
    last = load_file(sorted(Path(broken).glob("checkpoints/*/encoder/encoder.safetensors"))[-1])
    for name, tensor in last.items():  # the average is the encoder, and it lags behind the weights
        assert torch.equal(tensor, one["learner"][f"average.encoder.{name}"])
    assert any(not torch.equal(tensor, one["learner"][f"encoder.{name}"]) for name, tensor in last.items())
    assert untimed(Path(whole) / "metrics.jsonl") == untimed(Path(broken) / "metrics.jsonl")
    assert trained_on(tmp_path / "two", 2, 0) == plan

    begun = len(plan) - 4
    keep = Path(whole) / "checkpoints" / f"{begun:09d}"
    shutil.copytree(keep, Path(shrunk) / "checkpoints" / keep.name)
    ranks(3, tmp_path / "three", spec, [{"out": shrunk}])
    assert trained_on(tmp_path / "three", 3, 0) == plan[begun:]
    assert final(Path(shrunk))["position"]["consumed"] == len(plan)
    rows = read_metrics(Path(shrunk) / "metrics.jsonl")
    assert rows[-1]["epochs_done"] == 2
    assert rows[-1]["lr"] < 0.05 * spec.optimizer.lr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder": {"size": 64}}, "encoder.size=64 px, but"),
        ({"stream": {"batch": 10}, "objective": {"name": "triplet", "group": 4}}, "groups of 4"),
        ({"shards": "nowhere"}, "run `herbray shard`"),
        ({"encoder": {"size": 32, "init": "models:/nobody@champion"}}, "no such MLflow store"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(shards, tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        fit(spec_of(shards, tmp_path, **values))


def test_a_loss_that_is_no_number_stops_the_run(shards, tmp_path):
    with pytest.raises(FloatingPointError, match=r"optimizer\.lr"):
        fit(spec_of(shards, tmp_path, optimizer={"lr": 1e12, "warmup": 0, "schedule": "constant"}))


@pytest.fixture(scope="module")
def story(cluster, shards, tmp_path_factory):
    """Two DDP workers on Ray, one MLflow run, one registered version."""
    out = tmp_path_factory.mktemp("story")
    spec = spec_of(shards, out / "train", store=out, workers=2, cpus_per_worker=1, objective={"name": "triplet"})
    return out, spec, train(spec)


def test_two_workers_train_log_and_register(story):
    out, spec, trained = story
    reports = read_metrics(spec.out / "metrics.jsonl")
    assert reports[-1]["epochs_done"] == 2
    assert all(np.isfinite(list(row.values())).all() for row in reports)
    assert (trained.model, trained.version) == ("herbray-triplet", 1)
    encoder = herbray.load_encoder("models:/herbray-triplet@candidate", tracking.tracking_uri(out))
    ours, card = read_encoder(spec.out / "encoder")
    assert all(
        torch.equal(a, b) for a, b in zip(encoder.state_dict().values(), ours.state_dict().values(), strict=True)
    )
    assert card.objective == "triplet"
    assert json.loads((spec.out / "trained.json").read_text())["run_id"] == trained.run_id


def test_the_same_job_again_is_the_same_run_and_version(story):
    _, spec, trained = story
    again = train(spec)
    assert (again.run_id, again.version) == (trained.run_id, trained.version)
    assert again.fitted.figures == trained.fitted.figures


@pytest.mark.long
def test_embed_writes_each_specimen_once_and_resumes(story, shards):
    out, _, trained = story
    spec = Embed(model=trained.uri, shards=shards, out=out / "embeddings", store=out)
    folder = embed(spec)
    table = read_embeddings(folder)
    ids = table["specimen_id"].to_pylist()
    assert len(ids) == len(set(ids)) == sum(read_note(folder)["splits"].values())
    assert table["embedding"].type.list_size == 576
    files = sorted(folder.glob("split=*/*.parquet"))
    before = {file: file.stat().st_mtime_ns for file in files}
    files[0].unlink()
    assert embed(spec) == folder
    assert read_embeddings(folder).equals(table)
    assert sum(file.stat().st_mtime_ns != before[file] for file in files) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"splits": ("randon",)}, "randon unknown"),
        ({"splits": ("unused",)}, "no specimens in unused"),
        ({"model": "models:/nobody@champion"}, "nobody"),
        ({"model": "start", "start": {"size": 64}}, "takes images of 64 px"),
    ],
)
def test_embed_refuses_bad_input(story, shards, tmp_path, values, message):
    out, _, trained = story
    with pytest.raises(ValueError, match=message):
        embed(config.parse(Embed, {"model": trained.uri, "shards": shards, "out": tmp_path, "store": out} | values))


def test_evaluate_scores_logs_and_promotes(story, shards):
    out, _, trained = story
    untrained = Embed(model="start", start={"size": 32}, shards=shards, out=out / "embeddings", store=out)
    folders = (embed(untrained), embed(untrained.model_copy(update={"model": trained.uri})))
    tasks = [{"name": "identify", "splits": ["random"], "ranks": ["genus", "family"]}]
    spec = config.parse(Evaluate, {"embeddings": folders, "tasks": tasks, "out": out / "results.parquet", "store": out})
    results = evaluate(spec)
    assert set(results["model"].to_pylist()) == {"triplet", "untrained"}
    assert set(results["level"].to_pylist()) == {"genus", "family"}
    assert tracking.resolve(tracking.tracking_uri(out), "models:/herbray-triplet@champion") == ("herbray-triplet", 1)
    assert evaluate(spec).equals(results)


@pytest.mark.long
def test_evaluate_names_a_split_that_was_not_embedded(story, shards):
    out, *_ = story
    folder = embed(
        Embed(model="start", start={"size": 32}, shards=shards, splits=("random",), out=out / "one", store=out)
    )
    spec = config.parse(Evaluate, {"embeddings": [folder], "tasks": [{"name": "identify", "splits": ["herbarium"]}]})
    with pytest.raises(ValueError, match="herbarium"):
        evaluate(spec)


def test_workers_that_nobody_named_are_chosen_noted_and_no_part_of_the_runs_name(shards, tmp_path, monkeypatch, capsys):
    given = []

    def fit_here(job):
        given.append(job.spec.workers)
        return fit_prepared(job.with_workers(0))  # what follows does not depend on Ray's workers

    monkeypatch.setattr(train_module, "fit_prepared", fit_here)
    spec = spec_of(shards, tmp_path, workers=None, epochs=1)
    assert run_name(spec) == run_name(spec_of(shards, tmp_path, workers=3, epochs=1))
    first = train(spec)
    assert given == [1]  # the tests' cluster is one node without GPUs
    assert "workers=1, chosen for this cluster (nodes: 1, CPUs: 4, GPUs: 0)" in capsys.readouterr().err
    again = train(spec)  # it has ended: nothing is chosen
    assert given == [1, None]
    assert (again.run_id, again.version) == (first.run_id, first.version)
    data = client(tracking.tracking_uri(tmp_path)).get_run(first.run_id).data
    assert data.params["workers"] == "1"
    assert "changed.workers" not in data.tags
    with choose_workers(spec, 1) as job, choose_workers(job, 9) as same:
        assert job.workers == same.workers == 1


def test_stream_settings_do_not_depend_on_the_world(shards, tmp_path):
    one = read_training_data(spec_of(shards, tmp_path, workers=1))
    two = read_training_data(
        spec_of(shards, tmp_path, workers=2, stream=Stream(batch=16, window=8, align=2).model_dump())
    )
    assert [*one.windows] == [*two.windows]
