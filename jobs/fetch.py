"""`ray job submit … -- python jobs/fetch.py jobs/fetch.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["fetch", *sys.argv[1:]])
