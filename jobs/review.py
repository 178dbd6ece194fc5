"""`ray job submit … -- python jobs/review.py jobs/review.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["review", *sys.argv[1:]])
