"""`ray job submit … -- python jobs/demo.py jobs/demo.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["demo", *sys.argv[1:]])
