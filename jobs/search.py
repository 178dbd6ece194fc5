"""`ray job submit … -- python jobs/search.py jobs/search.yaml key=value`: the CLI verb, nothing else."""

import sys

from herbray.cli import main

if __name__ == "__main__":
    main(["search", *sys.argv[1:]])
