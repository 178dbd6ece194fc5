"""`ray job submit … -- python jobs/identify.py jobs/identify.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["identify", *sys.argv[1:]])
