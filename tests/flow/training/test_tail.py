"""The last windows, fewer than the ranks: real ranks over gloo, without Ray."""

import json
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from herbray import config
from herbray.flow.input.batches import sequential_batches
from herbray.flow.training.checkpoints.directory import CheckpointDirectory
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import read_training_data
from herbray.flow.training.worker.loop import train_loop
from herbray.flow.training.world import World

WORLD, PATIENCE_S, STEP_S = 3, 3.0, 0.6


def rank_of(rank, folder, tree):
    torch.set_num_threads(1)
    spec = config.parse(Train, tree)
    seen, patience = [], (300, PATIENCE_S)  # processes may begin minutes apart; then none may be silent for long
    for number, seconds in enumerate(patience):
        meet = f"file://{folder}/meet-{number}"
        dist.init_process_group(
            "gloo", init_method=meet, rank=rank, world_size=WORLD, timeout=timedelta(seconds=seconds)
        )
        dist.barrier()
        if number == 0:
            dist.destroy_process_group()

    def feed(windows, reader):
        tail = len(windows) < WORLD and bool(seen)
        seen.extend((window.epoch, window.number) for window in windows)
        for batch in sequential_batches(windows, reader):
            if tail:
                time.sleep(STEP_S)
            yield batch

    store = CheckpointDirectory(spec.out / "checkpoints", spec.checkpoints, spec.keep)
    reports = []
    train_loop(spec, read_training_data(spec), None, World(rank, WORLD), feed, store, reports.append)
    (spec.out / f"{rank}.json").write_text(json.dumps({"seen": seen, "images": [r["images"] for r in reports]}))
    dist.destroy_process_group()


@pytest.mark.long
def test_ranks_that_wait_for_the_last_windows_never_wait_longer_than_a_step(shards, tmp_path):
    tree = {
        "shards": str(shards),
        "out": str(tmp_path),
        "encoder": {"arch": "mobilenet_v3_small", "size": 32},
        "objective": {"name": "triplet"},
        "stream": {"batch": 4, "window": 3, "align": 1},
        "checkpoints": {"seconds": None, "windows": 2, "last": 9},
        "epochs": 1,
    }
    spec = config.parse(Train, tree)
    windows = read_training_data(spec).windows
    rest = len(windows) % WORLD
    assert rest == 2
    assert rest * windows[0].batches * STEP_S > PATIENCE_S  # longer than any rank waits in silence
    mp.spawn(rank_of, (str(tmp_path), tree), nprocs=WORLD)
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(WORLD)]
    assert sorted(tuple(each) for one in told for each in one["seen"]) == [(0, w.number) for w in windows]
    assert told[0]["images"] == told[1]["images"] == told[2]["images"]
    newest = CheckpointDirectory(tmp_path / "checkpoints", spec.checkpoints).newest()
    assert newest.consumed == len(windows)
    assert newest.figures["images"] == len(windows) * windows[0].batches * 4
    position = torch.load(newest.folder / "training.pt", weights_only=True)["position"]
    assert position["consumed"] == len(windows)
