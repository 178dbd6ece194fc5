"""`ray job submit … -- python jobs/study.py jobs/study.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["study", *sys.argv[1:]])
