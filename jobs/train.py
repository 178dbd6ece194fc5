"""`ray job submit … -- python jobs/train.py jobs/train.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
