"""`ray job submit … -- python jobs/shard.py jobs/shard.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["shard", *sys.argv[1:]])
