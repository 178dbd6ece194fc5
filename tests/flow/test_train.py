import json
import shutil

import numpy as np
import pytest
import torch

import herbray
from herbray import config, tracking
from herbray.data.plan import Stream
from herbray.flow import learn
from herbray.flow.device import placed
from herbray.flow.embed import Embed, embed, read_embeddings, read_note
from herbray.flow.evaluate import Evaluate, evaluate
from herbray.flow.material import Train, material
from herbray.flow.reports import read_metrics
from herbray.flow.train import fit, train
from herbray.model.checkpoint import read_encoder

SMALL = {
    "encoder": {"size": 32},
    "stream": {"batch": 16, "window": 8, "align": 2},
    "epochs": 2,
    "optimizer": {"lr": 1e-3},
}


def spec_of(folder, out, **values):
    return config.parse(Train, SMALL | {"shards": folder, "out": out, "store": out, "workers": 0} | values)


@pytest.mark.parametrize(
    "objective", [{"name": "triplet"}, {"name": "autoencoder", "width": 8}, {"name": "classifier"}]
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


def test_resumed_in_mid_epoch_it_ends_with_the_same_weights(shards, tmp_path):
    spec = spec_of(shards, tmp_path, optimizer={"lr": 1e-3, "schedule": "cosine"})
    data = material(spec)
    stop = data.per_epoch + 1  # one window into the second epoch

    def run(restore, save_at):
        learner = learn.build_learner(spec, len(data.classes), None)
        optimizer = learn._optimizer(spec.optimizer, learner)
        steps = len(data.windows) * data.windows[0].batches
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learn._rate(spec.optimizer, step, steps))
        begin, saved = 0, None
        if restore:
            begin = int(learn.load_training(restore, learner, optimizer, scheduler)["consumed"])
        reader = learn.WindowReader(spec.shards, data.manifest["side"])
        for number, window in enumerate(data.windows[begin:], begin + 1):
            for batch in placed(reader.batches(window), torch.device("cpu")):
                learn._step(learner, optimizer, scheduler, batch, spec)
            if number == save_at:
                saved = learn._saved(spec, data, learner, optimizer, scheduler, {"consumed": number})
        return learner.state_dict(), saved

    whole, saved = run(None, stop)
    resumed, _ = run(saved, None)
    shutil.rmtree(saved)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder": {"size": 64}}, "encoder.size=64 px, but"),
        ({"stream": {"batch": 10}, "objective": {"name": "triplet", "group": 4}}, "groups of 4"),
        ({"shards": "nowhere"}, "run `herbray shard`"),
        ({"encoder": {"size": 32, "init": "models:/nobody@champion"}}, "no such MLflow store"),
    ],
)
def test_bad_input_is_told_before_anything_starts(shards, tmp_path, values, message):
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
    local, card = read_encoder(spec.out / "encoder")
    assert all(
        torch.equal(a, b) for a, b in zip(encoder.state_dict().values(), local.state_dict().values(), strict=True)
    )
    assert card.objective == "triplet"
    assert json.loads((spec.out / "trained.json").read_text())["run_id"] == trained.run_id


def test_the_same_job_again_is_the_same_run_and_version(story):
    _, spec, trained = story
    again = train(spec)
    assert (again.run_id, again.version) == (trained.run_id, trained.version)
    assert again.fitted.figures == trained.fitted.figures


def test_embed_writes_each_specimen_once_and_goes_on(story, shards):
    out, _, trained = story
    spec = Embed(model=trained.uri, shards=shards, out=out / "embeddings", store=out)
    folder = embed(spec)
    table = read_embeddings(folder)
    ids = table["specimen_id"].to_pylist()
    assert len(ids) == len(set(ids)) == sum(read_note(folder)["splits"].values())
    assert table["embedding"].type.list_size == 512
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
        ({"splits": ("unused",)}, "no row of unused"),
        ({"model": "models:/nobody@champion"}, "nobody"),
        ({"model": "start", "start": {"size": 64}}, "takes images of 64 px"),
    ],
)
def test_embed_refuses_bad_input(story, shards, tmp_path, values, message):
    out, _, trained = story
    with pytest.raises(ValueError, match=message):
        embed(config.parse(Embed, {"model": trained.uri, "shards": shards, "out": tmp_path, "store": out} | values))


def test_evaluate_scores_logs_and_crowns(story, shards):
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


def test_evaluate_names_a_split_that_was_not_embedded(story, shards):
    out, *_ = story
    folder = embed(
        Embed(model="start", start={"size": 32}, shards=shards, splits=("random",), out=out / "one", store=out)
    )
    spec = config.parse(Evaluate, {"embeddings": [folder], "tasks": [{"name": "identify", "splits": ["herbarium"]}]})
    with pytest.raises(ValueError, match="herbarium"):
        evaluate(spec)


def test_stream_settings_do_not_depend_on_the_world(shards, tmp_path):
    one = material(spec_of(shards, tmp_path, workers=1))
    two = material(spec_of(shards, tmp_path, workers=2, stream=Stream(batch=16, window=8, align=2).model_dump()))
    assert one.windows == two.windows
