"""`ray job submit … -- python jobs/catalogue.py jobs/catalogue.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["catalogue", *sys.argv[1:]])
