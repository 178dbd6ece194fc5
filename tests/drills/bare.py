"""herbray's worker on ranks that meet through a file, without Ray: the undisturbed run that others are held against.

    python bare.py RANK WORLD FOLDER

FOLDER holds `job.yaml` and `phases.json`: a list of {"out": …, "stop": …}, one after the other; where `stop` is set,
the rank stops after so many batches, as if it had been killed there.
"""

import json
import os
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

from herbray import config
from herbray.flow.input.batches import threaded_batches
from herbray.flow.training.checkpoints.directory import CheckpointDirectory
from herbray.flow.training.metrics_log import MetricsLog
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import read_training_data
from herbray.flow.training.worker import loop
from herbray.flow.training.world import World


class Stopped(Exception):
    """As if killed."""


def phase(spec, rank, world, stop, seen):
    def feed(windows, reader):
        names = {}
        for number, batch in enumerate(threaded_batches(windows, reader, threads=1)):
            if number == stop:
                raise Stopped
            yield batch
            if batch.last:  # consumed, since the next one was asked for
                window = windows[len(names)]
                names[number] = (window.epoch, window.number)
                with seen.open("a") as file:
                    file.write(json.dumps(names[number]) + "\n")

    store = CheckpointDirectory(spec.out.absolute() / "checkpoints", spec.checkpoints, spec.keep)
    curve = MetricsLog(spec.out / "metrics.jsonl")
    loop.train_loop(
        spec,
        read_training_data(spec),
        None,
        World(rank, world),
        feed,
        store,
        curve.add if rank == 0 else lambda figures: None,
    )


def main(rank, world, folder):
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}-{world}", rank=rank, world_size=world)
    for number, each in enumerate(json.loads((folder / "phases.json").read_text())):
        spec = config.load(Train, folder / "job.yaml", [f"out={each['out']}"])
        spec.out.mkdir(parents=True, exist_ok=True)
        try:
            phase(spec, rank, world, each.get("stop"), folder / f"seen-{world}-{number}-{rank}.jsonl")
        except Stopped:
            pass
        if world > 1:
            dist.barrier()
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    os._exit(0)
