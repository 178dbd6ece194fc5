"""`ray job submit … -- python jobs/export.py jobs/export.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])
