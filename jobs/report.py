"""`ray job submit … -- python jobs/report.py jobs/report.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])
