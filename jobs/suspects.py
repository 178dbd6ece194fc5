"""`ray job submit … -- python jobs/suspects.py jobs/suspects.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["suspects", *sys.argv[1:]])
