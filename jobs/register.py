"""`ray job submit … -- python jobs/register.py jobs/register.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["register", *sys.argv[1:]])
