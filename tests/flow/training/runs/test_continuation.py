import json
import logging
import shutil

import pytest
import torch

from herbray import config, tracking
from herbray.flow.input.batches import sequential_batches
from herbray.flow.training import job as train_module
from herbray.flow.training.job import fit, train
from herbray.flow.training.metrics_log import append_metrics, read_metrics
from herbray.flow.training.registration import Register, register
from herbray.flow.training.runs.continuation import continue_run
from herbray.flow.training.runs.folder import claim, read_runs
from herbray.flow.training.runs.identity import run_name, run_settings
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import read_training_data
from herbray.model.encoder_card import read_encoder
from herbray.model.sealed_folder import write_sealed
from herbray.tracking.store import client

SMALL = {
    "encoder": {"arch": "mobilenet_v3_small", "size": 16},
    "objective": {"name": "triplet"},
    "stream": {"batch": 16, "window": 8, "align": 2},
    "optimizer": {"schedule": "constant", "warmup": 0},
    "workers": 0,
    "epochs": 2,
}


def spec_of(shards, out, **values):
    return config.parse(Train, SMALL | {"shards": shards, "out": out / "train", "store": out} | values)


def state_of(fitted):
    return torch.load(fitted.checkpoint / "training.pt", weights_only=True)


def equal(one, two):
    one, two = state_of(one), state_of(two)
    moments = ((s["optimizer"]["state"][i]["exp_avg"] for i in s["optimizer"]["state"]) for s in (one, two))
    same = all(torch.equal(one["learner"][name], two["learner"][name]) for name in one["learner"])
    return same and all(torch.equal(a, b) for a, b in zip(*moments, strict=True))


def curve(out):
    rows = read_metrics(out / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name != "images_per_s"} for row in rows]


@pytest.fixture
def trained_on(monkeypatch):
    """Epochs of the windows that were trained on since the last look."""
    seen = []

    def feed(windows, reader, **settings):
        seen.extend(window.epoch for window in windows)
        yield from sequential_batches(windows, reader)

    monkeypatch.setattr(train_module, "load_batches", feed)

    def look():
        found, seen[:] = sorted(set(seen)), []
        return found

    return look


@pytest.fixture
def never(monkeypatch):
    """From here on training is a fault."""

    def forbid():
        def feed(windows, reader, **settings):
            pytest.fail("it trains again")

        monkeypatch.setattr(train_module, "load_batches", feed)

    return forbid


def continued(spec):
    return continue_run(spec, read_training_data(spec))


def with_scores(spec, *scores):
    """Give a run's checkpoints and curve other scores, as if it had trained so."""
    name, per_epoch = run_name(spec), read_training_data(spec).per_epoch
    root = spec.out / "checkpoints" / name
    rows = read_metrics(spec.out / "metrics.jsonl")
    for epoch, score in enumerate(scores, 1):
        row = next(each for each in rows if each["epoch"] == epoch and "val_knn" in each)
        row["val_knn"] = score
        folder = root / f"{epoch * per_epoch:09d}"
        if folder.exists():
            note = json.loads((folder / "checkpoint.json").read_text())["note"]
            note["figures"]["val_knn"] = score
            copy = folder.with_name("copy")
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("checkpoint.json"))
            write_sealed(folder, lambda made, copy=copy: shutil.copytree(copy, made, dirs_exist_ok=True), note)
            shutil.rmtree(copy)
    (spec.out / "metrics.jsonl").unlink()
    for row in rows:
        append_metrics(spec.out / "metrics.jsonl", row)


# A longer run


@pytest.mark.slow
def test_at_a_constant_rate_more_epochs_resume_and_equal_an_uninterrupted_run(
    small_shards, tmp_path, trained_on, capsys, caplog
):
    whole = fit(spec_of(small_shards, tmp_path / "whole", epochs=4))
    trained_on()
    short = fit(spec_of(small_shards, tmp_path))
    assert trained_on() == [0, 1]
    name = run_name(spec_of(small_shards, tmp_path))
    capsys.readouterr()
    longer = fit(spec_of(small_shards, tmp_path, epochs=4))
    assert trained_on() == [2, 3]
    said = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'train'}: training resumes {name}: epochs 2 → 4" == said[0]
    assert all("/4 epochs" in line for line in said[1:])
    assert "anew" not in caplog.text
    assert equal(longer, whole)
    assert curve(tmp_path / "train") == curve(tmp_path / "whole" / "train")
    assert longer.figures.keys() == whole.figures.keys()
    files = [read_encoder(each.encoder)[1] for each in (longer, whole)]
    assert files[0] == files[1]
    assert fit(spec_of(small_shards, tmp_path)).figures == short.figures  # the shorter one is there still
    assert trained_on() == []


@pytest.mark.long
def test_a_run_that_was_interrupted_is_gone_on_from_with_more_epochs(small_shards, tmp_path, monkeypatch):
    whole = fit(spec_of(small_shards, tmp_path / "whole"))
    spec = spec_of(small_shards, tmp_path, epochs=1, checkpoints={"seconds": None, "windows": 1})
    stop = read_training_data(spec).windows[0].batches * (len(read_training_data(spec).windows) - 1)

    def feed(windows, reader, **settings):
        for number, batch in enumerate(sequential_batches(windows, reader)):
            if number == stop:
                raise RuntimeError
            yield batch

    monkeypatch.setattr(train_module, "load_batches", feed)
    with pytest.raises(RuntimeError):
        fit(spec)
    monkeypatch.undo()
    longer = fit(spec_of(small_shards, tmp_path))
    assert equal(longer, whole)


@pytest.mark.long
def test_an_incomplete_copy_of_a_longer_run_is_copied_again(small_shards, tmp_path, monkeypatch, trained_on):
    fit(spec_of(small_shards, tmp_path, epochs=1))
    trained_on()
    spec = spec_of(small_shards, tmp_path, keep="last")

    def cut_short(source, target, **given):
        target.mkdir()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", cut_short)
        with pytest.raises(OSError, match="No space"):
            fit(spec)
    assert read_runs(spec.out).now == run_name(spec_of(small_shards, tmp_path, epochs=1))  # not claimed yet
    done = fit(spec)
    assert trained_on() == [1]
    assert [row["epochs_done"] for row in curve(spec.out) if "val_knn" in row] == [1, 2]
    assert read_encoder(done.encoder)[1].spec["epochs"] == 2


@pytest.mark.long
def test_the_encoder_of_a_longer_run_says_so_though_its_best_epoch_was_of_the_shorter_one(
    small_shards, tmp_path, never
):
    spec = spec_of(small_shards, tmp_path)
    fit(spec_of(small_shards, tmp_path, epochs=1))
    fit(spec)
    with_scores(spec, 0.9, 0.1)
    never()
    done = fit(spec)
    assert done.figures["epoch"] == 1
    assert read_encoder(done.encoder)[1].spec["epochs"] == 2


@pytest.mark.long
def test_under_a_cosine_training_restarts_and_says_so_once(small_shards, tmp_path, trained_on, caplog):
    values = {"optimizer": {"schedule": "cosine", "warmup": 0}}
    whole = fit(spec_of(small_shards, tmp_path / "whole", epochs=2, **values))
    fit(spec_of(small_shards, tmp_path, epochs=1, **values))
    trained_on()
    spec = spec_of(small_shards, tmp_path, epochs=2, **values)
    assert equal(fit(spec), whole)
    assert trained_on() == [0, 1]
    former = run_name(spec_of(small_shards, tmp_path, epochs=1, **values))
    assert [line for line in caplog.messages if "starts over" in line] == [
        f"{spec.out}: training starts over: the folder holds {former}, "
        "which differs: epochs 1 → 2; the cosine schedule spans all epochs"
    ]
    caplog.clear()
    fit(spec)
    assert "anew" not in caplog.text


def held(spec):
    """Make a run folder that run's, without training."""
    spec.out.mkdir(exist_ok=True)
    claim(spec.out, run_name(spec), run_settings(spec))


@pytest.mark.parametrize(
    ("values", "changed", "words"),
    [
        (
            {"optimizer": {"schedule": "constant", "warmup": 0.25}},
            {"epochs": 3},
            "epochs 2 → 3; the warm-up is a share of all steps (optimizer.warmup=0.25)",
        ),
        ({}, {"epochs": 3}, "epochs 2 → 3; none of its checkpoints is left"),
        ({}, {"epochs": 1}, "epochs 2 → 1"),
        ({}, {"epochs": 3, "seed": 7}, "epochs 2 → 3, seed 89 → 7"),
        ({}, {"objective": {"name": "triplet", "margin": 0.5}, "label": "x"}, "objective.margin 0.1 → 0.5"),
        (
            {},
            {"objective": {"name": "classifier"}},
            "objective.name triplet → classifier, objective.group 4 → 1, objective.hidden absent → 512, "
            "objective.dropout_features absent → 0.25 and 4 more",
        ),
    ],
)
def test_a_restarted_run_says_in_one_line_what_differs(small_shards, tmp_path, caplog, values, changed, words):
    former, spec = spec_of(small_shards, tmp_path, **values), spec_of(small_shards, tmp_path, **(values | changed))
    held(former)
    assert continued(spec) == spec
    assert caplog.messages == [
        f"{spec.out}: training starts over: the folder holds {run_name(former)}, which differs: {words}"
    ]


def test_a_run_that_the_folder_held_before_prints_nothing(small_shards, tmp_path, caplog):
    for seed in (1, 2):
        held(spec_of(small_shards, tmp_path, seed=seed))
    continued(spec_of(small_shards, tmp_path, seed=1))
    continued(spec_of(small_shards, tmp_path / "empty", seed=1))
    assert not caplog.messages


def test_training_restarts_if_more_epochs_change_the_batches(small_shards, tmp_path, caplog):
    """Bags that are drawn anew each epoch differ in number, and all epochs have the shape of the largest."""
    values = {"stream": {"batch": 8, "window": 4, "align": 1, "balance": 0.5}}
    windows = {n: read_training_data(spec_of(small_shards, tmp_path, epochs=n, **values)).windows for n in range(1, 13)}
    few, many = next((n, n + 1) for n in range(1, 12) if [*windows[n + 1][: len(windows[n])]] != [*windows[n]])
    spec = spec_of(small_shards, tmp_path, epochs=many, **values)
    held(spec.model_copy(update={"epochs": few}))
    assert continued(spec) == spec
    assert f"epochs {few} → {many}; with so many epochs, each epoch has other batches" in caplog.text


def test_a_run_of_an_earlier_version_is_named_as_such(small_shards, tmp_path, caplog):
    spec = spec_of(small_shards, tmp_path)
    spec.out.mkdir()
    (spec.out / "run.json").write_text('{"run": "triplet-0a1b2c3d"}')
    continued(spec)
    assert caplog.messages == [
        f"{spec.out}: training starts over: the folder holds triplet-0a1b2c3d, a run of an earlier version"
    ]


# Settings that are corrected when training has ended


@pytest.mark.slow
def test_another_name_after_the_end_is_registered_without_training_again(small_shards, tmp_path, never, capsys):
    first = train(spec_of(small_shards, tmp_path, epochs=1))
    never()
    capsys.readouterr()
    spec = spec_of(small_shards, tmp_path, epochs=1, register_as="better", label="ours")
    done = train(spec)
    assert (done.model, done.version, done.run_id) == ("better", 1, first.run_id)
    told = [line for line in capsys.readouterr().err.splitlines() if "ended" in line]
    assert told == [
        f"{spec.out}: this training has ended; it is not repeated for label null → ours, register_as null → better: "
        "models:/better/1; models:/herbray-triplet/1 stays"
    ]
    assert json.loads((spec.out / "trained.json").read_text())["uri"] == "models:/better/1"
    assert json.loads((spec.out / "tracked.json").read_text())["model"] == "better"
    assert read_encoder(done.fitted.encoder)[1].label == "ours"  # what results call it
    assert train(spec) == done
    assert str(register(Register(run=spec.out))) == f"models:/better/1, run {first.run_id}"
    again = train(spec_of(small_shards, tmp_path, epochs=1))
    assert (again.model, again.version) == (first.model, first.version)
    uri = tracking.tracking_uri(tmp_path)
    assert len(client(uri).search_model_versions("name = 'better'")) == 1
    assert len(client(uri).search_model_versions("name = 'herbray-triplet'")) == 1


@pytest.mark.long
def test_another_experiment_after_the_end_gets_a_run_with_the_curves(small_shards, tmp_path, never):
    first = train(spec_of(small_shards, tmp_path, epochs=1))
    never()
    done = train(spec_of(small_shards, tmp_path, epochs=1, experiment="second"))
    assert done.run_id != first.run_id
    uri = tracking.tracking_uri(tmp_path)
    points = client(uri).get_metric_history(done.run_id, "train_loss")
    assert [point.step for point in points] == [row["images"] for row in curve(tmp_path / "train")]
    assert client(uri).get_run(done.run_id).info.status == "FINISHED"


@pytest.mark.slow
def test_settings_that_only_observe_a_training_cannot_change_after_its_end(small_shards, tmp_path, never, capsys):
    first = train(spec_of(small_shards, tmp_path, epochs=1))
    never()
    capsys.readouterr()
    spec = spec_of(small_shards, tmp_path, epochs=1, neighbours=1, validate_rows=8, reports=1)
    assert train(spec) == first
    told = capsys.readouterr().err
    assert f"{spec.out}: validate_rows=4096, neighbours=5 stays as it was when this run began" in told
    assert "is not repeated for reports 4 → 1: models:/herbray-triplet/1\n" in told
    assert read_encoder(first.fitted.encoder)[1].spec["neighbours"] == 5
    assert "neighbours: 5" in (spec.out / "card.md").read_text()


@pytest.mark.long
def test_the_other_checkpoint_is_kept_if_it_is_there(small_shards, tmp_path, never, capsys, caplog):
    spec = spec_of(small_shards, tmp_path)
    train(spec)
    with_scores(spec, 0.9, 0.1)
    never()
    assert fit(spec).figures["epoch"] == 1
    capsys.readouterr()
    last = train(spec_of(small_shards, tmp_path, keep="last"))
    assert last.fitted.figures["epoch"] == 2
    assert read_encoder(last.fitted.encoder)[1].spec["keep"] == "last"
    assert "is not repeated for keep best → last" in capsys.readouterr().err
    assert not [each for each in caplog.records if each.name.startswith("herbray")]


@pytest.mark.long
def test_if_the_other_checkpoint_is_gone_a_line_says_which_is_left(small_shards, tmp_path, never, caplog):
    values = {"epochs": 2, "checkpoints": {"last": 1}}
    fit(spec_of(small_shards, tmp_path, keep="last", **values))
    with_scores(spec_of(small_shards, tmp_path, **values), 0.9, 0.1)
    never()
    with caplog.at_level(logging.WARNING):
        done = fit(spec_of(small_shards, tmp_path, **values))
    assert done.figures["epoch"] == 2
    (line,) = [each.getMessage() for each in caplog.records]
    assert line.endswith(
        "keep=best, but the checkpoint of epoch 1 (val_knn 0.9) is gone: that of epoch 2 (val_knn 0.1) is kept"
    )
