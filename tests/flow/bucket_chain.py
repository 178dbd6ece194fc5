"""Runs the jobs of a small herbarium below a root, in one process with one cluster, and ends as a job does.

`python bucket_chain.py ROOT WORKERS`: catalogue, shard, train, embed, evaluate; WORKERS of the training, 0 without Ray.
"""

import sys

from herbray import cli
from herbray.flow.cluster import connection

SHEETS = (
    "{name: synthetic, path: sheets, sheets: 200, size: 48, orders: 2, families: 2, genera: 3, species: 6, workers: 1}"
)
SPLITS = "{cap: null, home: null, species: 0, random: 0.45, validation: 0.15}"
TRAIN = (
    *("shards=shards", "out=run", "objective={name: classifier}", "encoder={arch: mobilenet_v3_small, size: 32}"),
    *("stream={batch: 8, window: 2}", "epochs=2", "reports=1", "checkpoints={windows: 2}"),
)


def main(root, workers):
    def run(verb, *words):
        if code := cli.run(verb, None, [f"root={root}", *words]):
            sys.exit(code)

    with connection.connect(cpus=3):
        run("catalogue", f"source={SHEETS}", "out=catalogue")
        run("shard", "catalogue=catalogue", "out=shards", "side=32", "bag=8", "file_rows=24", f"splits={SPLITS}")
        run("train", *TRAIN, f"workers={workers}")
        run("embed", "model=run/encoder", "shards=shards", "out=embeddings", "actors=0", "splits=[random]")
        run("evaluate", "embeddings=[embeddings]", "out=results.parquet", "tasks=[{name: identify}, {name: retrieval}]")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
