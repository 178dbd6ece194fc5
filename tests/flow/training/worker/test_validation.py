"""The validation of a run: in this process, and on ranks that meet over gloo."""

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from herbray import config
from herbray.data.imaging import images
from herbray.flow.shards.specimens import read_jpegs
from herbray.flow.training.job import fit
from herbray.flow.training.metrics_log import read_metrics
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import read_training_data
from herbray.flow.training.worker import validation as module
from herbray.flow.training.worker.loop import build_learner
from herbray.flow.training.worker.validation import Validator
from herbray.flow.training.world import World
from herbray.model.augment import prepare_images
from herbray.model.metrics import knn_accuracy

OBJECTIVES = [
    {"name": "triplet"},
    {"name": "triplet", "mining": "random"},
    {"name": "triplet", "mining": "published", "group": 2, "rivals": 8},
    {"name": "autoencoder", "width": 8},
    {"name": "classifier"},
]


def spec_of(shards, out, **values):
    tree = {
        "shards": shards,
        "out": out,
        "store": out,
        "workers": 0,
        "epochs": 2,
        "encoder": {"arch": "mobilenet_v3_small", "size": 32},
    }
    return config.parse(Train, tree | {"stream": {"batch": 16, "window": 8, "align": 1}} | values)


def validator_of(spec, data, world=None):
    return Validator(spec, data.validation, data.manifest["side"], world or World())


def learner_of(spec, data):
    return build_learner(spec, len(data.classes), None).to(memory_format=torch.channels_last)


@torch.no_grad()
def by_hand(spec, data, learner):
    """Every specimen embedded alone, the k-NN accuracy among them, and the loss batch by batch."""
    sample = data.validation
    pictures = images.decode_squares(read_jpegs(spec.shards, sample.specimens), data.manifest["side"], None)
    learner.eval()
    tensors = prepare_images(torch.from_numpy(pictures), spec.encoder.size)
    features = torch.cat([learner.encoder(tensors[row : row + 1]) for row in range(len(tensors))])
    losses = []
    for number, rows in enumerate(sample.batches):
        torch.manual_seed(number)
        places = torch.from_numpy(rows)
        labels = torch.from_numpy(sample.labels)[places]
        losses.append(float(learner.objective(features[places], tensors[places], labels)["loss"]))
    genera, units = torch.from_numpy(sample.kinds), torch.from_numpy(sample.gatherings)
    return {"val_knn": knn_accuracy(features, genera, spec.neighbours, units=units), "val_loss": np.mean(losses)}


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: each.get("mining", each["name"]))
def test_its_figures_are_those_of_specimens_embedded_one_by_one(small_shards, tmp_path, objective):
    spec = spec_of(small_shards, tmp_path, objective=objective)
    data = read_training_data(spec)
    learner = learner_of(spec, data)
    found, wanted = validator_of(spec, data).figures(learner), by_hand(spec, data, learner)
    assert found["val_knn"] == pytest.approx(wanted["val_knn"], abs=2.1 / len(data.validation.specimens))
    assert found["val_loss"] == pytest.approx(wanted["val_loss"], rel=1e-3)
    gatherings = len(set(data.validation.gatherings.tolist()))
    assert found["val_knn_error"] == (found["val_knn"] * (1 - found["val_knn"]) / gatherings) ** 0.5


@pytest.mark.slow
def test_jpegs_are_read_once_a_run_and_by_each_rank_its_share(small_shards, tmp_path, monkeypatch):
    reads = []

    def counting(folder, specimens):
        reads.append(len(specimens))
        assert threading.current_thread() is not threading.main_thread()
        return read_jpegs(folder, specimens)

    monkeypatch.setattr(module, "read_jpegs", counting)
    spec = spec_of(small_shards, tmp_path)
    fit(spec)
    whole = len(read_training_data(spec).validation.specimens)
    assert reads == [whole]
    validator_of(spec, read_training_data(spec), World(1, 4))._reading.result()
    assert reads[1] <= -(-whole // 4) + 16


def test_batches_are_decoded_while_the_device_works(small_shards, tmp_path, monkeypatch):
    """While a batch is embedded, the pictures of the next are decoded by other threads."""
    spec = spec_of(small_shards, tmp_path)
    data = read_training_data(spec)
    learner, validator = learner_of(spec, data), validator_of(spec, data)
    decode, encode, more, decoded, in_time = module.paint_jpegs, learner.encoder.forward, threading.Condition(), [], []

    def noting(jpegs, *given):
        decode(jpegs, *given)
        with more:
            decoded.extend(jpegs)
            more.notify_all()

    def slow(images):
        wanted = min(len(data.validation.batches), len(in_time) + 2) * spec.stream.batch
        with more:
            in_time.append(more.wait_for(lambda: len(decoded) >= wanted, timeout=20))
        return encode(images)

    monkeypatch.setattr(module, "paint_jpegs", noting)
    monkeypatch.setattr(learner.encoder, "forward", slow)
    validator.figures(learner)
    assert in_time == [True] * len(data.validation.batches)


# Ranks


@pytest.mark.long
def test_any_number_of_ranks_gives_the_same_figures(small_shards, tmp_path):
    """Here more ranks than batches, so that one has none."""
    spec = spec_of(small_shards, tmp_path, objective=OBJECTIVES[1], validate_rows=40)
    assert len(read_training_data(spec).validation.batches) == 4
    (tmp_path / "job.yaml").write_text(config.dump(spec))
    data = read_training_data(spec)
    alone = validator_of(spec, data).figures(learner_of(spec, data))
    for world in (5,):
        script = [sys.executable, Path(__file__), tmp_path]
        ranks = [
            subprocess.Popen([*script, str(rank), str(world)], env=os.environ | {"OMP_NUM_THREADS": "1"})
            for rank in range(world)
        ]
        assert [rank.wait(300) for rank in ranks] == [0] * world
        found = [json.loads((tmp_path / f"{world}-{rank}.json").read_text()) for rank in range(world)]
        assert all(each == found[0] for each in found)
        assert found[0] == pytest.approx(alone, rel=1e-5)


def rank_of(folder, rank, world):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/{world}", rank=rank, world_size=world)
    spec = config.load(Train, folder / "job.yaml", [])
    data = read_training_data(spec)
    found = validator_of(spec, data, World(rank, world)).figures(learner_of(spec, data))
    (folder / f"{world}-{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


# Without pairs


@pytest.fixture(scope="module")
def lonely(write_shards, tmp_path_factory):
    """23 genera whose validation specimens are of one gathering each: duplicates at most."""
    validation = [
        (f"v{genus}-{n}", f"Genus{genus:02d}", f"{genus}") for genus in range(23) for n in range(1 + genus % 2)
    ]
    train = [(f"t{genus}-{n}", f"Genus{genus:02d}", None) for genus in range(23) for n in range(4)]
    return write_shards(tmp_path_factory.mktemp("lonely") / "shards", {"train": train, "validation": validation})


@pytest.mark.slow
@pytest.mark.parametrize(("keep", "kept"), [("best", "of the lowest val_loss"), ("last", "last")])
def test_without_two_gatherings_the_loss_decides_and_one_warning_says_so(lonely, tmp_path, caplog, keep, kept):
    spec = spec_of(lonely, tmp_path, epochs=3, keep=keep, optimizer={"lr": 0.1, "warmup": 0, "schedule": "constant"})
    with caplog.at_level(logging.WARNING):
        fitted = fit(spec)
    assert [record.getMessage() for record in caplog.records] == [
        f"{lonely}: val_knn is left out, and keep={keep} keeps the checkpoint {kept}: none of the 23 names of the "
        "validation split has two gatherings to compare: write the shards with a larger splits.validation, or from a "
        "catalogue whose column `gathering` distinguishes gatherings of one name"
    ]
    epochs = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "val_loss" in row]
    assert len(epochs) == 3
    assert not any("val_knn" in row for row in epochs)
    losses = [row["val_loss"] for row in epochs]
    assert fitted.figures["val_loss"] == (min(losses) if keep == "best" else losses[-1])


def test_a_loss_that_is_no_number_stops_the_run(lonely, tmp_path):
    spec = spec_of(lonely, tmp_path)
    data = read_training_data(spec)
    learner = learner_of(spec, data)
    with torch.no_grad():
        next(learner.encoder.parameters()).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"the validation loss is nan: lower optimizer\.lr"):
        validator_of(spec, data).figures(learner)


if __name__ == "__main__":
    rank_of(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
