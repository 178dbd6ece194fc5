"""`ray job submit … -- python jobs/plan.py jobs/plan.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["plan", *sys.argv[1:]])
