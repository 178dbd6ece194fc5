"""`ray job submit … -- python jobs/tune.py jobs/tune-triplet.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["tune", *sys.argv[1:]])
