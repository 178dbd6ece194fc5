"""`ray job submit … -- python jobs/promote.py jobs/promote.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["promote", *sys.argv[1:]])
