"""`ray job submit … -- python jobs/evaluate.py jobs/evaluate.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
